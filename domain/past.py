"""The candles before rows, of the same instruments: what a sequence is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_CLOSES = 1 << 40  # of an instrument, at most


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Past:
    """Feature rows of earlier closes, each once, and where those before each of n rows stand."""

    columns: tuple[str, ...]
    rows: NDArray[np.float64]  # (r, len(columns))
    places: NDArray[np.int64]  # (n, candles before), the oldest first; −1: there is no such row
    candle_ms: int

    @classmethod
    def behind(  # noqa: PLR0913 - two tables and their keys
        cls,
        owners: NDArray[np.int64],
        as_of_ms: NDArray[np.int64],
        *,
        columns: tuple[str, ...],
        rows: NDArray[np.float64],
        of: NDArray[np.int64],
        closes_ms: NDArray[np.int64],
        candles: int,
        candle_ms: int,
    ) -> Past:
        """The one place where it is decided which rows a sequence has: those of its closes.

        A candle that is missing leaves a hole; nothing older moves up into it.

        Args:
            owners: (n,) numbers of the instruments whose past is wanted.
            as_of_ms: (n,) of which closes.
            columns: of `rows`.
            rows: (r, columns) that are known, of any instruments and closes.
            of: (r,) the numbers of their instruments.
            closes_ms: (r,) their closes; one row of an instrument and close.
            candles: how many before each.
            candle_ms: length of a candle; closes are multiples of it.
        """
        back = np.arange(candles, 0, -1, dtype=np.int64)
        wanted = owners[:, None] * _CLOSES + as_of_ms[:, None] // candle_ms - back
        known = of * _CLOSES + closes_ms // candle_ms
        order = np.argsort(known)
        ordered = np.append(known[order], -1)  # where what is beyond the last one is looked up
        found = np.searchsorted(ordered[:-1], wanted)
        places = np.where(ordered[found] == wanted, np.append(order, -1)[found], -1)
        return cls(columns=columns, rows=rows, places=places, candle_ms=candle_ms)

    @property
    def reach_ms(self) -> int:
        """How far back it goes."""
        return int(self.places.shape[1]) * self.candle_ms

    def take(self, positions: NDArray[np.int64]) -> Past:
        """That of the rows at `positions`."""
        return replace(self, places=self.places[positions])
