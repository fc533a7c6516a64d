"""The simulated exchange as a server on loopback: one market, one clock, REST and sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from collectors.simulated.book import Book
from collectors.simulated.clock import ScaledClock
from collectors.simulated.control import Control
from collectors.simulated.faults import Faults
from collectors.simulated.feed import Feed
from collectors.simulated.press import Press
from collectors.simulated.rest import Rest
from collectors.simulated.sent import Sent
from collectors.simulated.sockets import Sockets
from collectors.simulated.sources import Sources
from collectors.simulated.subscribers import Subscribers
from collectors.simulated.tape import Market, Tape
from domain.errors import UsageError

HISTORY = 2000  # candles
UPDATES = 2  # forming frames per candle


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """How a market is played.

    Attributes:
        speed: Simulated seconds per second.
        clock_ms: Where the clock starts; None: when `history` candles are there.
        history: Candles that every instrument has when the clock starts.
        held: Whether the clock waits for `POST /_control/clock {"held": false}`.
        updates: Forming frames per candle.
        port: 0 lets the system choose.
        press: Seed of what its press and its traders say; None: there is neither.
    """

    speed: float = 1.0
    clock_ms: int | None = None
    history: int = HISTORY
    held: bool = False
    updates: int = UPDATES
    host: str = "127.0.0.1"
    port: int = 0
    press: int | None = None


class SimulatedExchange:
    """Binance spot's dialect in front of a market.

    Usage: `async with SimulatedExchange(market, Play(speed=3600)) as exchange: exchange.port`.
    """

    def __init__(self, market: Market, play: Play) -> None:
        self._play = play
        tape = Tape(market)
        start_ms = play.clock_ms
        if start_ms is None:
            start_ms = market.ready_ms(play.history)
        self.clock = ScaledClock(start_ms, play.speed, end_ms=market.end_ms, held=play.held)
        self.faults = Faults()
        self.sent = Sent()
        self._subscribers = Subscribers()
        book = Book(tape, self.clock, self.faults)
        self._feed = Feed(book, self._subscribers, self.sent, updates=play.updates)
        rest = Rest(book)
        sockets = Sockets(self._subscribers, self.faults)
        application = web.Application(middlewares=[rest.refusals])
        application.add_routes(rest.routes())
        application.add_routes(Control(book, self.sent, self._subscribers).routes())
        if play.press is not None:
            sources = Sources(book, Press(play.press))
            application.add_routes(sources.routes())
        for path in ("/stream", "/stream/{rest:.*}", "/ws", "/ws/{rest:.*}"):
            application.router.add_get(path, sockets.handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen and let the market run.

        Raises:
            UsageError: The port is in use.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._play.host, self._play.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            message = f"port {self._play.port} cannot be used: {error.strerror}"
            raise UsageError(message) from error
        self.port = self._runner.addresses[0][1]
        self._task = asyncio.create_task(self._feed.run(), name="simulated exchange")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._subscribers.cut_all()
        await self._runner.cleanup()

    async def __aenter__(self) -> SimulatedExchange:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def wait(self) -> None:
        """Run until the feed fails or this is cancelled."""
        if self._task is not None:
            await self._task


async def serve(market: Market, play: Play, *, ready: Callable[[int], None]) -> None:
    """Serve `market` until cancelled; `ready` is told the port.

    Raises:
        UsageError: The port is in use.
    """
    async with SimulatedExchange(market, play) as exchange:
        ready(exchange.port)
        await exchange.wait()
