"""An exchange whose history, messages and failures are written by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from collectors.budget import Budget
from domain.errors import ExchangeUnavailableError, UnknownSymbolError
from domain.events import Candle
from domain.market import Instrument, Listing, SeriesKey, Timeframe, to_ms
from domain.ports import Clock


class ScriptedExchange:
    """REST tells what was `record`ed and has closed; the socket tells what is `send`.

    Like the real ones it keeps nothing for a socket that is not connected, and orders
    nothing. Errors given to `fail` and `refuse` are raised once each, in their order.
    Where there is a budget a request draws a second of it, and comes after its turn.
    Candles of `polled` timeframes have to be asked for.
    """

    def __init__(
        self, clock: Clock, *, name: str = "simulated", budget: Budget | None = None
    ) -> None:
        self._clock = clock
        self._name = name
        self._budget = budget
        self._history: dict[SeriesKey, dict[int, Candle]] = {}
        self._sockets: list[asyncio.Queue[Candle | Exception]] = []
        self._failures: list[Exception] = []
        self._refusals: list[Exception] = []
        self.connections = 0
        self.polled: set[Timeframe] = set()
        self.flagged = False
        self.requests: list[tuple[Instrument, Timeframe, datetime, datetime]] = []

    @property
    def id(self) -> str:
        return self._name

    @property
    def connected(self) -> bool:
        return bool(self._sockets)

    def record(self, candles: Iterable[Candle]) -> None:
        """REST has these, from the time that they close."""
        for candle in candles:
            series = self._history.setdefault((candle.instrument, candle.timeframe), {})
            series[candle.open_ms] = candle

    def forget(self, candle: Candle) -> None:
        """REST does not have this one."""
        self._history[candle.instrument, candle.timeframe].pop(candle.open_ms, None)

    def send(self, *candles: Candle) -> None:
        """The socket tells these, if it is connected."""
        for socket in self._sockets:
            for candle in candles:
                socket.put_nowait(candle)

    def disconnect(self) -> None:
        for socket in self._sockets:
            socket.put_nowait(ExchangeUnavailableError("the script cut the connection"))

    def fail(self, *errors: Exception) -> None:
        """The next requests are answered with these."""
        self._failures += errors

    def recover(self) -> None:
        """Requests are answered with candles again."""
        self._failures.clear()

    def refuse(self, *errors: Exception) -> None:
        """The next connections are answered with these."""
        self._refusals += errors

    def streams(self, timeframe: Timeframe) -> bool:
        return timeframe not in self.polled

    def flags_closes(self, timeframe: Timeframe) -> bool:
        del timeframe
        return self.flagged

    async def listings(self, symbols: Sequence[str]) -> list[Listing]:
        known = {instrument.symbol: instrument for instrument, _ in self._history}
        for symbol in symbols:
            if symbol not in known:
                raise UnknownSymbolError(symbol, known)
        return [
            Listing(instrument=known[one], tick_size=0.01, lot_size=1e-5, min_notional=5.0)
            for one in symbols
        ]

    async def fetch_candles(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> list[Candle]:
        if self._budget is not None:
            await self._budget.draw(timedelta(seconds=1))
        self.requests.append((instrument, timeframe, since, until))
        await asyncio.sleep(0)
        if self._failures:
            raise self._failures.pop(0)
        now_ms = to_ms(self._clock.now())
        series = self._history.get((instrument, timeframe), {})
        return [
            _confirmed(series[open_ms])
            for open_ms in sorted(series)
            if to_ms(since) <= open_ms < to_ms(until) and open_ms + timeframe.ms <= now_ms
        ]

    async def watch_candles(
        self, instruments: Sequence[Instrument], timeframes: Sequence[Timeframe]
    ) -> AsyncGenerator[Candle, None]:
        if self._refusals:
            raise self._refusals.pop(0)
        self.connections += 1
        wanted = {(instrument, timeframe) for instrument in instruments for timeframe in timeframes}
        socket: asyncio.Queue[Candle | Exception] = asyncio.Queue()
        self._sockets.append(socket)
        try:
            while True:
                message = await socket.get()
                if isinstance(message, Exception):
                    raise message
                if (message.instrument, message.timeframe) in wanted:
                    yield message
        finally:
            self._sockets.remove(socket)

    async def fetch_time(self) -> datetime:
        return self._clock.now()

    async def close(self) -> None:
        self.disconnect()


def _confirmed(candle: Candle) -> Candle:
    return replace(candle, closed=True, confirmed=True)
