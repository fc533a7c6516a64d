"""The exchange's own account of what it sent."""

from __future__ import annotations

from collections import Counter
from typing import Any

from domain.market import Timeframe

KEPT = 20_000  # candles per series; a demo at a candle a second reaches it after five hours


class Sent:
    """Closed candles by series, each with how many closed frames went out for it."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._closed: dict[tuple[str, Timeframe], dict[int, int]] = {}

    def candle(self, symbol: str, timeframe: Timeframe, open_ms: int, frames: int) -> None:
        """A candle closed and `frames` frames told of it."""
        series = self._closed.setdefault((symbol, timeframe), {})
        series[open_ms] = series.get(open_ms, 0) + frames
        self.counts["closed"] += frames
        if len(series) > KEPT:
            del series[next(iter(series))]

    def rows(self, symbol: str | None, timeframe: str | None) -> list[dict[str, Any]]:
        return [
            {"symbol": name, "timeframe": frame, "open_time": open_ms, "frames": frames}
            for (name, frame), series in sorted(self._closed.items())
            if symbol in {None, name} and timeframe in {None, frame}
            for open_ms, frames in series.items()
        ]
