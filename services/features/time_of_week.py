"""The columns of the time itself: where `as_of` stands in the day and in the week, UTC."""

from __future__ import annotations

import math
from typing import Final

from numba import types

from domain.events import Ints
from services.features.compiled import INT_1D, INT_2D, Records, kernel, records
from services.features.feature_set import ROW

ABSENT: Final = 0  # as grid.place writes it
DAY_MS: Final = 86_400_000
EPOCH_WEEKDAY: Final = 3  # 1970-01-01 was a Thursday; Monday is 0


@kernel(types.void, INT_1D, INT_2D, records(ROW, 2))
def date(as_of_ms: Ints, presence: Ints, rows: Records) -> None:
    """Fill the calendar columns of `rows` (T, n) where a candle is present."""
    for t in range(as_of_ms.shape[0]):
        day = 2.0 * math.pi * (as_of_ms[t] % DAY_MS) / DAY_MS
        since_monday = (as_of_ms[t] + EPOCH_WEEKDAY * DAY_MS) % (7 * DAY_MS)
        week = 2.0 * math.pi * since_monday / (7 * DAY_MS)
        day_sin, day_cos = math.sin(day), math.cos(day)
        week_sin, week_cos = math.sin(week), math.cos(week)
        for i in range(presence.shape[1]):
            if presence[t, i] != ABSENT:
                rows[t, i]["time_of_day_sin"] = day_sin
                rows[t, i]["time_of_day_cos"] = day_cos
                rows[t, i]["day_of_week_sin"] = week_sin
                rows[t, i]["day_of_week_cos"] = week_cos
