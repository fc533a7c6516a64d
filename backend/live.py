"""The live system on real exchanges; where none answers it ends with one line."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta

import numpy as np

from backend import VERSION
from backend.api.status import Market, Status
from backend.asked import SWITCHED_OFF, Asked, metric_sources, not_asked, nothing_asked, web_sources
from backend.clock import ExchangeClock, SystemClock
from backend.feed import Feed
from backend.settings import BuildSettings, ExchangeSettings, Settings
from backend.system import run_system
from backend.system_plan import SystemPlan
from backend.wiring import Store
from collectors.budget import Budget
from collectors.capture import Capture
from collectors.ccxt_exchange import CcxtExchange
from collectors.ccxt_import import exchange_class
from collectors.pacing import Pace
from collectors.rolled_up import RolledUp
from collectors.sources.ccxt_metrics import CcxtDerivatives
from collectors.sources.large_trades import LargeTradeSource
from collectors.sources.session import open_session
from collectors.trade_built import TradeBuilt
from collectors.unreadable import Unread
from domain.errors import ExchangeError, ExchangeUnavailableError, UsageError
from domain.market import Listing, Timeframe
from domain.ports import Clock, Exchange

log = logging.getLogger(__name__)

PACE_SAMPLE_S = 1.0  # wall seconds between the two readings that tell a clock's pace


async def run_live(settings: Settings, *, allow_no_keys: bool = False) -> None:
    """Run until interrupted.

    Raises:
        UsageError: the settings do not say what to watch.
        UnknownExchangeError, UnknownSymbolError: with suggestions.
        ExchangeUnavailableError: none of the exchanges answers.
    """
    watch = settings.watch
    for name, chosen in (("exchange", watch.exchanges), ("symbols", watch.symbols)):
        if not chosen:
            raise UsageError(f"give --{name}, or let `alphapulse init` write what to watch")
    for exchange_id in watch.exchanges:
        await asyncio.to_thread(exchange_class, exchange_id)
    async with AsyncExitStack() as opened:
        captures = _captures(watch.exchanges, settings)
        budgets = {one: Budget(SystemClock()) for one in watch.exchanges}
        exchanges = [
            _open(one, settings.exchange.get(one), budgets[one], captures.get(one))
            for one in watch.exchanges
        ]
        for exchange in exchanges:
            opened.push_async_callback(exchange.close)
        for capture in captures.values():
            opened.push_async_callback(_ended, asyncio.create_task(capture.run()))
        reachable = await _reachable(exchanges, watch.symbols)
        clock, speed = await _clock(settings, reachable[0][0], opened)

        async def connect(store: Store, status: Status, stack: AsyncExitStack) -> Sequence[Feed]:
            del store, stack
            status.notes += [
                f"{one.id} cannot be reached" for one in exchanges if one not in dict(reachable)
            ]
            pace = Pace(
                clock=clock, wall=SystemClock(), random=np.random.default_rng(), speed=speed
            )
            return [
                Feed(
                    exchange=_built(one, watch.timeframes, settings.build),
                    listings=tuple(listed),
                    timeframes=watch.timeframes,
                    pace=pace,
                    budget=budgets[one.id],
                    unread=one.unread,
                )
                for one, listed in reachable
            ]

        async def ask(store: Store, feeds: Sequence[Feed], stack: AsyncExitStack) -> Asked:
            del store
            return await _asked(stack, feeds, clock, settings)

        await run_system(
            SystemPlan(
                market=Market.LIVE if settings.clock == "system" else Market.SIMULATED,
                horizons=watch.horizons,
                clock=clock,
                connect=connect,
                speed=speed,
                allow_no_keys=allow_no_keys,
                ask=ask,
            ),
            settings,
        )


async def _asked(
    stack: AsyncExitStack, feeds: Sequence[Feed], clock: Clock, settings: Settings
) -> Asked:
    """The sources of the settings; on another clock than the machine's the web's make no sense."""
    about = settings.sources
    if not about.on or settings.clock != "system":
        return nothing_asked(about, SWITCHED_OFF if not about.on else "the market is simulated")
    session = await stack.enter_async_context(open_session())
    sources = web_sources(about, session, clock)
    for feed in feeds if about.derivatives else ():
        where = settings.exchange.get(feed.exchange.id) or ExchangeSettings()
        exchange = await asyncio.to_thread(
            CcxtDerivatives,
            feed.exchange.id,
            session=session,
            rest_url=where.rest_url,
            budget=feed.budget,
        )
        stack.push_async_callback(exchange.close)
        sources += metric_sources(exchange, feed.instruments, clock)
    for feed in feeds if about.large_trades else ():
        addresses = settings.exchange.get(feed.exchange.id)
        heard = _open(feed.exchange.id, addresses, feed.budget, unread=feed.unread)
        source = LargeTradeSource(heard, feed.instruments, feed.pace)
        stack.push_async_callback(source.close)
        sources.append(source)
    return Asked(
        sources=sources,
        off=not_asked(about),
        assets=sorted({one.base for feed in feeds for one in feed.instruments}),
        keep_posts=timedelta(hours=about.social_text_hours),
    )


def _open(
    exchange_id: str,
    addresses: ExchangeSettings | None,
    budget: Budget | None,
    capture: Capture | None = None,
    unread: Unread | None = None,
) -> CcxtExchange:
    where = addresses or ExchangeSettings()
    return CcxtExchange(
        exchange_id,
        rest_url=where.rest_url,
        ws_url=where.ws_url,
        budget=budget,
        capture=capture,
        unread=unread,
    )


def _built(
    exchange: CcxtExchange, timeframes: Sequence[Timeframe], about: BuildSettings
) -> Exchange:
    """The exchange with the candles that are put together here."""
    whole = TradeBuilt(exchange) if about.from_trades else exchange
    rolled = [one for one in timeframes if one in about.rolled_up]
    if not rolled:
        return whole
    offered = [one for one in timeframes if exchange.fetches(one)]
    return RolledUp(whole, rolled, watched=timeframes, offered=offered)


def _captures(exchange_ids: Sequence[str], settings: Settings) -> dict[str, Capture]:
    """What takes each exchange's frames, where the settings say so."""
    if not settings.capture.on:
        return {}
    folder = settings.capture.folder or settings.state / "captures"
    return {
        one: Capture(
            folder / one,
            about={"exchange": one, "name": one, "version": VERSION},
            largest=settings.capture.maximum_mb * 10**6 // len(exchange_ids),
            clock=SystemClock(),
        )
        for one in exchange_ids
    }


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _reachable(
    exchanges: Sequence[CcxtExchange], symbols: Sequence[str]
) -> list[tuple[CcxtExchange, list[Listing]]]:
    """The exchanges that answer, with what they list; a symbol that one lacks is an error."""
    found, reasons = [], []
    for exchange in exchanges:
        try:
            found.append((exchange, await exchange.listings(symbols)))
        except ExchangeError as error:
            reasons.append(f"{exchange.id}: {error}")
    if not found:
        raise ExchangeUnavailableError("no exchange can be reached: " + "; ".join(reasons))
    return found


async def _clock(
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
