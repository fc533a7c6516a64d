"""The track record is the same whether its past days are folded or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import numpy as np
import pytest

from backend.store import database
from backend.store.instruments import Instruments
from backend.store.recorder import Recorder
from backend.store.score_days import Scope, fold
from backend.store.track_record import read_record
from domain.events import CandleBatch, LabelBatch, Origin, OutcomeBatch
from tests.doubles import START
from tests.factories import BTC, ETH, SOL, candle_batches
from tests.served_market import HORIZON, outcomes

HOURS = 4 * 24
LATE = 30  # the tick whose outcomes come last
WAITING = "SELECT count(*) FROM pg_locks WHERE relation = 'score_days'::regclass AND NOT granted"
BATCHES = candle_batches((BTC, ETH, SOL), HOURS, start=START)
AFTER = START + timedelta(days=9)
SCOPES = [
    Scope(),
    Scope(roles=("champion",)),
    Scope(models=("class_prior.direction",)),
    Scope(instruments=[2]),  # numbers are handed out from 1 on
    Scope(instruments=[]),
    Scope(exchanges=("another",)),
    Scope(horizons=(HORIZON + 1,)),
    Scope(start=START + timedelta(hours=7)),
    Scope(start=START + timedelta(days=1), end=START + timedelta(days=2)),
    Scope(start=START + timedelta(hours=25), end=START + timedelta(hours=71)),
    Scope(start=START + timedelta(hours=25), end=START + timedelta(hours=29)),
    *(Scope(scored_by=START + timedelta(hours=hours)) for hours in (0, 3, 24, 50, 53, 90)),
]


def scored_at(batch: CandleBatch) -> Any:
    return batch.as_of + HORIZON * batch.timeframe.duration


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Four days of outcomes, but for one tick of the second."""
    pool = await database.connect_pool(database_url, size=2)
    for number, batch in enumerate(BATCHES):
        if number != LATE:
            await score(pool, outcomes(batch, scored_at(batch)))
    yield pool
    await pool.close()


def recorder_on(pool: asyncpg.Pool) -> Recorder:
    return Recorder(pool, Instruments(pool))


async def score(pool: asyncpg.Pool, events: list[object]) -> None:
    await recorder_on(pool).commit_learning(events, published_at=AFTER)


async def records(pool: asyncpg.Pool) -> list[list[dict[str, Any]]]:
    async with pool.acquire() as connection:
        return [await read_record(connection, scope) for scope in SCOPES]


async def folded(pool: asyncpg.Pool, days: int = 10) -> int:
    async with pool.acquire() as connection:
        return await fold(connection, days=days)


async def test_folding_the_past_days_changes_no_record(pool: asyncpg.Pool) -> None:
    before = await records(pool)

    assert [await folded(pool, days=2), await folded(pool, days=2), await folded(pool)] == [2, 2, 0]
    assert await records(pool) == before
    assert before[0][1]["count"] == 3 * (HOURS - 1)


async def test_an_outcome_that_comes_late_is_in_the_record_from_then_on(
    pool: asyncpg.Pool,
) -> None:
    await folded(pool)
    before = await records(pool)

    await score(pool, outcomes(BATCHES[LATE], AFTER))

    after = await records(pool)
    assert after[0][1]["count"] == before[0][1]["count"] + 3
    known_then = [n for n, scope in enumerate(SCOPES) if scope.scored_by]
    assert [after[n] for n in known_then] == [before[n] for n in known_then]
    assert await folded(pool) == 3  # the day, and those after it
    assert await records(pool) == after
    await pool.execute("TRUNCATE score_days")
    assert await records(pool) == after


