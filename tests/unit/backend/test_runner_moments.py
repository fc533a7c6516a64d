"""When the events and the rows of a tick say that they were made and told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from backend.panel import Panel, PanelKey
from backend.runner import Runner
from domain.errors import StoreUnavailableError
from domain.events import CandleBatch, Origin, OutcomeBatch, PredictionBatch, Role
from domain.market import Timeframe, from_ms
from services.signals.policy import PolicySettings
from tests.doubles import ManualClock
from tests.factories import BTC, ETH, candle_batches

HOUR = Timeframe.H1.duration
STEP, NONE = timedelta(milliseconds=7), timedelta(0)
SERVED = (Role.CHAMPION, "served")
COMPOSED = [
    *(f"pool.{target}" for target in ("direction", "quantiles", "volatility")),
    *("class_prior.direction", "ewma.volatility", "har.volatility"),
    *("empirical.quantiles", "scaled.quantiles"),
]
ON_TRIAL = (Role.CHALLENGER, "river.direction")


class Passing(ManualClock):
    """Time passes whenever somebody asks for it."""

    def now(self) -> datetime:
        self.advance(STEP)
        return super().now()


class Impatient(ManualClock):
    """Whoever sleeps is awake at once, later."""

    async def sleep(self, duration: timedelta) -> None:
        self.advance(duration)


@dataclass
class Store:
    """A recorder and an observer; `before` runs at each try of a commit."""

    before: Callable[[], None] = lambda: None
    moments: list[datetime] = field(default_factory=list)
    hot: list[object] = field(default_factory=list)
    cold: list[object] = field(default_factory=list)

    async def commit_tick(
        self, events: Sequence[object], *, published_at: datetime, **_: Any
    ) -> list[Any]:
        self.moments.append(published_at)
        self.before()
        self.hot += events
        return []

    async def commit_learning(
        self, events: Sequence[object], *, published_at: datetime, **_: Any
    ) -> list[Any]:
        self.moments.append(published_at)
        self.before()
        self.cold += events
        return []

    def all(self) -> list[object]:
        return [*self.hot, *self.cold]

    def seated(self, changes: Sequence[object]) -> None: ...

    def states(self, as_of: object) -> Sequence[Any]:
        return ()

    def past(self, candles: object) -> Sequence[Any]:
        return ()

    async def after_tick(self, candles: object) -> None: ...


def running(store: Store, clock: ManualClock) -> Runner:
    panel = Panel(
        PanelKey(exchange=BTC.exchange, timeframe=Timeframe.H1),
        [4],
        clock=clock,
        policy=PolicySettings(),
    )
    return Runner(
        panel=panel,
        recorder=store,
        publish=lambda events: None,
        clock=clock,
        wall=Impatient(),
        observer=store,
    )


def said(events: Sequence[object]) -> dict[tuple[Role, str], PredictionBatch]:
    return {(one.role, one.model): one for one in events if isinstance(one, PredictionBatch)}


async def on_time(runner: Runner, clock: ManualClock, candles: CandleBatch) -> None:
    """Run a tick at its close, or now where that is over."""
    clock.advance(max(candles.as_of - clock.now(), NONE))
    await runner.on_candles(candles)


async def test_an_event_is_told_when_its_commit_begins_and_not_before_it_was_made() -> None:
    store, clock = Store(), Passing()
    (tick,) = candle_batches([BTC], 1)

    await on_time(running(store, clock), clock, tick)

    made_at = said(store.hot)[SERVED].made_at
    challenged_at = said(store.cold)[ON_TRIAL].made_at
    first, second = store.moments
    assert tick.as_of < made_at < first < challenged_at < second < clock.now()


async def test_a_clock_that_is_behind_the_candles_tells_of_nothing_before_it_is_known() -> None:
    store, clock = Store(), ManualClock()
    first, second = candle_batches([BTC], 2)
    runner = running(store, clock)

    await runner.on_candles(first)
    await runner.on_candles(second)
    await runner.on_candles(first)  # answered before: kept only

    told = [first.known_at, second.known_at, first.known_at]
    commits = [told[0], told[0], told[1], told[1], told[2]]
    assert clock.now() < min(commits)
    assert store.moments == commits


async def test_every_try_of_a_commit_tells_the_same_moment() -> None:
    failures = iter([True, True, False, True, False])

    def fail() -> None:
        if next(failures):
            raise StoreUnavailableError("the connection is lost")

    store, clock = Store(before=fail), Passing()
    (tick,) = candle_batches([BTC], 1)

    await on_time(running(store, clock), clock, tick)

    hot, cold = set(store.moments[:3]), set(store.moments[3:])
    assert (len(store.moments), len(hot), len(cold)) == (5, 1, 1)


async def test_what_was_composed_in_time_is_live_and_scored_however_late_the_rest_is() -> None:
    pauses = iter([NONE, NONE, HOUR + STEP, *[NONE] * 9])  # before each commit of six ticks
    clock = ManualClock()
    store = Store(before=lambda: clock.advance(next(pauses)))
    runner = running(store, clock)
    first, stalled, *others = candle_batches([BTC, ETH], 6)
    for tick in (first, stalled, *others):
        await on_time(runner, clock, tick)

    rows = said([one for one in store.all() if getattr(one, "as_of", None) == stalled.as_of])
    composed = {(Role.MEMBER, name) for name in COMPOSED}
    made_at = rows[SERVED].made_at
    assert (made_at, rows[SERVED].origin) == (stalled.as_of, Origin.LIVE)
    assert {key for key, one in rows.items() if one.origin is Origin.LIVE} == {SERVED, *composed}
    assert {rows[key].made_at for key in composed} == {made_at}
    assert (rows[ON_TRIAL].origin, rows[ON_TRIAL].made_at) == (Origin.LATE, made_at + HOUR + STEP)
    scored = [
        (one.origin, one.role, one.model)
        for one in store.all()
        if isinstance(one, OutcomeBatch) and from_ms(int(one.as_of_ms[0])) == stalled.as_of
    ]
    expected = [(Origin.LIVE, *key) for key in (SERVED, *composed)]
    assert sorted(scored) == sorted([*expected, (Origin.LATE, *ON_TRIAL)])
