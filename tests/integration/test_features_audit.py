"""Stored feature rows are derived again from the candles: what differs is named, and only that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from backend.features import Audit, audit_features, audit_rows
from backend.settings import Settings
from backend.store.served_rows import sample
from backend.wiring import Store, open_store
from domain.events import Candle
from domain.market import EPOCH, from_ms, rfc3339
from services.features.feature_set import OHLCV
from tests.doubles import START
from tests.factories import candles
from tests.panel_life import H1, HISTORY, Life, version

HOURS = 5
LAST = START + (HISTORY + HOURS) * H1.duration
EDIT = """
UPDATE ml_features_ohlcv SET values[$1] = values[$1] + $2
WHERE as_of = $3 AND revision = 1 AND instrument_id = (
    SELECT instrument_id FROM instruments WHERE symbol = $4
)
"""


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
async def life(store: Store) -> Life:
    """A panel with history and live closes; the last instrument's third candle has not come."""
    life = Life(store, "simulated")
    await life.begin()
    for hour in range(HOURS):
        life.clock.advance(LAST - (HOURS - 1 - hour) * H1.duration - life.clock.now())
        told = [version(walk[hour], right=True) for walk in reversed(walks(life))]
        await life.take(told[1:] if hour == 2 else told)
        life.clock.advance(timedelta(minutes=1))
        await life.run(life.section.due(life.clock.now()))
    return life


def walks(life: Life) -> list[list[Candle]]:
    return [
        candles(HISTORY + HOURS + 1, seed=seed + 100, instrument=one)[HISTORY:]
        for seed, one in enumerate(life.instruments)
    ]


async def audit(
    life: Life, *, since: datetime = EPOCH, count: int = 1_000, reach: int | None = None
) -> Audit:
    async with life.store.readers.acquire() as connection:
        return await audit_rows(connection, count=count, seed=7, since=since, reach=reach)


async def edit(life: Life, name: str, by: float, symbol: str) -> None:
    """Change a value of the first row that was served of an instrument's last close."""
    place = OHLCV.columns.index(name) + 1
    await life.store.writers.execute(EDIT, place, by, LAST, symbol)


