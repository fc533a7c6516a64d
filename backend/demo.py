"""The demo: everything in one process, against the simulated exchange beside it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np

from backend.api.status import Market, Status
from backend.asked import SWITCHED_OFF, Asked, nothing_asked
from backend.clock import ExchangeClock, SystemClock
from backend.feed import Feed
from backend.played import refuse_another, remember
from backend.served import say
from backend.settings import Settings
from backend.simulated import READ_EVERY_S, SimulatedProcess, simulated_process
from backend.simulated_sources import simulated_sources
from backend.system import run_system
from backend.system_plan import SystemPlan
from backend.wiring import Store
from collectors.budget import Budget
from collectors.ccxt_exchange import CcxtExchange
from collectors.pacing import Pace
from collectors.recorded import Selection, choose, read_folder
from collectors.simulated.instruments import default_symbols
from domain.errors import (
    ExchangeUnavailableError,
    StateFolderError,
    UnknownSymbolError,
    UsageError,
)
from domain.market import Timeframe, rfc3339

log = logging.getLogger(__name__)

SYNTHETIC = "simulated"
INSTRUMENTS = 12
SPARE = 4  # listed beside what is watched, to be added while it runs
LISTED = default_symbols(1_000)  # of the synthetic market
TRAINING_BARS = 60
HOLD_LIMIT = timedelta(seconds=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """The flags of `alphapulse demo`."""

    data: Path | None
    exchange: str | None
    symbols: list[str] | None
    timeframes: list[str] | None
    horizons: list[int] | None
    since: datetime | None
    until: datetime | None
    speed: float
    seed: int
    signal: float
    stop_after: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Market:
    """What the simulated exchange is to play."""

    name: str  # of the exchange on every row
    symbols: tuple[str, ...]
    timeframes: tuple[Timeframe, ...]
    arguments: tuple[str, ...]  # of its process
    identity: Mapping[str, str]  # what decides its candles
    notes: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()  # of its files, in one line


async def run_demo(plan: DemoPlan, settings: Settings) -> None:
    """Run until interrupted, or for as long as was asked."""
    history = settings.history_bars
    market = _recorded(plan, history) if plan.data else _synthetic(plan, history)
    for note in market.notes:
        say(note)
    refuse_another(settings.state, market.identity)
    clock = ExchangeClock(datetime.now(UTC), speed=plan.speed)
    clock.set(clock.now(), held=True)

    processes: list[SimulatedProcess] = []
    feeds: list[Feed] = []

    async def connect(store: Store, status: Status, stack: AsyncExitStack) -> Sequence[Feed]:
        status.notes += [*market.notes, *market.unused]
        reached = await store.history.reached(market.name)
        process = await stack.enter_async_context(
            simulated_process(*market.arguments, *_start(plan, reached))
        )
        if not await process.read_clock(clock) and reached is not None:
            raise StateFolderError(
                f"the state folder {settings.state} holds this recording up to its end, "
                f"{rfc3339(clock.now())}; pass another --state, or a later --to"
            )
        remember(settings.state, market.identity)
        if reached is not None:
            say(f"the market goes on at {rfc3339(clock.now())}, where the state folder's ends")
        processes.append(process)
        keeping = asyncio.create_task(_keep_time(process, clock))
        stack.callback(keeping.cancel)
        feeds.append(await _feed(market, process, clock, plan, stack))
        return feeds

    async def ask(store: Store, status: Status, stack: AsyncExitStack) -> Asked:
        if plan.data or not settings.sources.on:
            why = "recorded candles are played" if plan.data else SWITCHED_OFF
            return nothing_asked(settings.sources, why)
        site = processes[0].rest_url
        watched = partial(status.watched_on, market.name)
        return await simulated_sources(
            stack, store, feeds[0], watched, site=site, seed=plan.seed, history=history
        )

    timeframe = market.timeframes[0]
    await run_system(
        SystemPlan(
            market=Market.RECORDED if plan.data else Market.SIMULATED,
            horizons=tuple(plan.horizons or [4]),
            clock=clock,
            connect=connect,
            ask=ask,
            speed=plan.speed,
            training_every=timeframe.duration * TRAINING_BARS,
            hold_limit=HOLD_LIMIT,
            stop_after=plan.stop_after,
            seed=plan.seed,
        ),
        settings,
    )


def _start(plan: DemoPlan, reached: datetime | None) -> tuple[str, ...]:
    """Where the exchange's clock starts: never before what is stored of it."""
    asked = plan.since if plan.data else None
    moments = [moment for moment in (asked, reached) if moment is not None]
    return ("--from", max(moments).isoformat()) if moments else ()


