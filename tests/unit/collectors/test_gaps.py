"""Which candles are missing."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from collectors.gaps import Range, count, missing_ranges, pages
from domain.market import Timeframe

M1 = Timeframe.M1


def opens(spans: list[Range]) -> list[int]:
    return [ms for span in spans for ms in range(span.from_ms, span.to_ms, M1.ms)]


@given(st.integers(0, 300), st.integers(1, 60), st.sets(st.integers(0, 59)))
def test_the_ranges_are_exactly_the_rows_that_were_deleted(
    first: int, length: int, deleted: set[int]
) -> None:
    grid = [(first + n) * M1.ms for n in range(length)]
    gone = {grid[n] for n in deleted if n < length}

    spans = missing_ranges(set(grid) - gone, M1, since_ms=grid[0], until_ms=grid[-1] + M1.ms)

    assert opens(spans) == sorted(gone)
    assert all(one.to_ms < other.from_ms for one, other in pairwise(spans))


@given(st.integers(0, 10_000_000), st.integers(0, 10_000_000))
def test_an_empty_store_lacks_every_open_time_of_the_half_open_range(
    since_ms: int, until_ms: int
) -> None:
    spans = missing_ranges([], M1, since_ms=since_ms, until_ms=until_ms)

    assert opens(spans) == [ms for ms in range(0, 10_000_000, M1.ms) if since_ms <= ms < until_ms]


def test_rows_off_the_grid_fill_nothing() -> None:
    spans = missing_ranges([30_000], M1, since_ms=0, until_ms=120_000)

    assert spans == [Range(0, 120_000)]


@given(st.integers(0, 50), st.integers(1, 7))
def test_pages_hold_every_candle_once_and_no_more_than_their_size(length: int, size: int) -> None:
    span = Range(0, length * M1.ms)

    cut = pages(span, M1, size=size)

    assert opens(cut) == opens([span])
    assert all(count(page, M1) <= size for page in cut)
