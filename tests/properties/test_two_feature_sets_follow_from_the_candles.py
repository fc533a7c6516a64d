"""Two candle feature sets side by side: rows of both follow from the candles, whoever began."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from backend.runner import TickRecorder
from backend.store.candles import store_candles
from backend.wiring import Store, open_store, register_candle_set
from domain.events import Candle, Source
from domain.market import Instrument, Listing, from_ms, to_ms
from domain.ports import Learner
from services.features.kinds import RELEASE, CandleSet
from tests.factories import candles
from tests.panel_life import (
    FEATURES,
    H1,
    HISTORY,
    LIVE,
    SAID,
    Life,
    Plan,
    arrivals,
    expected,
    version,
)
from tests.second_set import BOTH, SECOND

numbers = count()


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as opened:
        yield opened


async def rows_of(life: Life, feature_set: str) -> list[tuple[Any, ...]]:
    return [row for row in await life.fetch(FEATURES) if row[-1] == feature_set]


@settings(
    max_examples=3,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(plan=arrivals(), since=st.integers(0, LIVE + 9))
async def test_rows_of_both_follow_from_the_candles_whenever_the_second_begins(
    store: Store, plan: Plan, since: int
) -> None:
    life = Life(store, f"exchange{next(numbers)}")
    await life.begin()

    async def begin_the_second(hour: int) -> None:
        if hour == since:
            life.sets = BOTH
            await life.start()

    await life.check(await life.live(plan, begin_the_second))


async def test_a_set_that_begins_changes_nothing_and_is_whole(store: Store) -> None:
    life, walks = await begun(store, (RELEASE,))
    await hours(life, walks, 0, 7)
    before = await life.fetch("SELECT t::text FROM ml_features_ohlcv t WHERE $1 <> ''")
    said = set(await life.fetch(SAID))
    engine = life.runner.panel.engine.snapshot()
    rooms = {
        name: room.snapshot()
        for one in life.runner.panel.rooms.values()
        for name, room in one.stateful().items()
    }

    life.sets = BOTH
    await life.start()

    after = await life.fetch("SELECT t::text FROM ml_features_ohlcv t WHERE $1 <> ''")
    assert {*before} <= {*after}
    assert len(after) == 2 * len(before)
    assert life.runner.panel.engine.snapshot() == engine
    assert rooms == {
        name: room.snapshot()
        for one in life.runner.panel.rooms.values()
        for name, room in one.stateful().items()
    }
    known = await store.readers.fetch(
        "SELECT DISTINCT known_at FROM ml_features_ohlcv WHERE feature_set = $1 AND as_of <= $2",
        SECOND.id,
        life.clock.now() - 4 * H1.duration,
    )
    assert [row["known_at"] for row in known] == [life.clock.now()]

    await hours(life, walks, 7, LIVE)
    assert len(await rows_of(life, SECOND.id)) == len(await rows_of(life, RELEASE.id))
    await life.check(said)


async def test_a_correction_goes_back_to_before_a_set_began(store: Store) -> None:
    life, walks = await begun(store, (RELEASE,))
    await hours(life, walks, 0, 7)
    life.sets = BOTH
    await life.start()

    first = walks[1][4]  # between a snapshot that knows the second set, and one that does not
    await life.take([replace(first, event_ms=3, confirmed=True, close=first.high)])

    await hours(life, walks, 7, LIVE)
    await life.check(set())


async def test_a_set_that_was_away_is_whole_again(store: Store) -> None:
    life, walks = await begun(store)
    for hour, sets in enumerate((BOTH, BOTH, BOTH, (RELEASE,), (RELEASE,), (RELEASE,), BOTH)):
        if sets != life.sets:
            life.sets = sets
            await life.start()
        life.clock.advance(H1.duration)
        told = [version(walk[hour], right=True) for walk in walks]
        await life.take(told[: 1 if hour == 4 else 3])
        life.clock.advance(timedelta(seconds=1))
    await life.take([version(walk[4], right=True) for walk in walks[1:]])

    await life.check(set())


async def test_an_instrument_that_joins_has_rows_of_both(store: Store) -> None:
    life = Life(store, f"exchange{next(numbers)}")
    life.sets = BOTH
    await life.begin()
    newcomer = Instrument(life.exchange, "DDD/USDT")
    walks = {
        one: candles(HISTORY + LIVE, seed=seed + 100, instrument=one)
        for seed, one in enumerate((*life.instruments, newcomer))
    }

    async def pass_by(first: int, last: int) -> None:
        for hour in range(HISTORY + first, HISTORY + last):
            life.clock.advance(H1.duration)
            await life.take([version(walks[one][hour], right=True) for one in life.instruments])
            life.clock.advance(timedelta(seconds=1))

    await pass_by(0, 4)
    past = walks[newcomer][10 : HISTORY + 3]
    life.told += [replace(one, source=Source.BACKFILL, confirmed=True) for one in past]
    await store_candles(
        store.writers, store.instruments, life.told[-len(past) :], known_at=life.clock.now()
    )
    await store.instruments.watch([Listing(instrument=newcomer)], since=life.clock.now())
    before = {one: await rows_of(life, one.id) for one in BOTH}
    life.revisions.note(from_ms(past[0].close_ms), of=newcomer)
    life.revisions.joined[newcomer] = life.clock.now()
    await life.revisions.settle()
    life.joined[newcomer] = life.clock.now()
    await store.instruments.join(newcomer, at=life.clock.now())

    for one, rows in before.items():
        now = await rows_of(life, one.id)
        assert {*map(str, rows)} <= {*map(str, now)}
        assert len(now) == len(rows) + len(past)

    life.instruments = (*life.instruments, newcomer)
    life.section.watch(life.instruments)
    await life.take([version(walks[newcomer][HISTORY + 3], right=True)])
    await pass_by(4, 8)
    await life.start()
    await pass_by(8, LIVE)
    await life.check(set())


class Killed(Exception):  # noqa: N818 - nobody raises it on purpose
    """The process is no more."""


@dataclass
class KilledBetween:
    """A recorder that is killed before what follows a tick."""

    recorder: TickRecorder

    async def commit_tick(self, *args: Any, **kwargs: Any) -> Any:
        return await self.recorder.commit_tick(*args, **kwargs)

    async def commit_learning(self, *args: Any, **kwargs: Any) -> Any:
        raise Killed


async def test_a_kill_between_the_transactions_of_a_tick_loses_no_row(store: Store) -> None:
    life, walks = await begun(store)
    await hours(life, walks, 0, 3)
    life.runner.recorder = KilledBetween(store.recorder)
    with pytest.raises(Killed):
        await hours(life, walks, 3, 4)
    lacking = {one: len(await rows_of(life, one.id)) for one in BOTH}
    await life.start()

    assert lacking[RELEASE] == lacking[SECOND] + len(walks)
    assert len(await rows_of(life, SECOND.id)) == lacking[RELEASE]
    life.clock.advance(timedelta(seconds=1))
    await hours(life, walks, 4, LIVE)
    await life.check(set())


async def test_who_takes_the_place_of_the_first_may_never_have_been_beside_it(
    store: Store,
) -> None:
    life, walks = await begun(store, (RELEASE,))
    await hours(life, walks, 0, 6)
    before = {name: one.snapshot() for name, one in learners(life).items()}

    life.sets = (SECOND,)
    await register_candle_set(store.writers, SECOND, code_sha="of a test")
    await life.start()

    assert {name: one.snapshot() for name, one in learners(life).items()} == before
    await hours(life, walks, 6, LIVE)
    await life.revisions.settle()
    assert await stored(life, SECOND) == right(life)


async def test_who_takes_the_place_of_the_first_goes_on_from_its_state(store: Store) -> None:
    life, walks = await begun(store)
    await hours(life, walks, 0, 6)
    before = {name: one.snapshot() for name, one in learners(life).items()}
    state = life.runner.panel.engines[SECOND.id].snapshot()
    kept = await rows_of(life, RELEASE.id)

    life.sets = (SECOND,)
    await life.start()

    assert {name: one.snapshot() for name, one in learners(life).items()} == before
    assert life.runner.panel.engine.snapshot() == state
    await hours(life, walks, 6, LIVE)
    assert await rows_of(life, RELEASE.id) == kept
    assert len(right(life)) == len(kept) + 6 * len(walks)
    assert await stored(life, SECOND) == right(life)
    sets = await life.fetch(
        "SELECT DISTINCT feature_set FROM ml_predictions JOIN instruments USING (instrument_id)"
        " WHERE exchange = $1 AND as_of = (SELECT max(as_of) FROM ml_predictions)"
    )
    assert sets == [(SECOND.id,)]


async def begun(
    store: Store, sets: tuple[CandleSet, ...] = BOTH
) -> tuple[Life, list[list[Candle]]]:
    """With a history, and the candles to come."""
    life = Life(store, f"exchange{next(numbers)}")
    life.sets = sets
    await life.begin()
    walks = [
        candles(HISTORY + LIVE, seed=seed + 100, instrument=one)[HISTORY:]
        for seed, one in enumerate(life.instruments)
    ]
    return life, walks


async def hours(life: Life, walks: list[list[Candle]], first: int, last: int) -> None:
    for hour in range(first, last):
        life.clock.advance(H1.duration)
        await life.take([version(walk[hour], right=True) for walk in walks])
        life.clock.advance(timedelta(seconds=1))


def learners(life: Life) -> dict[str, Learner]:
    (rooms,) = life.runner.panel.rooms.values()
    return {one.name: one for one in rooms.learners}


async def stored(life: Life, of: CandleSet) -> dict[Any, Any]:
    return {
        (of.id, symbol, to_ms(as_of)): (coverage, tuple(values))
        for symbol, as_of, coverage, values, _ in await rows_of(life, of.id)
    }


def right(life: Life) -> dict[Any, Any]:
    """The rows of the sets that are made now."""
    features, _ = expected(life)
    return features