async def _feed(
    market: _Market,
    process: SimulatedProcess,
    clock: ExchangeClock,
    plan: DemoPlan,
    stack: AsyncExitStack,
) -> Feed:
    exchange = await asyncio.to_thread(
        CcxtExchange,
        "binance",
        name=market.name,
        rest_url=process.rest_url,
        ws_url=process.ws_url,
        rate_limited=False,
    )
    stack.push_async_callback(exchange.close)

    async def hold(held: bool) -> None:  # noqa: FBT001 - the shape of Hold
        await process.hold(held)
        await process.read_clock(clock)

    return Feed(
        exchange=exchange,
        listings=tuple(await exchange.listings(market.symbols)),
        timeframes=market.timeframes,
        pace=Pace(
            clock=clock,
            wall=SystemClock(),
            random=np.random.default_rng(plan.seed),
            speed=plan.speed,
        ),
        budget=Budget(SystemClock()),
        hold=hold,
        unread=exchange.unread,
    )


async def _keep_time(process: SimulatedProcess, clock: ExchangeClock) -> None:
    """Read the exchange's clock from time to time; say so when the recording has ended."""
    ended = False
    while True:
        await asyncio.sleep(READ_EVERY_S)
        try:
            running = await process.read_clock(clock)
        except ExchangeUnavailableError as error:
            log.warning("the clock goes on by itself", extra={"reason": str(error)})
            continue
        if not running and not ended:
            say("the recording has ended; what was collected stays on the page")
        ended = not running


def _synthetic(plan: DemoPlan, history: int) -> _Market:
    if plan.exchange not in (None, SYNTHETIC):
        raise UsageError("--exchange names recorded candles; pass --data with it")
    timeframes = _timeframes(plan.timeframes, Timeframe.H1)
    symbols = tuple(plan.symbols or default_symbols(INSTRUMENTS))
    for symbol in symbols:
        if symbol not in LISTED:
            raise UnknownSymbolError(symbol, LISTED)
    spare = [one for one in LISTED if one not in symbols][:SPARE]
    finest = min(timeframes, key=lambda one: one.ms).value
    return _Market(
        name=SYNTHETIC,
        symbols=symbols,
        timeframes=timeframes,
        arguments=(
            *("--seed", str(plan.seed), "--signal", str(plan.signal)),
            *("--timeframe", finest, "--symbols", ",".join([*symbols, *spare])),
            *_playing(plan, history),
        ),
        identity={"--seed": str(plan.seed), "--signal": str(plan.signal), "--timeframes": finest},
    )


def _recorded(plan: DemoPlan, history: int) -> _Market:
    if plan.data is None:
        raise UsageError("--data names no folder")
    wanted = _timeframes(plan.timeframes, None)
    selection = choose(
        read_folder(plan.data),
        exchange=plan.exchange,
        symbols=plan.symbols,
        timeframe=wanted[0] if wanted else None,
    )
    sys.stderr.writelines(f"{line}\n" for line in selection.notes())
    symbols = tuple(instrument.symbol for instrument in sorted(selection.recordings))
    arguments = [
        *("--data", str(plan.data), "--exchange", selection.exchange),
        *("--timeframe", selection.timeframe.value, "--symbols", ",".join(symbols)),
        *_playing(plan, history),
    ]
    if plan.until:
        arguments += ["--to", plan.until.isoformat()]
    return _Market(
        name=f"{SYNTHETIC}-{selection.exchange}",
        symbols=symbols,
        timeframes=(selection.timeframe, *wanted[1:]),
        arguments=tuple(arguments),
        identity={
            "--data": str(plan.data.resolve()),
            "--exchange": selection.exchange,
            "--timeframes": selection.timeframe.value,
        },
        notes=_notes(selection),
        unused=tuple(filter(None, [str(selection.unused)])),
    )


def _notes(selection: Selection) -> tuple[str, ...]:
    chosen = (
        f"playing {len(selection.recordings)} instruments of {selection.exchange} "
        f"at {selection.timeframe}"
    )
    return (chosen, *selection.left_out)


def _playing(plan: DemoPlan, history: int) -> tuple[str, ...]:
    pace = ("--speed", str(plan.speed), "--history", str(history))
    return (*pace, "--port", "0", "--held")


def _timeframes(texts: list[str] | None, default: Timeframe | None) -> tuple[Timeframe, ...]:
    if texts:
        return tuple(Timeframe.parse(text) for text in texts)
    return (default,) if default else ()
