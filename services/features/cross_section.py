"""The columns that compare instruments: drawn once per tick, kept for those that come late.

The market's return is kept for the last MARKET_TICKS, so that an instrument added with its
history has a beta at once; whole cross-sections, for ranks, for the last SECTION_TICKS.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import types

from domain.events import Floats, Ints
from services.features.compiled import FLOAT_3D, INT_1D, Records, kernel, part, records
from services.features.feature_set import ROW

MARKET_TICKS: Final = 256
SECTION_TICKS: Final = 8
RANKED: Final = 3  # log_return_1, log_return_24, realized_volatility_24
HEAD: Final = 2  # before a section's sorted values: its tick and their count
DECAY: Final = 0.98  # 1 - alpha of the moments behind beta and correlation
PAIRS: Final = 50  # returns seen before they are known

MOMENTS: Final = np.dtype(
    [("count", np.int64), ("cross", np.float64), ("own", np.float64), ("market", np.float64)]
)
MARKET: Final = np.dtype([("tick", np.int64), ("log_return", np.float64)])
ARGUMENTS = (
    records(ROW, 2),
    INT_1D,
    INT_1D,
    records(MOMENTS, 1),
    records(MARKET, 1),
    FLOAT_3D,
)


@part
def _draw(rows: Records, tick: int, market: Records, sections: Floats) -> None:
    """Sort what is ranked among the present `rows` (n,) and take the market's return."""
    section = sections[tick % SECTION_TICKS]
    counts = np.zeros(RANKED, dtype=np.int64)
    for i in range(rows.shape[0]):
        row = rows[i]
        values = (row["log_return_1"], row["log_return_24"], row["realized_volatility_24"])
        for j in range(RANKED):
            if not np.isnan(values[j]):
                section[j, HEAD + counts[j]] = values[j]
                counts[j] += 1
    for j in range(RANKED):
        section[j, 0], section[j, 1] = tick, counts[j]
        section[j, HEAD : HEAD + counts[j]].sort()
    # Summed in sorted order: the order of the instruments does not matter.
    total = 0.0
    for k in range(counts[0]):
        total += section[0, HEAD + k]
    drawn = market[tick % MARKET_TICKS]
    drawn["tick"] = tick
    drawn["log_return"] = total / counts[0] if counts[0] > 0 else np.nan


@part
def _count_below(members: Floats, value: float) -> int:
    """How many of the sorted `members` are below `value`: halving without a branch."""
    low, size = 0, members.shape[0]
    while size > 1:
        half = size // 2
        low += half * (members[low + half - 1] < value)
        size -= half
    return int(low + (members[low] < value))


@part
def _rank(value: float, section: Floats, tick: int) -> float:
    """Share of the members below `value`, ties by half; NaN without value or members."""
    count = int(section[1])
    if np.isnan(value) or section[0] != tick or count == 0:
        return np.nan
    members = section[HEAD : HEAD + count]
    below = _count_below(members, value)
    above = below
    while above < count and members[above] == value:
        above += 1
    return (below + 0.5 * (above - below)) / count


@part
def _relate(row: np.void, state: np.void, market_return: float) -> None:
    """Beta and correlation of one instrument to the market."""
    own = row["log_return_1"]
    if np.isnan(own):  # the first candle of a series, or of one that restarts
        state["count"] = 0
        state["cross"] = state["own"] = state["market"] = 0.0
        return
    if not np.isnan(market_return):
        state["count"] += 1
        state["cross"] = DECAY * state["cross"] + own * market_return
        state["own"] = DECAY * state["own"] + own * own
        state["market"] = DECAY * state["market"] + market_return * market_return
    if state["count"] >= PAIRS and state["market"] > 0.0:
        row["market_beta"] = state["cross"] / state["market"]
        spread = math.sqrt(state["own"]) * math.sqrt(state["market"])
        if spread > 0.0:
            row["market_correlation"] = state["cross"] / spread


@part
def _compare(
    rows: Records, tick: int, slots: Ints, states: Records, market: Records, sections: Floats
) -> None:
    section = sections[tick % SECTION_TICKS]
    drawn = market[tick % MARKET_TICKS]
    market_return = drawn["log_return"] if drawn["tick"] == tick else np.nan
    for i in range(slots.shape[0]):
        row = rows[i]
        if np.isnan(row["close"]):
            continue
        row["market_return_1"] = market_return
        row["return_rank_1"] = _rank(row["log_return_1"], section[0], tick)
        row["return_rank_24"] = _rank(row["log_return_24"], section[1], tick)
        row["volatility_rank"] = _rank(row["realized_volatility_24"], section[2], tick)
        _relate(row, states[slots[i]], market_return)


@kernel(types.void, *ARGUMENTS)
def draw_and_compare(
    rows: Records, ticks: Ints, slots: Ints, states: Records, market: Records, sections: Floats
) -> None:
    """Draw each tick's cross-section from its `rows`, then fill their columns from it.

    Args:
        rows: (T, n) of ROW, after the kernels of each instrument alone.
        ticks: (T,) close time / timeframe.
        slots: (n,) positions in `states`.
        states: (capacity,) of MOMENTS.
        market: (MARKET_TICKS,) of MARKET, at tick % MARKET_TICKS.
        sections: (SECTION_TICKS, RANKED, HEAD + capacity), at tick % SECTION_TICKS.
    """
    for t in range(ticks.shape[0]):
        _draw(rows[t], ticks[t], market, sections)
        _compare(rows[t], ticks[t], slots, states, market, sections)


@kernel(types.void, *ARGUMENTS)
def compare(
    rows: Records, ticks: Ints, slots: Ints, states: Records, market: Records, sections: Floats
) -> None:
    """Fill the columns of late `rows` from the cross-sections as they were drawn.

    Where a tick's section is no longer kept, or never was drawn, its columns are NaN.
    """
    for t in range(ticks.shape[0]):
        _compare(rows[t], ticks[t], slots, states, market, sections)
