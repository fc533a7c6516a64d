"""The imbalance of large trades as a source, from the trades of one exchange as they come."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Final, cast

from collectors.gaps import ceil_ms, floor_ms
from collectors.large_trades import SPAN_MS, LargeTrades
from collectors.offset import APART_MS
from collectors.pacing import Backoff, Pace
from collectors.trades import Numbering
from domain.errors import AlphaPulseError, ExchangeUnavailableError, SourceUnavailableError
from domain.market import Instrument, Timeframe, to_ms
from domain.ports import TradedExchange
from domain.sources import Answer, Measurement, Metric, source_of
from domain.trades import Trade

EVERY: Final = timedelta(minutes=5)
STALE_AFTER: Final = timedelta(hours=3)

log = logging.getLogger(__name__)


class LargeTradeSource:
    """A `Source` that listens: a poll tells the hour before the newest minute that is whole.

    It begins to listen to an instrument at the first poll that finds it; those that come later
    have a connection of their own. After trades of a connection were missed it tells nothing of
    its instruments for an hour.

    Args:
        exchange_id: whose trades.
        connect: makes a client of the exchange, for this source alone, which closes it.
        instruments: of the exchange, that are watched at the time.
        pace: clocks and chance.
    """

    every = EVERY
    stale_after = STALE_AFTER

    def __init__(
        self,
        exchange_id: str,
        connect: Callable[[], TradedExchange],
        instruments: Callable[[], Sequence[Instrument]],
        pace: Pace,
    ) -> None:
        self._exchange_id = exchange_id
        self._connect = connect
        self._instruments = instruments
        self._pace = pace
        self._ears: list[_Ear] = []

    @property
    def name(self) -> str:
        return source_of(Metric.LARGE_TRADE_IMBALANCE, self._exchange_id)

    async def poll(self) -> Answer:
        watched = self._instruments()
        heard = {one for ear in self._ears for one in ear.instruments}
        new = [one for one in watched if one not in heard]
        if new:
            self._ears.append(_Ear(self._connect(), new, self._pace))
        told = [one for ear in self._ears for one in ear.told() if one.instrument in watched]
        lost = [ear.lost for ear in self._ears if ear.lost]
        if lost and not told:
            raise SourceUnavailableError(f"{self.name}: {lost[0]}")
        return Answer(measurements=tuple(told))

    async def close(self) -> None:
        for ear in self._ears:
            await ear.close()


class _Ear:
    """One connection, which listens from now on."""

    def __init__(
        self, exchange: TradedExchange, instruments: Sequence[Instrument], pace: Pace
    ) -> None:
        self.instruments = tuple(instruments)
        self.lost = ""  # why the connection is not whole
        self._exchange = exchange
        self._pace = pace
        self._backoff = Backoff(pace.random)
        self._large: dict[Instrument, LargeTrades] = defaultdict(LargeTrades)
        self._whole_ms: int | None = None  # since when all trades were heard
        self._newest_ms = 0
        self._listening = asyncio.create_task(self._listen())

    def told(self) -> list[Measurement]:
        """Of the hour before the newest whole minute, where all of it was heard."""
        if self._listening.done():
            self._listening.result()
        end_ms = floor_ms(self._newest_ms, Timeframe.M1)
        if self.lost or self._whole_ms is None or self._whole_ms > end_ms - SPAN_MS:
            return []
        known_ms = max(to_ms(self._pace.clock.now()), end_ms)
        shares = ((one, self._large[one].share(end_ms)) for one in self.instruments)
        return [
            Measurement(
                instrument=one,
                metric=Metric.LARGE_TRADE_IMBALANCE,
                event_ms=end_ms,
                known_ms=known_ms,
                value=share,
            )
            for one, share in shares
            if math.isfinite(share)
        ]

    async def close(self) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await self._exchange.close()

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except AlphaPulseError as error:
                self.lost = str(error)
                log.warning("trades are not heard", extra={"reason": self.lost})
            await self._pace.wall.sleep(self._backoff.next())

    async def _hear(self) -> None:
        """One connection.

        Raises:
            ExchangeUnavailableError: it is lost, or trades were left out.
        """
        self._whole_ms = None
        for large in self._large.values():
            large.restart()
        numberings: dict[Instrument, Numbering] = defaultdict(Numbering)
        watching = self._exchange.watch_trades(self.instruments)
        async with aclosing(cast(AsyncGenerator[Trade, None], watching)) as told:
            async for trade in told:
                if trade.time_ms > to_ms(self._pace.clock.now()) + APART_MS * self._pace.speed:
                    raise ExchangeUnavailableError(
                        f"a trade of {trade.instrument} is far ahead of the clock"
                    )
                if numberings[trade.instrument].follow(trade) is not None:
                    raise ExchangeUnavailableError(f"trades of {trade.instrument} did not come")
                self._take(trade)
        raise ExchangeUnavailableError("the stream has ended")

    def _take(self, trade: Trade) -> None:
        if self._whole_ms is None:
            self._whole_ms, self.lost = ceil_ms(trade.time_ms, Timeframe.M1), ""
            self._backoff.reset()
        self._large[trade.instrument].add(trade)
        self._newest_ms = max(self._newest_ms, trade.time_ms)
