"""Which rows stand before which: those of the closes just before, of the same instrument."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from domain.events import Floats, Ints
from domain.past import Past

STEP = 3_600_000
FIRST = 400_000  # the number of a close
COLUMNS = ("one",)

Known = dict[tuple[int, int], float]  # instrument and close → value


def behind(wanted: list[tuple[int, int]], known: Known, candles: int) -> Past:
    keys = np.array([*known], dtype=np.int64).reshape(-1, 2)
    asked = np.array(wanted, dtype=np.int64).reshape(-1, 2)
    return Past.behind(
        asked[:, 0],
        asked[:, 1] * STEP,
        columns=COLUMNS,
        rows=np.array([*known.values()], dtype=np.float64).reshape(-1, 1),
        of=keys[:, 0],
        closes_ms=keys[:, 1] * STEP,
        candles=candles,
        candle_ms=STEP,
    )


def values(past: Past) -> Floats:
    """Shape (n, candles); NaN where there is no row."""
    rows = np.append(past.rows[:, 0], np.nan)
    return rows[past.places]


places: st.SearchStrategy[tuple[int, int]] = st.tuples(
    st.integers(0, 3), st.integers(FIRST, FIRST + 12)
)


@given(
    known=st.dictionaries(places, st.floats(-9, 9), max_size=40),
    wanted=st.lists(places, max_size=6),
    candles=st.integers(0, 7),
)
def test_each_place_holds_the_row_of_its_close_or_none(
    known: Known, wanted: list[tuple[int, int]], candles: int
) -> None:
    right = [
        [known.get((owner, close - back), np.nan) for back in range(candles, 0, -1)]
        for owner, close in wanted
    ]

    found = values(behind(wanted, known, candles))

    assert found.shape == (len(wanted), candles)
    assert np.array_equal(found, np.reshape(right, (len(wanted), candles)), equal_nan=True)


@given(
    known=st.dictionaries(places, st.floats(-9, 9), max_size=40),
    later=st.dictionaries(places, st.floats(-9, 9), max_size=40),
    wanted=places,
)
def test_nothing_of_its_close_or_later_is_in_it(
    known: Known, later: Known, wanted: tuple[int, int]
) -> None:
    """Removed, altered or invented: what came from its close on changes nothing."""
    _, close = wanted
    before = {key: one for key, one in known.items() if key[1] < close}
    shocked = before | {key: one for key, one in later.items() if key[1] >= close}

    found = [values(behind([wanted], rows, 5)) for rows in (known, before, shocked)]

    assert np.array_equal(found[0], found[1], equal_nan=True)
    assert np.array_equal(found[0], found[2], equal_nan=True)


def test_it_says_how_far_it_reaches_and_goes_with_its_rows() -> None:
    known = {(0, FIRST + close): float(close) for close in range(9)}
    past = behind([(0, FIRST + 4), (0, FIRST + 7)], known, 3)

    chosen: Ints = np.array([1], dtype=np.int64)

    assert past.reach_ms == 3 * STEP
    assert values(past.take(chosen)).tolist() == [[4.0, 5.0, 6.0]]
