"""A collector on ccxt's client that follows the simulated exchange, and the account of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from collectors.ccxt_exchange import CcxtExchange
from collectors.checks import reason
from collectors.collector import Collector, CollectorSettings
from collectors.pacing import Pace
from collectors.simulated.clock import ScaledClock
from domain.market import Instrument, Timeframe, from_ms
from tests.soak import Account, complaints

M1 = Timeframe.M1
GRACE = timedelta(milliseconds=300)  # of wall time
PATIENCE_S = 60  # for all repairs
BEFORE = 10  # minutes that the first answers may reach back


@dataclass
class ExchangeClock:
    """The time of the simulated exchange."""

    clock: ScaledClock

    def now(self) -> datetime:
        return from_ms(self.clock.now_ms())

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds() / self.clock.speed)


@dataclass
class WallClock:
    """Time since the test began."""

    def now(self) -> datetime:
        return from_ms(int(asyncio.get_running_loop().time() * 1000))

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())


@dataclass
class Followed:
    """An exchange, and the account of what a collector tells of it."""

    exchange: CcxtExchange
    account: Account
    collecting: asyncio.Task[None]

    async def until(self, minutes: int) -> None:
        """All tell of candles so much newer than their first."""
        while True:
            await asyncio.sleep(0.05)
            if self.collecting.done():
                await self.collecting
            if min(len(self.account.rows(name)) for name in self.account.ledgers) >= minutes:
                return

    async def all_right(self) -> None:
        """What was told agrees with the exchange, once all repairs are made."""
        names = [*self.account.ledgers]
        since_ms = max(min(self.account.rows(name)) for name in names)
        until_ms = min(max(self.account.rows(name)) for name in names)
        wrong = ["not looked at"]
        if self.collecting.done():  # it follows for ever, whatever happens
            await self.collecting
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while wrong and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.2)
            wrong = await self._wrong(since_ms, until_ms)
        assert not wrong, wrong

    async def _wrong(self, since_ms: int, until_ms: int) -> list[str]:
        since, until = from_ms(since_ms), from_ms(until_ms)
        found = [*self.account.wrongs]
        for name in self.account.ledgers:
            right = await self.exchange.fetch_candles(name, M1, since=since, until=until)
            found += complaints(self.account, name, right, since_ms=since_ms, until_ms=until_ms)
        return found


@asynccontextmanager
async def following(
    symbols: Sequence[str], port: int, clock: ScaledClock, *, room: int
) -> AsyncIterator[Followed]:
    """A collector that follows the simulated exchange; its account has `room` for minutes."""
    names = [Instrument("simulated", symbol) for symbol in symbols]
    exchange = CcxtExchange(
        "binance",
        name="simulated",
        rest_url=f"http://127.0.0.1:{port}",
        ws_url=f"ws://127.0.0.1:{port}",
        rate_limited=False,
    )
    account = Account(names, clock.now_ms() // M1.ms * M1.ms - BEFORE * M1.ms, BEFORE + room)
    pace = Pace(
        clock=ExchangeClock(clock),
        wall=WallClock(),
        random=np.random.default_rng(1),
        speed=clock.speed,
    )
    collector = Collector(
        exchange,
        stored=account,
        out=account.take,
        check=reason,
        pace=pace,
        settings=CollectorSettings(close_grace=GRACE),
    )

    async def set_aside() -> None:
        while True:
            await exchange.unread.take()

    running = [
        asyncio.create_task(collector.run(names, [M1])),
        asyncio.create_task(set_aside()),
    ]
    try:
        yield Followed(exchange, account, running[0])
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await exchange.close()
