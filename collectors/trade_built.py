"""Candles of an exchange that does not serve them, built from its trades."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import cast

from collectors.buffers import CandleBuffer
from collectors.gaps import Range, ceil_ms, floor_ms
from collectors.trades import Numbering, TradedCandle, candles_of, missing_numbers, whole_opens
from domain.errors import ExchangeUnavailableError
from domain.events import Candle
from domain.market import Instrument, Listing, SeriesKey, Timeframe, from_ms, to_ms
from domain.ports import TradedExchange
from domain.trades import Trade, TradesTold

SETTLING_MS = 10_000  # after which a connection that has told no trade is taken to listen


class TradeBuilt:
    """An `Exchange` that builds from trades what `exchange` does not fetch or stream as candles.

    What the socket tells is built as it comes, and what REST has counts in its place: candles
    where the exchange serves them, else trades. Trades that did not come end the connection, as
    a lost one does: nothing is built over a hole, and REST is asked.
    """

    def __init__(self, exchange: TradedExchange) -> None:
        self._exchange = exchange

    @property
    def id(self) -> str:
        return self._exchange.id

    def streams(self, timeframe: Timeframe) -> bool:
        """All: what is not streamed is built."""
        del timeframe
        return True

    def flags_closes(self, timeframe: Timeframe) -> bool:
        """None of the built ones: no trade says that it is the last."""
        return self._exchange.streams(timeframe) and self._exchange.flags_closes(timeframe)

    async def listings(self, symbols: Sequence[str]) -> list[Listing]:
        return await self._exchange.listings(symbols)

    async def fetch_time(self) -> datetime:
        return await self._exchange.fetch_time()

    async def close(self) -> None:
        await self._exchange.close()

    async def fetch_candles(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> list[Candle]:
        if self._exchange.fetches(timeframe):
            return await self._exchange.fetch_candles(
                instrument, timeframe, since=since, until=until
            )
        # Asked before the trades are: an interval that is over has all of its own.
        now_ms = to_ms(await self._exchange.fetch_time())
        first_ms = ceil_ms(to_ms(since), timeframe)
        end_ms = floor_ms(min(to_ms(until), now_ms), timeframe)
        if first_ms >= end_ms:
            return []
        told = await self._exchange.fetch_trades(
            instrument, since=from_ms(first_ms), until=from_ms(end_ms)
        )
        return _whole(told, timeframe)

    async def watch_candles(
        self, instruments: Sequence[Instrument], timeframes: Sequence[Timeframe]
    ) -> AsyncGenerator[Candle, None]:
        """As the port has it; built versions are all forming, whoever reads them closes them."""
        streamed = [one for one in timeframes if self._exchange.streams(one)]
        built = [one for one in timeframes if one not in streamed]
        buffer = CandleBuffer()
        work = [self._build(instruments, built, buffer)] if built else []
        work += [self._pass_on(instruments, streamed, buffer)] if streamed else []
        async with buffer.filled_by(work, ended="the stream has ended"):
            while True:
                for candle in buffer.take():
                    yield candle
                await buffer.wait()

    async def _pass_on(
        self,
        instruments: Sequence[Instrument],
        timeframes: Sequence[Timeframe],
        buffer: CandleBuffer,
    ) -> None:
        watching = self._exchange.watch_candles(instruments, timeframes)
        async with aclosing(cast(AsyncGenerator[Candle, None], watching)) as told:
            async for candle in told:
                buffer.put(candle)

    async def _build(
        self,
        instruments: Sequence[Instrument],
        timeframes: Sequence[Timeframe],
        buffer: CandleBuffer,
    ) -> None:
        builder = Builder(timeframes, to_ms(await self._exchange.fetch_time()))
        watching = self._exchange.watch_trades(instruments)
        async with aclosing(cast(AsyncGenerator[Trade, None], watching)) as told:
            async for trade in told:
                for candle in builder.add(trade):
                    buffer.put(candle)


class Builder:
    """The forming candles of one connection's trades.

    Args:
        timeframes: To build.
        began_ms: When the connection did. It listens once it has told a trade: intervals that
            had begun by then are never whole.
    """

    def __init__(self, timeframes: Sequence[Timeframe], began_ms: int) -> None:
        self._timeframes = timeframes
        self._began_ms = began_ms
        self._first: dict[Timeframe, int] = {}
        self._forming: dict[SeriesKey, TradedCandle] = {}
        self._numberings: dict[Instrument, Numbering] = defaultdict(Numbering)

    def add(self, trade: Trade) -> list[Candle]:
        """The candles that `trade` changed.

        Raises:
            ExchangeUnavailableError: others before it did not come.
        """
        if not self._first:
            listening_ms = min(trade.time_ms, self._began_ms + SETTLING_MS)
            self._first = {one: ceil_ms(listening_ms, one) for one in self._timeframes}
        lost = self._numberings[trade.instrument].follow(trade)
        if lost is not None:
            raise ExchangeUnavailableError(
                f"trades {lost.first} to {lost.end - 1} of {trade.instrument} did not come"
            )
        changed = (self._change(trade, timeframe) for timeframe in self._timeframes)
        return [candle for candle in changed if candle is not None]

    def _change(self, trade: Trade, timeframe: Timeframe) -> Candle | None:
        open_ms = floor_ms(trade.time_ms, timeframe)
        key = trade.instrument, timeframe
        forming = self._forming.get(key)
        if open_ms < self._first[timeframe] or (forming is not None and open_ms < forming.open_ms):
            return None  # REST has it
        if forming is None or open_ms > forming.open_ms:
            forming = self._forming[key] = TradedCandle(trade.instrument, timeframe, open_ms)
        return forming.candle(closed=False, confirmed=False) if forming.add(trade) else None


def _whole(told: TradesTold, timeframe: Timeframe) -> list[Candle]:
    """The candles of which no trade is missing."""
    opens = whole_opens(Range(told.from_ms, told.to_ms), timeframe)
    by_number = {one.number: one.time_ms for one in told.trades}
    broken: set[int] = set()
    for lost in missing_numbers(told.trades):
        first_ms = floor_ms(by_number[lost.first - 1], timeframe)
        broken.update(range(first_ms, by_number[lost.end] + 1, timeframe.ms))
    return [
        candle
        for candle in candles_of(told.trades, timeframe)
        if opens.from_ms <= candle.open_ms < opens.to_ms and candle.open_ms not in broken
    ]
