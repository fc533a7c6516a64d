"""Rows of what sources told are made again from the stored facts: what differs is named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backend.clock import SystemClock
from backend.features import Audit, audit_features, audit_rows
from backend.hearing import Hearing
from backend.panel import Panel, PanelKey
from backend.settings import Settings
from backend.wiring import Store, open_store
from domain.market import EPOCH, to_ms
from domain.sources import MARKET, Measurement, Metric, SourceState, SourceStatus
from services.signals.policy import PolicySettings
from tests.doubles import ManualClock
from tests.factories import BTC, ETH, SOL, candle_batches
from tests.joining_life import Joining

WALK = candle_batches([BTC, ETH], 4, seed=5)
H1 = WALK[0].timeframe
FINE = SourceStatus(source="fear_greed", state=SourceState.OK, since=EPOCH)
ALTERED = "UPDATE market_metrics SET value = 99 WHERE known_at < $1"
REMOVED = "DELETE FROM source_states"
REVISIONS = """
SELECT symbol, max(revision) FROM ml_features_sentiment JOIN instruments USING (instrument_id)
WHERE as_of = $1 GROUP BY symbol ORDER BY symbol
"""
# Alone ETH is told apart from the market, beside BTC it is not; BTC never is.
CLOSE = {"BTC": (-0.42, 0.0, 0.42), "ETH": (-0.12, 0.3, 0.72), "SOL": (-0.72, -0.3, 0.12)}
SCORED_OTHERWISE = "UPDATE sentiment_scores SET polarity = -polarity"


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as store:
        yield store


async def lived(store: Store) -> None:
    """A panel that hears another value before each close."""
    clock = ManualClock(WALK[0].as_of - timedelta(minutes=30))
    hearing = Hearing(store=store, clock=clock, wall=SystemClock(), alone=True)
    await hearing.begin()
    key = PanelKey(exchange=BTC.exchange, timeframe=H1)
    panel = Panel(key, [1], clock=clock, policy=PolicySettings(), sentiment=hearing.told)
    await store.instruments.ids([MARKET])
    for number, batch in enumerate(WALK):
        async with hearing.storing(clock) as (dated, moment):
            await dated.change([FINE], known_at=moment)
            now_ms = to_ms(moment)
            one = Measurement(
                instrument=MARKET,
                metric=Metric.FEAR_GREED,
                event_ms=now_ms,
                known_ms=now_ms,
                value=float(40 + number),
            )
            await dated.measure([one])
        clock.advance(H1.duration)
        await hearing.before(key, batch.as_of)
        hot, _ = panel.hot.run(batch)
        await store.recorder.commit_tick([batch, *hot], published_at=batch.as_of)


async def audit(store: Store) -> Audit:
    async with store.readers.acquire() as connection:
        return await audit_rows(connection, count=100, seed=7, since=EPOCH)


async def test_what_does_not_follow_from_the_facts_is_named(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("ALPHAPULSE_DATABASE_URL", database_url)
    settings = Settings(state=tmp_path)
    async with open_store(database_url, tmp_path) as store:
        await lived(store)
        assert await audit_features(settings, count=100, seed=7, since=None) == 0
        assert capsys.readouterr().out == (
            "8 rows of 1h derived again (0 have a later revision): no differences\n"
            "8 rows of what sources told made again from the facts: no differences\n"
        )

        await store.writers.execute(ALTERED, WALK[0].as_of)
        altered = await audit(store)
        assert await audit_features(settings, count=100, seed=7, since=None) == 1
        assert capsys.readouterr().out.splitlines()[2:] == [
            "8 rows of 1h derived again (0 have a later revision): no differences",
            "8 rows of what sources told made again from the facts: 2 differences",
        ]
        await store.writers.execute(REMOVED)
        removed = await audit(store)

    assert [str(one) for one in altered.told_differences] == [
        f"{one} 1h {WALK[0].as_of:%Y-%m-%dT%H}:00:00.000Z revision 1 fear_greed: "
        "served 40.0, derived 99.0"
        for one in (BTC, ETH)
    ]
    assert {one.name for one in removed.told_differences} >= {"source_status", "fear_greed"}
    assert (altered.told, removed.told) == (8, 8)


@pytest.mark.parametrize(
    "deed", ["values[1:3]", "'{}'", "values || values", "ARRAY[values, values]"]
)
async def test_a_row_of_another_width_is_named_and_the_others_are_judged(
    store: Store, deed: str
) -> None:
    await lived(store)
    await store.writers.execute(
        f"UPDATE ml_features_sentiment SET values = {deed} WHERE as_of = $1 AND instrument_id = ("  # noqa: S608 - constants above
        "SELECT instrument_id FROM instruments WHERE symbol = $2)",
        WALK[1].as_of,
        ETH.symbol,
    )
    await store.writers.execute(ALTERED, WALK[0].as_of)

    found = await audit(store)

    named = {(one.instrument, one.as_of, one.name) for one in found.told_differences}
    assert named == {
        (ETH, WALK[1].as_of, "values"),
        (BTC, WALK[0].as_of, "fear_greed"),
        (ETH, WALK[0].as_of, "fear_greed"),
    }
    assert found.told == 8


async def test_a_status_of_sources_that_is_none_is_named(store: Store) -> None:
    await lived(store)
    await store.writers.execute(
        "UPDATE ml_features_sentiment SET source_status = '[1]' WHERE as_of = $1", WALK[1].as_of
    )

    found = (await audit(store)).told_differences

    assert [(one.name, one.as_of, one.served) for one in found] == [
        ("source_status", WALK[1].as_of, "{'': '[1]'}")
    ]


async def test_a_row_is_made_again_beside_those_that_it_was_made_with(store: Store) -> None:
    life = Joining(store)
    await life.begin()
    for batch in WALK[:2]:
        await life.tick(batch)
    await life.join(SOL)
    for batch in candle_batches([BTC, ETH, SOL], 4, seed=5)[2:]:
        await life.tick(batch)

    found = await audit(store)
    assert [str(one) for one in (*found.differences, *found.told_differences)] == []
    assert found.told == 4 * 3

    await store.writers.execute(SCORED_OTHERWISE)
    altered = await audit(store)
    assert {(one.instrument, one.as_of) for one in altered.told_differences} >= {
        (one, batch.as_of) for one in (BTC, ETH, SOL) for batch in WALK
    }


async def test_a_row_that_came_late_is_made_again_beside_those_of_its_tick(store: Store) -> None:
    life = Joining(store)
    await life.begin(CLOSE)
    await life.tick(WALK[0])
    btc, eth = (candle_batches([one], 2, seed=5)[1] for one in (BTC, ETH))
    await life.tick(btc)
    await life.tick(replace(eth, late=True, known_at=eth.as_of + timedelta(minutes=1)))
    late = await audit(store)

    life.revisions.note(eth.as_of)
    await life.revisions.settle()
    settled = await audit(store)

    revised = await store.readers.fetch(REVISIONS, eth.as_of)
    assert [tuple(row) for row in revised] == [("BTC/USDT", 1), ("ETH/USDT", 2)]
    found = [*late.told_differences, *settled.told_differences]
    assert [str(one) for one in found] == []
