"""Rows of what sources told are made again from the stored facts: what differs is named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from backend.clock import SystemClock
from backend.features import Audit, audit_features, audit_rows
from backend.hearing import Hearing
from backend.panel import Panel, PanelKey
from backend.revisions import Revisions
from backend.settings import Settings
from backend.store.candles import store_candles
from backend.wiring import Store, open_store
from domain.events import CandleBatch
from domain.market import EPOCH, Instrument, Listing, to_ms
from domain.sources import MARKET, Measurement, Metric, SourceState, SourceStatus, TextItem
from services.sentiment.blend import NAME
from services.sentiment.items import ScoredItems
from services.signals.policy import PolicySettings
from tests.doubles import ManualClock
from tests.factories import BTC, ETH, SOL, candle_batches, candles

WALK = candle_batches([BTC, ETH], 4, seed=5)
H1 = WALK[0].timeframe
FINE = SourceStatus(source="fear_greed", state=SourceState.OK, since=EPOCH)
NEWS = SourceStatus(source="coindesk", state=SourceState.OK, since=EPOCH)
ALTERED = "UPDATE market_metrics SET value = 99 WHERE known_at < $1"
REMOVED = "DELETE FROM source_states"
REVISIONS = """
SELECT symbol, max(revision) FROM ml_features_sentiment JOIN instruments USING (instrument_id)
WHERE as_of = $1 GROUP BY symbol ORDER BY symbol
"""
APART = {"BTC": (0.5, 0.7, 0.6), "ETH": (-0.2, -0.4, -0.3), "SOL": (0.1, 0.3, 0.9)}
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


class Joining:
    """A panel that has heard news of three assets, and follows two of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock(WALK[0].as_of - timedelta(minutes=30))
        self.hearing = Hearing(store=store, clock=self.clock, wall=SystemClock(), alone=True)

    async def begin(self, said: Mapping[str, Sequence[float]] = APART) -> None:
        await self.hearing.begin()
        self.key = PanelKey(exchange=BTC.exchange, timeframe=H1)
        self.panel = Panel(
            self.key, [1], clock=self.clock, policy=PolicySettings(), sentiment=self.hearing.told
        )
        self.revisions = Revisions(
            panel=self.panel,
            joined=dict.fromkeys([BTC, ETH]),
            store=self.store,
            clock=self.clock,
            wall=self.clock,
        )
        listings = [Listing(instrument=one) for one in (BTC, ETH)]
        await self.store.instruments.watch(listings, since=self.clock.now())
        async with self.hearing.storing(self.clock) as (dated, moment):
            await dated.change([NEWS], known_at=moment)
            items, scored = articles(moment, said)
            await dated.write(items, scored, scored_at=moment)

    async def tick(self, batch: CandleBatch) -> None:
        self.clock.advance(batch.as_of - self.clock.now())
        await self.hearing.before(self.key, batch.as_of)
        hot, _ = self.panel.hot.run(batch)
        await self.store.recorder.commit_tick([batch, *hot], published_at=batch.as_of)

    async def join(self, *added: Instrument) -> None:
        """One after another, with a history as long as that of the others."""
        for one in added:
            self.clock.advance(timedelta(minutes=1))
            past = candles(2, seed=9, instrument=one)
            book, now = self.store.instruments, self.clock.now()
            await book.watch([Listing(instrument=one)], since=now, added=True)
            await store_candles(self.store.writers, book, past, known_at=now)
            taken_in = self.revisions.take_in(one, first=WALK[0].as_of)
            await asyncio.gather(taken_in, self._settle())
            await book.join(one, at=now)
            self.revisions.joins((await book.membership(one.exchange)).joined)

    async def _settle(self) -> None:
        await asyncio.sleep(0)
        await self.revisions.settle()


def articles(
    known_at: datetime, said: Mapping[str, Sequence[float]]
) -> tuple[list[TextItem], ScoredItems]:
    """By the polarities of each asset's."""
    pairs = [(asset, polarity) for asset, ours in said.items() for polarity in ours]
    n, now_ms = len(pairs), to_ms(known_at)
    names = [str(number) for number in range(n)]
    items = [
        TextItem(source="coindesk", item_id=name, published_ms=now_ms, known_ms=now_ms, title=name)
        for name in names
    ]
    scored = ScoredItems(
        source=np.full(n, "coindesk"),
        item_id=np.array(names),
        asset=np.array([asset for asset, _ in pairs]),
        relevance=np.ones(n),
        cluster=np.array([f"coindesk:{name}" for name in names]),
        language=np.full(n, "en"),
        published_ms=np.full(n, now_ms),
        known_ms=np.full(n, now_ms),
        engagement=np.full(n, np.nan),
        scorer=np.full(n, NAME),
        polarity=np.array([polarity for _, polarity in pairs]),
        confidence=np.ones(n),
    )
    return items, scored