async def test_the_label_that_counts_is_the_first_that_was_complete(pool: asyncpg.Pool) -> None:
    (before,) = await champion(pool)
    label, *scored = outcomes(BATCHES[LATE], AFTER)
    assert isinstance(label, LabelBatch)
    unknown = np.full(3, np.nan)
    void = replace(label, outcome=unknown, log_return=unknown, realized_volatility=unknown)
    filled = replace(label, revision=np.full(3, 2), uniqueness=np.full(3, 0.5))
    revised = replace(label, revision=np.full(3, 3), uniqueness=np.full(3, 0.75))

    await score(pool, [void])
    await score(pool, [filled, *scored])
    await score(pool, [revised])

    (after,) = await champion(pool)
    assert await pool.fetchval("SELECT count(*) FROM ml_labels WHERE void") == 3
    assert after["effective_count"] == before["effective_count"] + 3 * 0.5


async def test_days_of_which_no_baseline_said_anything_do_not_hold_up_the_others(
    pool: asyncpg.Pool,
) -> None:
    before = await records(pool)
    for batch in candle_batches((BTC,), 48, start=START - timedelta(days=4)):
        _, served, _ = outcomes(batch, AFTER)
        await score(pool, [served])

    assert [await folded(pool, days=2), await folded(pool)] == [2, 2]
    assert await records(pool) == before


async def test_each_origin_is_compared_with_baselines_of_its_own(pool: asyncpg.Pool) -> None:
    (live,) = await champion(pool)
    late, crossed = candle_batches((BTC, ETH, SOL), 2, start=BATCHES[-1].as_of)
    _, served, prior = outcomes(late, AFTER)
    await score(pool, [of_origin(served, Origin.LATE), of_origin(prior, Origin.LATE)])
    _, served, prior = outcomes(crossed, AFTER)
    await score(pool, [served, of_origin(prior, Origin.LATE)])

    found = {row["origin"]: row for row in await champion(pool)}

    assert found.keys() == {"live", "late"}
    assert found["live"] == live
    assert found["late"]["count"] == 3


def of_origin(scored: object, origin: Origin) -> OutcomeBatch:
    assert isinstance(scored, OutcomeBatch)
    return replace(scored, origin=origin)


async def champion(pool: asyncpg.Pool) -> list[dict[str, Any]]:
    async with pool.acquire() as connection:
        return await read_record(connection, Scope(roles=("champion",)))


async def test_outcomes_wait_for_no_fold_unless_they_come_late(pool: asyncpg.Pool) -> None:
    recorder = recorder_on(pool)
    *_, first, second, third = candle_batches((BTC, ETH, SOL), HOURS + 27, start=START)
    await recorder.commit_learning(outcomes(first, AFTER), published_at=AFTER)

    async with pool.acquire() as folding, folding.transaction():
        await folding.execute("LOCK TABLE score_days IN EXCLUSIVE MODE")
        async with asyncio.timeout(10):
            await recorder.commit_learning(outcomes(second, AFTER), published_at=AFTER)
        late = asyncio.create_task(
            recorder.commit_learning(outcomes(BATCHES[LATE], AFTER), published_at=AFTER)
        )
        async with asyncio.timeout(10):
            while not await folding.fetchval(WAITING):  # noqa: ASYNC110 - another session's lock
                await asyncio.sleep(0.01)
        assert not late.done()
    await late
    await recorder.commit_learning(outcomes(third, AFTER), published_at=AFTER)


async def test_each_late_outcome_of_one_writer_opens_its_day_again(pool: asyncpg.Pool) -> None:
    """After a restart, in the order of days, and backwards."""
    recorder = recorder_on(pool)
    closes = candle_batches((BTC, ETH, SOL), HOURS + 48, start=START)
    for number in (HOURS + 30, HOURS + 2, HOURS + 40, LATE, HOURS + 47, 40):
        await folded(pool)
        await recorder.commit_learning(outcomes(closes[number], AFTER), published_at=AFTER)

        held = await records(pool)
        await folded(pool)
        assert await records(pool) == held
        await pool.execute("TRUNCATE score_days")
        assert await records(pool) == held
