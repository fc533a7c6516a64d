"""What collectors ask of the candles that are stored already."""

from __future__ import annotations

from datetime import UTC, datetime

from backend.store.history import History
from domain.events import Candle, Source
from domain.market import EPOCH, Instrument, Timeframe

_END = datetime.max.replace(tzinfo=UTC)


class CollectedCandles:
    """The port `StoredCandles` of the collectors, over the record."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def open_times(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> list[int]:
        (series,) = await self._history.candles([instrument], timeframe, since=since, until=until)
        return list(series.open_ms.tolist())

    async def newest(
        self, instrument: Instrument, timeframe: Timeframe, *, count: int
    ) -> list[Candle]:
        """The last `count` candles; what their exchange said of them beside prices is left out.

        Whatever it says of them from now on outranks them, until the record has compared it
        with all that was said.
        """
        (series,) = await self._history.candles(
            [instrument], timeframe, since=EPOCH, until=_END, limit=count
        )
        columns = (series.open, series.high, series.low, series.close, series.volume)
        return [
            Candle(
                instrument=instrument,
                timeframe=timeframe,
                open_ms=open_ms,
                open=opened,
                high=high,
                low=low,
                close=close,
                volume=volume,
                source=Source.BACKFILL,
            )
            for open_ms, opened, high, low, close, volume in zip(
                series.open_ms.tolist(), *(column.tolist() for column in columns), strict=True
            )
        ]
