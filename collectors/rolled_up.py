"""An exchange of which some timeframes are rolled up instead of being streamed."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Final, cast

from collectors.gaps import ceil_ms
from collectors.rollups import Rolling, all_rolled_up, child_of
from collectors.versions import prices
from domain.events import Candle
from domain.market import Instrument, Listing, SeriesKey, Timeframe, from_ms, to_ms
from domain.ports import Exchange

log = logging.getLogger(__name__)

ALIKE: Final = 1e-9  # of volumes: some exchanges tell sums of floats
REMEMBERED: Final = 4  # rolled-up candles of a series that wait for the exchange's own


class RolledUp:
    """An `Exchange` that rolls candles of longer timeframes up as their last child closes.

    REST has the last word: the exchange's own candles where it offers that timeframe, else its
    candles of the shorter one. What differs from what was rolled up is said; both versions are
    kept, and the exchange's counts.

    Args:
        exchange: Whose candles are rolled up.
        timeframes: Which are.
        watched: All that are watched; children are the longest that are not rolled up.
        offered: Which the exchange has of its own.

    Raises:
        UsageError: no shorter timeframe is watched.
    """

    def __init__(
        self,
        exchange: Exchange,
        timeframes: Iterable[Timeframe],
        *,
        watched: Iterable[Timeframe],
        offered: Iterable[Timeframe],
    ) -> None:
        rolled = set(timeframes)
        told = [one for one in watched if one not in rolled]
        self._exchange = exchange
        self._child = {one: child_of(one, told) for one in rolled}
        self._offered = set(offered)
        self._made: dict[SeriesKey, dict[int, Candle]] = {}

    @property
    def id(self) -> str:
        return self._exchange.id

    def streams(self, timeframe: Timeframe) -> bool:
        return self._exchange.streams(self._child.get(timeframe, timeframe))

    def flags_closes(self, timeframe: Timeframe) -> bool:
        return self._exchange.flags_closes(self._child.get(timeframe, timeframe))

    async def listings(self, symbols: Sequence[str]) -> list[Listing]:
        return await self._exchange.listings(symbols)

    async def fetch_time(self) -> datetime:
        return await self._exchange.fetch_time()

    async def close(self) -> None:
        await self._exchange.close()

    async def fetch_candles(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> list[Candle]:
        child = self._child.get(timeframe)
        if child is None or timeframe in self._offered:
            told = await self._exchange.fetch_candles(
                instrument, timeframe, since=since, until=until
            )
            if child is not None:
                self._compare(told)
            return told
        span = (ceil_ms(to_ms(moment), timeframe) for moment in (since, until))
        first, last = map(from_ms, span)
        children = await self._exchange.fetch_candles(instrument, child, since=first, until=last)
        return all_rolled_up(children, timeframe)

    async def watch_candles(
        self, instruments: Sequence[Instrument], timeframes: Sequence[Timeframe]
    ) -> AsyncGenerator[Candle, None]:
        """As the port has it; rolled-up candles come closed, never forming."""
        streamed = [one for one in timeframes if one not in self._child]
        parents = [one for one in timeframes if one in self._child]
        rolling: dict[SeriesKey, list[Rolling]] = {}
        for parent in parents:
            for one in instruments:
                rolling.setdefault((one, self._child[parent]), []).append(
                    Rolling(parent, flagged=self.flags_closes(parent))
                )
        watching = self._exchange.watch_candles(instruments, streamed)
        async with aclosing(cast(AsyncGenerator[Candle, None], watching)) as told:
            async for candle in told:
                yield candle
                for each in rolling.get((candle.instrument, candle.timeframe), ()):
                    for made in each.add(candle):
                        self._remember(made)
                        yield made

    def _remember(self, made: Candle) -> None:
        series = self._made.setdefault((made.instrument, made.timeframe), {})
        series[made.open_ms] = made
        if len(series) > REMEMBERED:
            del series[min(series)]

    def _compare(self, told: Sequence[Candle]) -> None:
        """Say once what the exchange tells otherwise."""
        for candle in told:
            made = self._made.get((candle.instrument, candle.timeframe), {})
            ours = made.pop(candle.open_ms, None)
            if ours is not None and not _alike(ours, candle):
                log.warning(
                    "%s tells another %s candle than its shorter ones make",
                    candle.instrument,
                    candle.timeframe,
                    extra={
                        "open_ms": candle.open_ms,
                        "told": (*prices(candle), candle.volume),
                        "rolled_up": (*prices(ours), ours.volume),
                    },
                )


def _alike(one: Candle, other: Candle) -> bool:
    return prices(one) == prices(other) and math.isclose(one.volume, other.volume, rel_tol=ALIKE)
