"""The live system on real exchanges; where none answers it ends with one line."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

import numpy as np

from backend.api.status import Market, Status
from backend.asked import SWITCHED_OFF, Asked, metric_sources, not_asked, nothing_asked, web_sources
from backend.clock import ExchangeClock, SystemClock
from backend.exchanges import Exchanges, Reached, opened
from backend.feed import Feed
from backend.plugins import sources_named
from backend.setting_tables import ExchangeSettings
from backend.settings import Settings
from backend.system import run_system
from backend.system_plan import SystemPlan
from backend.wiring import Store
from collectors.ccxt_exchange import CcxtExchange
from collectors.pacing import Pace
from collectors.sources.ccxt_metrics import CcxtDerivatives
from collectors.sources.large_trades import LargeTradeSource
from collectors.sources.session import open_session
from domain.errors import ExchangeError, UsageError
from domain.market import Timeframe
from domain.ports import Clock

log = logging.getLogger(__name__)

PACE_SAMPLE_S = 1.0  # wall seconds between the two readings that tell a clock's pace


async def run_live(settings: Settings, *, allow_no_keys: bool = False) -> None:
    """Run until interrupted.

    Raises:
        As `live_plan` and `run_system`.
    """
    async with AsyncExitStack() as stack:
        plan = await live_plan(settings, stack, allow_no_keys=allow_no_keys)
        await run_system(plan, settings)


async def live_plan(
    settings: Settings, stack: AsyncExitStack, *, allow_no_keys: bool = False
) -> SystemPlan:
    """What the settings ask for, of exchanges that answer.

    Raises:
        UsageError: the settings do not say what to watch.
        UnknownExchangeError, UnknownSymbolError: with suggestions.
        ExchangeUnavailableError: none of the exchanges answers.
    """
    watch = settings.watch
    for name, chosen in (("exchange", watch.exchanges), ("symbols", watch.symbols)):
        if not chosen:
            raise UsageError(f"give --{name}, or let `alphapulse init` write what to watch")
    exchanges = Exchanges(settings=settings)
    await exchanges.open(stack)
    reached = await exchanges.reach()
    clock, speed = await clock_of(settings, reached[0].client, stack)
    pace = Pace(clock=clock, wall=SystemClock(), random=np.random.default_rng(), speed=speed)

    async def connect(store: Store, status: Status, stack: AsyncExitStack) -> Sequence[Feed]:
        del store, stack
        status.notes += [note for one in reached for note in one.notes()]
        return [_feed(one, watch.timeframes, pace) for one in reached]

    async def later(status: Status) -> AsyncIterator[Feed]:
        async for one in exchanges.later():
            status.notes += one.notes()
            yield _feed(one, watch.timeframes, pace)

    async def ask(store: Store, status: Status, stack: AsyncExitStack) -> Asked:
        del store
        return await _asked(stack, settings, status, exchanges, pace)

    return SystemPlan(
        market=market_of(settings),
        horizons=watch.horizons,
        clock=clock,
        connect=connect,
        later=later,
        refused=exchanges.refused,
        speed=speed,
        allow_no_keys=allow_no_keys,
        ask=ask,
    )


async def beside_plan(settings: Settings, stack: AsyncExitStack) -> SystemPlan:
    """What the settings ask for, of a process that asks no exchange for candles.

    Raises:
        UsageError: the clock is an exchange's, and none is named.
        ExchangeUnavailableError: it does not answer.
    """
    clock: Clock = SystemClock()
    speed = 1.0
    if settings.clock != "system":
        exchanges = Exchanges(settings=settings)
        await exchanges.open(stack)
        if not exchanges.clients:
            raise UsageError("give --exchange: the clock is that exchange's")
        clock, speed = await clock_of(settings, next(iter(exchanges.clients.values())), stack)

    async def connect(store: Store, status: Status, stack: AsyncExitStack) -> Sequence[Feed]:
        del store, status, stack
        return []

    async def ask(store: Store, status: Status, stack: AsyncExitStack) -> Asked:
        del store, status, stack
        return nothing_asked(settings.sources, SWITCHED_OFF)

    return SystemPlan(
        market=market_of(settings),
        horizons=settings.watch.horizons,
        clock=clock,
        connect=connect,
        speed=speed,
        ask=ask,
    )


def market_of(settings: Settings) -> Market:
    """Where prices come from."""
    return Market.LIVE if settings.clock == "system" else Market.SIMULATED


async def _asked(
    stack: AsyncExitStack, settings: Settings, status: Status, exchanges: Exchanges, pace: Pace
) -> Asked:
    """The sources of the settings; on another clock than the machine's the web's make no sense."""
    about, clock = settings.sources, pace.clock
    if not about.on or settings.clock != "system":
        return nothing_asked(about, SWITCHED_OFF if not about.on else "the market is simulated")
    session = await stack.enter_async_context(open_session())
    plugins = sources_named(about.plugins, settings.plugins)
    sources = web_sources(about, session, clock, plugins)
    for name, budget in exchanges.budgets.items():
        watched = partial(status.watched_on, name)
        if about.derivatives:
            where = settings.exchange.get(name) or ExchangeSettings()
            exchange = await asyncio.to_thread(
                CcxtDerivatives, name, session=session, rest_url=where.rest_url, budget=budget
            )
            stack.push_async_callback(exchange.close)
            sources += metric_sources(exchange, watched, clock)
        if about.large_trades:
            unread = exchanges.clients[name].unread
            hear = partial(opened, name, settings, budget=budget, unread=unread)
            large = LargeTradeSource(name, hear, watched, pace)
            stack.push_async_callback(large.close)
            sources.append(large)
    return Asked(
        sources=sources,
        off=not_asked(about, plugins),
        assets=lambda: {one.base for one in status.instruments},
        keep_posts=timedelta(hours=about.social_text_hours),
    )


def _feed(reached: Reached, timeframes: tuple[Timeframe, ...], pace: Pace) -> Feed:
    return Feed(
        exchange=reached.exchange,
        listings=reached.listings,
        timeframes=timeframes,
        pace=pace,
        round=reached.round,
        budget=reached.budget,
        unread=reached.client.unread,
    )


async def clock_of(
    settings: Settings, exchange: CcxtExchange, stack: AsyncExitStack
) -> tuple[Clock, float]:
    """The machine's clock, or, where the settings say so, the simulated exchange's."""
    if settings.clock == "system":
        return SystemClock(), 1.0
    first, began = await exchange.fetch_time(), time.monotonic()
    await asyncio.sleep(PACE_SAMPLE_S)
    second = await exchange.fetch_time()
    speed = max((second - first).total_seconds() / (time.monotonic() - began), 1.0)
    clock = ExchangeClock(second, speed=round(speed, 1) if speed < 10 else round(speed))  # noqa: PLR2004
    keeping = asyncio.create_task(_keep_time(exchange, clock))
    stack.callback(keeping.cancel)
    return clock, clock.speed


async def _keep_time(exchange: CcxtExchange, clock: ExchangeClock) -> None:
    while True:
        await asyncio.sleep(PACE_SAMPLE_S)
        try:
            clock.set(await exchange.fetch_time())
        except ExchangeError as error:
            log.warning("the clock goes on by itself", extra={"reason": str(error)})