async def test_what_does_not_follow_from_the_candles_is_named(
    life: Life, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(state=tmp_path, database_url=SecretStr(database_url))
    assert await audit_features(settings, count=1_000, seed=7, since=None) == 0
    assert capsys.readouterr().out == (
        "194 rows of 1h derived again (0 have a later revision): no differences\n"
    )

    await edit(life, "rsi_14", 1e-9, "BBB/USDT")
    assert await audit_features(settings, count=1_000, seed=7, since=LAST) == 1
    value, spelt, summary = capsys.readouterr().out.splitlines()
    named = "simulated:BBB/USDT 1h 2024-01-03T17:00:00.000Z revision 1"
    assert value.startswith(f"{named} rsi_14: served ")
    assert spelt.startswith(f"{named} row_hash: served ")
    assert summary == "3 rows of 1h derived again (0 have a later revision): 2 differences"

    # By somebody who has no hash of rows to leave behind, in the table of candles.
    await life.store.writers.execute(
        "UPDATE candles SET close = (low + high) / 2 WHERE close_time = $1", LAST - H1.duration
    )
    found = await audit(life)
    assert {one.as_of for one in found.differences} == {LAST - H1.duration, LAST}
    assert {"close", "log_return_1", "ewma_variance"} <= {one.name for one in found.differences}


@pytest.mark.parametrize(
    "deed", ["values[1:3]", "'{}'", "values || values", "ARRAY[values, values]"]
)
async def test_a_row_of_another_width_is_named(life: Life, deed: str) -> None:
    await life.store.writers.execute(
        f"UPDATE ml_features_ohlcv SET values = {deed} WHERE as_of = $1 AND instrument_id = ("  # noqa: S608 - constants above
        "SELECT instrument_id FROM instruments WHERE symbol = 'BBB/USDT')",
        LAST,
    )

    found = (await audit(life, since=LAST)).differences

    assert [one.name for one in found] == ["values"]
    assert {one.instrument.symbol for one in found} == {"BBB/USDT"}
    assert found[0].derived == f"{len(OHLCV.columns)} of them"


async def test_what_was_right_when_it_was_made_is_no_difference(life: Life) -> None:
    first = walks(life)[1][1]
    right = replace(first, event_ms=3, confirmed=True, close=first.high)
    await life.take([right])

    waiting = await audit(life)
    assert waiting.differences == ()
    assert list(map(str, waiting.waiting)) == [
        f"{3 * (HOURS - 1) - 1} rows of simulated 1h from {rfc3339(from_ms(first.close_ms))} on "
        "wait to be made again"
    ]
    assert waiting.left_out == 0

    await life.revisions.settle()
    revised = await audit(life)
    assert (revised.differences, revised.waiting, revised.left_out) == ((), (), 0)
    assert revised.superseded == 3 * (HOURS - 1) - 1

    life.clock.advance(timedelta(minutes=1))
    await life.take([version(walks(life)[2][2], right=True)])
    await life.revisions.settle()
    late = await audit(life)
    assert (late.differences, late.left_out) == ((), 0)
    assert late.superseded > revised.superseded

    life.clock.advance(LAST + H1.duration - life.clock.now())
    last, *others = [version(walk[HOURS], right=True) for walk in walks(life)]
    await life.take(others)
    life.clock.advance(timedelta(minutes=1))
    await life.run(life.section.due(life.clock.now()))
    await life.take([last])  # answered, compared with a cross-section that it is not in
    life.clock.advance(timedelta(minutes=1))
    await life.revisions.settle()
    beside = await audit(life)
    assert (beside.differences, beside.left_out) == ((), 0)
    assert beside.superseded == late.superseded + 3

    await edit(life, "market_beta", 1e-9, "AAA/USDT")
    found = await audit(life)
    assert {(str(one.instrument), one.revision, one.name) for one in found.differences} == {
        ("simulated:AAA/USDT", 1, "market_beta"),
        ("simulated:AAA/USDT", 1, "row_hash"),
    }


async def test_a_candle_that_nobody_noted_waits_for_the_next_start(life: Life) -> None:
    await life.store.writers.execute(
        "UPDATE candles SET close = high, revision = 2 WHERE close_time = $1", LAST
    )

    found = await audit(life)
    assert [(one.since, one.noted, one.rows) for one in found.waiting] == [(LAST, False, 3)]
    assert (found.differences, found.left_out) == ((), 0)


async def test_nothing_waits_for_a_start_that_does_not_look_back_so_far(life: Life) -> None:
    lost = LAST - (HOURS - 1) * H1.duration
    await life.store.writers.execute(
        "DELETE FROM ml_features_ohlcv WHERE as_of = $1 AND instrument_id = ("
        "SELECT instrument_id FROM instruments WHERE symbol = 'AAA/USDT')",
        lost,
    )

    reached, beyond = await audit(life, reach=HOURS), await audit(life, reach=HOURS - 2)
    assert [(one.since, one.noted) for one in reached.waiting] == [(lost, False)]
    assert (beyond.waiting, beyond.differences, beyond.left_out) == ((), (), 0)
    assert beyond.rows == reached.rows + reached.waiting[0].rows


@pytest.mark.parametrize("passes", [timedelta(minutes=1), timedelta(0)], ids=["runs", "held"])
async def test_a_late_candle_that_waited_for_its_answer_is_put_where_it_was(
    life: Life, passes: timedelta
) -> None:
    life.clock.advance(LAST + H1.duration - life.clock.now())
    first, *others = [version(walk[HOURS], right=True) for walk in walks(life)]
    life.section.add(first, arrived=life.clock.now())
    life.clock.advance(timedelta(minutes=1))
    came = life.clock.now()
    waiting = life.section.due(came)
    for one in others:
        waiting += life.section.add(one, arrived=came)
    for batch in waiting:  # each is answered after the rows were made again with the one before
        life.clock.advance(passes)
        await life.runner.on_candles(replace(batch, known_at=came))
        await life.revisions.settle()

    found = await audit(life, since=LAST + H1.duration)
    assert (found.differences, found.left_out, found.superseded) == ((), 0, 5)


async def test_a_sample_follows_from_its_seed_and_takes_panels_in_turn(store: Store) -> None:
    for exchange in ("one", "two"):
        life = Life(store, exchange)
        await life.begin()
    async with store.readers.acquire() as connection:
        samples = [
            await sample(connection, OHLCV.id, count=9, seed=seed, since=EPOCH)
            for seed in (1, 1, 2)
        ]
    keys = [[(one.instrument, one.as_of) for one in rows] for rows in samples]
    assert keys[0] == keys[1] != keys[2]
    assert [one.exchange for one, _ in keys[0]] == ["one"] * 5 + ["two"] * 4
    async with store.readers.acquire() as connection:
        found = await audit_rows(connection, count=9, seed=1, since=LAST + H1.duration)
    assert found == Audit(
        rows=0,
        superseded=0,
        told=0,
        timeframes=(),
        waiting=(),
        left_out=0,
        differences=(),
        told_differences=(),
    )
