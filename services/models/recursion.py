"""Estimating on the past as it grows: exact sums, and when to estimate anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from domain.events import Floats, Ints

FIRST_ROWS = 500  # fewer say too little of five coefficients
MONTH_MS = 30 * 86_400_000


def added(total: Floats, rows: Floats) -> Floats:
    """`total` plus each of `rows` in turn, shape of `total`.

    Added one by one, so that cutting the rows into batches elsewhere changes no bit.
    """
    result: Floats = np.add.accumulate(np.concatenate((total[None], rows)), axis=0)[-1]
    return result


@dataclass(slots=True)
class RefitSchedule:
    """Estimate at 500 rows, then when they have doubled or 30 days of candle time passed."""

    rows: int = 0
    fitted_rows: int = 0
    fitted_ms: int = 0

    def spans(self, known_ms: Ints) -> Iterator[tuple[slice, bool]]:
        """Cut new rows into spans; after one that comes with True an estimate is due."""
        start = 0
        while start < len(known_ms):
            last = self._last_before_refit(known_ms[start:]) + start
            due = last < len(known_ms)
            span = slice(start, last + 1 if due else len(known_ms))
            self.rows += span.stop - start
            if due:
                self.fitted_rows, self.fitted_ms = self.rows, int(known_ms[last])
            yield span, due
            start = span.stop

    def _last_before_refit(self, known_ms: Ints) -> int:
        if not self.fitted_rows:
            return FIRST_ROWS - self.rows - 1
        by_rows = 2 * self.fitted_rows - self.rows - 1
        month_over = known_ms >= self.fitted_ms + MONTH_MS
        by_time = int(np.argmax(month_over)) if month_over.any() else len(known_ms)
        return min(by_rows, by_time)

    def state(self) -> dict[str, int]:
        return asdict(self)
