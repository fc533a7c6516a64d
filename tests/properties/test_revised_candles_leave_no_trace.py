"""However candles come, are revised or fill holes: the newest rows follow from candles alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings

from backend.runner import TickRecorder
from backend.store.candles import store_candles
from backend.store.history import History
from backend.wiring import Store, open_store
from domain.events import Candle, Source
from domain.market import Instrument, Listing, from_ms
from tests.factories import candles
from tests.panel_life import (
    FEATURES,
    H1,
    HISTORY,
    LABELS,
    LIVE,
    SAID,
    Life,
    Plan,
    arrivals,
    version,
)

FEATURES_OF_OTHERS = FEATURES.replace("= $1", "= $1 AND symbol <> 'DDD/USDT'")
LABELS_OF_OTHERS = LABELS.replace("= $1", "= $1 AND symbol <> 'DDD/USDT'")
LAST_SAID = """
SELECT symbol, max(as_of) FROM ml_predictions JOIN instruments USING (instrument_id)
WHERE exchange = $1 AND role = 'champion' AND origin = 'live'
GROUP BY symbol
"""
# What a label's touch was told of has changed by the time of a restart, and touches no more.
TAKEN_BACK = (
    [(4, 3, 1, True), (9, 0, 1, True), (10, 10, 1, True), (7, 7, 1, True), (11, 11, 1, True)],
    [*11 * ["wait"], "restart"],
)
numbers = count()


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as opened:
        yield opened


@settings(
    max_examples=4,
    phases=[Phase.explicit, Phase.generate],  # a plan is read more easily than it is shrunk
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(plan=arrivals())
@example(plan=TAKEN_BACK)
async def test_the_newest_rows_follow_from_the_candles_in_whatever_order_they_came(
    store: Store, plan: Plan
) -> None:
    life = Life(store, f"exchange{next(numbers)}")
    await life.begin()
    await life.check(await life.live(plan))


async def test_a_hole_that_is_filled_while_nothing_runs_is_made_good_at_the_start(
    store: Store,
) -> None:
    life = Life(store, f"exchange{next(numbers)}")
    await life.begin()
    (missing,) = await live_without(life, 4)
    said = set(await life.fetch(SAID))
    void = await life.fetch(LABELS)

    life.told.append(missing)
    await store_candles(store.writers, store.instruments, [missing], known_at=life.clock.now())
    await life.start()

    assert [row for row in void if row[4] is None]
    await life.check(said)


class Turn(asyncio.Lock):
    """A panel's turn that says when somebody has to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = asyncio.Event()

    async def acquire(self) -> Literal[True]:
        if self.locked():
            self.wanted.set()
        return await super().acquire()


@dataclass
class HeldBack:
    """Commits a tick only when somebody waits for its end."""

    recorder: TickRecorder
    turn: Turn

    async def commit_tick(self, *args: Any, **kwargs: Any) -> Any:
        await self.turn.wanted.wait()
        return await self.recorder.commit_tick(*args, **kwargs)

    async def commit_learning(self, *args: Any, **kwargs: Any) -> Any:
        return await self.recorder.commit_learning(*args, **kwargs)


async def test_a_candle_that_is_on_its_way_to_the_store_is_not_passed_by(store: Store) -> None:
    life = Life(store, f"exchange{next(numbers)}")
    await life.begin()
    life.revisions.turn = life.runner.turn = turn = Turn()
    first, second = await live_without(life, 3, 5)
    await life.take([first])

    life.runner.recorder = HeldBack(store.recorder, turn)
    passing = asyncio.create_task(life.revisions.settle())
    await asyncio.sleep(0)  # it has seen what is to be done, and reads
    await life.take([second])
    await passing

    await life.check(set(await life.fetch(SAID)))


async def test_an_earlier_candle_that_comes_as_rows_begin_to_be_made_again_is_not_passed_by(
    store: Store,
) -> None:
    life = Life(store, f"exchange{next(numbers)}")
    await life.begin()
    earlier, later = await live_without(life, 3, 5)
    await life.take([later])

    async with AsyncExitStack() as stack:  # whoever is to read for it has to wait
        for _ in range(store.readers.get_max_size()):
            await stack.enter_async_context(store.readers.acquire())
        settling = asyncio.create_task(life.revisions.settle())
        await asyncio.sleep(0)  # it has seen what is to be done
        await life.take([earlier])
    await settling

    await life.check(set(await life.fetch(SAID)))


