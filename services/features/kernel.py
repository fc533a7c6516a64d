"""The one definition of the features: kernels over columnar state, the same live and in history.

`python -m services.features.kernel` compiles and caches them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from domain.events import Floats, Ints
from services.features import cross_section, grid, recursive, time_of_week, windows
from services.features.compiled import Records
from services.features.feature_set import OHLCV, ROW

FIRST_CAPACITY = 16
FEATURES = len(OHLCV.columns)
ROWS_AT_ONCE = 1024  # half a megabyte of rows: the kernels meet them in the cache


class Ticks(NamedTuple):
    """Candles of one or many ticks, oldest first; column i belongs to slot `slots[i]`."""

    as_of_ms: Ints  # (T,) increasing
    timeframe_ms: int
    slots: Ints  # (n,)
    candles: Floats  # (T, n, 5) open, high, low, close, volume; all NaN where there is none

    @property
    def numbers(self) -> Ints:
        """The ticks counted from 1970, (T,)."""
        numbers: Ints = self.as_of_ms // self.timeframe_ms
        return numbers


class Fault(NamedTuple):
    """Why candles cannot be taken: one of the kinds of `grid`, at one of them."""

    kind: int
    tick: int  # position in the ticks
    column: int  # position in the slots


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelState:
    """What the kernels remember: one record per instrument (slot), and the market's."""

    series: Records  # (capacity,) of grid.SERIES
    windows: Records  # (capacity,) of windows.WINDOWS
    recursive: Records  # (capacity,) of recursive.RECURSIVE
    moments: Records  # (capacity,) of cross_section.MOMENTS
    market: Records  # (MARKET_TICKS,) of cross_section.MARKET
    sections: Floats  # (SECTION_TICKS, RANKED, HEAD + capacity)

    @classmethod
    def empty(cls, capacity: int = FIRST_CAPACITY) -> KernelState:
        market = np.zeros(cross_section.MARKET_TICKS, cross_section.MARKET)
        market["tick"] = -1
        width = cross_section.HEAD + capacity
        sections = np.zeros((cross_section.SECTION_TICKS, cross_section.RANKED, width))
        sections[:, :, 0] = -1
        return cls(
            series=np.zeros(capacity, grid.SERIES),
            windows=np.zeros(capacity, windows.WINDOWS),
            recursive=np.zeros(capacity, recursive.RECURSIVE),
            moments=np.zeros(capacity, cross_section.MOMENTS),
            market=market,
            sections=sections,
        )

    @property
    def capacity(self) -> int:
        return len(self.series)

    @property
    def layout(self) -> tuple[object, ...]:
        """What two states must have in common for one to take the other's place."""
        records = (self.series, self.windows, self.recursive, self.moments, self.market)
        return (*(array.dtype for array in records), len(self.market), self.sections.shape[:2])

    def resized(self, capacity: int) -> KernelState:
        """A copy with room for `capacity` instruments; the first ones keep their state."""
        kept = min(capacity, self.capacity)
        grown = KernelState.empty(capacity)
        for name in ("series", "windows", "recursive", "moments"):
            getattr(grown, name)[:kept] = getattr(self, name)[:kept]
        width = cross_section.HEAD + kept
        grown.sections[:, :, :width] = self.sections[:, :, :width]
        return replace(grown, market=self.market.copy())


def find_fault(state: KernelState, ticks: Ticks) -> Fault | None:
    """The first candle that `advance` could not take, if any; changes nothing."""
    kind, tick, column = grid.first_fault(ticks.candles, ticks.numbers, ticks.slots, state.series)
    return None if kind == grid.SOUND else Fault(kind, tick, column)


def advance(state: KernelState, ticks: Ticks, *, late: bool) -> tuple[Floats, Floats]:
    """Step `state` over sound `ticks`.

    Args:
        state: changed in place; its capacity is above every slot.
        ticks: of one exchange and timeframe, without fault.
        late: compare with the cross-sections as they were drawn, instead of drawing them.

    Returns:
        Values (T, n, columns of OHLCV), all NaN where there is no candle, and coverage (T, n).
    """
    shape = ticks.candles.shape[:2]
    values, coverage = np.empty((*shape, FEATURES)), np.empty(shape)
    length = max(1, ROWS_AT_ONCE // max(1, shape[1]))
    for first in range(0, shape[0], length):
        part = slice(first, first + length)
        some = ticks._replace(as_of_ms=ticks.as_of_ms[part], candles=ticks.candles[part])
        _fill(state, some, values[part], coverage[part], late=late)
    return values, coverage


def _fill(
    state: KernelState, ticks: Ticks, values: Floats, coverage: Floats, *, late: bool
) -> None:
    values.fill(np.nan)
    rows = values.view(ROW)[..., 0]
    presence = np.empty(coverage.shape, dtype=np.int64)
    numbers, slots, candles = ticks.numbers, ticks.slots, ticks.candles
    grid.place(candles, numbers, slots, state.series, presence, coverage)
    windows.roll(candles, presence, slots, state.windows, rows)
    recursive.recurse(candles, presence, slots, state.recursive, rows)
    time_of_week.date(ticks.as_of_ms, presence, rows)
    across = cross_section.compare if late else cross_section.draw_and_compare
    across(rows, numbers, slots, state.moments, state.market, state.sections)


if __name__ == "__main__":
    print(f"{OHLCV.id}: {FEATURES} columns compiled")  # noqa: T201