@dataclass
class Meanwhile:
    """The candles of a record, of which more come as they are read first."""

    history: History
    more: list[Coroutine[None, None, None]]

    async def panel(self, *args: Any, **kwargs: Any) -> Any:
        while self.more:
            await self.more.pop()
        return await self.history.panel(*args, **kwargs)


async def test_an_earlier_candle_that_comes_on_the_way_to_the_first_row_is_not_passed_by(
    store: Store,
) -> None:
    life = Life(store, f"exchange{next(numbers)}")
    await life.begin()
    earlier, later = await live_without(life, 3, 5)  # before the snapshots that are kept
    await life.take([later])

    history: Any = Meanwhile(store.history, [life.take([earlier])])
    life.revisions.store = replace(store, history=history)
    await life.revisions.settle()

    await life.check(set(await life.fetch(SAID)))


async def live_without(life: Life, *hours: int) -> list[Candle]:
    """Take candles of all hours but of these of one instrument, which are returned."""
    walks = [
        candles(HISTORY + LIVE, seed=seed + 100, instrument=one)[HISTORY:]
        for seed, one in enumerate(life.instruments)
    ]
    missing = [version(walks[1][hour], right=True) for hour in hours]
    for hour in range(LIVE):
        life.clock.advance(H1.duration)
        told = [version(walk[hour], right=True) for walk in walks]
        await life.take([one for one in told if one not in missing])
        life.clock.advance(timedelta(seconds=1))
    return missing


async def test_an_instrument_that_joins_changes_nothing_of_the_others(store: Store) -> None:
    life = Life(store, f"exchange{next(numbers)}")
    await life.begin()
    newcomer = Instrument(life.exchange, "DDD/USDT")
    begins = 10  # candles after the others
    walks = {
        one: candles(HISTORY + LIVE, seed=seed + 100, instrument=one)
        for seed, one in enumerate((*life.instruments, newcomer))
    }

    async def hours(first: int, last: int) -> None:
        for hour in range(HISTORY + first, HISTORY + last):
            life.clock.advance(H1.duration)
            await life.take([version(walks[one][hour], right=True) for one in life.instruments])
            life.clock.advance(timedelta(seconds=1))

    await hours(0, 4)
    before = await life.fetch(FEATURES), await life.fetch(LABELS)
    said = set(await life.fetch(SAID))
    past, newest = walks[newcomer][begins : HISTORY + 3], walks[newcomer][HISTORY + 3]
    life.told += [replace(one, source=Source.BACKFILL, confirmed=True) for one in past]
    await store_candles(
        store.writers, store.instruments, life.told[-len(past) :], known_at=life.clock.now()
    )
    await store.instruments.watch(
        [Listing(instrument=newcomer)], since=life.clock.now(), added=True
    )
    working = asyncio.create_task(life.revisions.run())
    await life.revisions.take_in(newcomer, first=from_ms(past[0].close_ms))
    working.cancel()
    life.joined[newcomer] = life.clock.now()
    await store.instruments.join(newcomer, at=life.clock.now())

    assert life.revisions.stranger([newcomer])
    life.revisions.joins((await store.instruments.membership(newcomer.exchange)).joined)
    assert not life.revisions.stranger([newcomer])
    assert (await life.fetch(FEATURES_OF_OTHERS), await life.fetch(LABELS_OF_OTHERS)) == before
    assert len(await life.fetch(FEATURES)) == len(before[0]) + len(past)

    life.instruments = (*life.instruments, newcomer)
    life.section.watch(life.instruments)
    await life.take([version(newest, right=True)])
    last = {row[0]: row[1] for row in await life.fetch(LAST_SAID)}
    assert last["DDD/USDT"] == last["AAA/USDT"] == from_ms(newest.close_ms)
    await hours(4, 8)
    await life.start()
    await hours(8, LIVE)
    await life.check(said)
