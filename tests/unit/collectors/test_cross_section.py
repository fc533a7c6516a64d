"""Candles become ticks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collectors.cross_section import CrossSection
from domain.events import Candle, CandleBatch, Source
from domain.market import Instrument, Timeframe, to_ms
from tests.doubles import START
from tests.factories import candle

H1 = Timeframe.H1
NAMES = tuple(Instrument("simulated", f"{letter}/USDT") for letter in "ABCDE")
A, B, C, *_ = NAMES
MS = timedelta(milliseconds=1)


def cross_section(deadline: timedelta | None = 250 * MS) -> CrossSection:
    return CrossSection(exchange="simulated", timeframe=H1, instruments=NAMES, deadline=deadline)


def closing(instrument: Instrument, tick: int = 0, **changes: Any) -> Candle:
    return candle(instrument=instrument, open_ms=to_ms(START) + tick * H1.ms, **changes)


def rows(batches: list[CandleBatch]) -> list[tuple[Instrument, int]]:
    return [(name, to_ms(one.as_of)) for one in batches for name in one.instruments]


def live_ticks(ticks: CrossSection, members: tuple[Instrument, ...], n: int) -> None:
    """`n` ticks in which just `members` are in time."""
    for tick in range(n):
        now = START + (tick + 1) * H1.duration
        for name in members:
            ticks.add(closing(name, tick), arrived=now)
        ticks.due(now + 250 * MS)


@given(st.permutations(NAMES), st.lists(st.integers(0, 249), min_size=5, max_size=5))
def test_any_order_of_arrival_within_the_deadline_gives_the_same_batch(
    order: list[Instrument], delays: list[int]
) -> None:
    ticks = cross_section()
    delays = sorted(delay - min(delays) for delay in delays)

    batches = []
    for name, delay in zip(order, delays, strict=True):
        volume = 1.0 + NAMES.index(name)
        batches += ticks.add(closing(name, volume=volume), arrived=START + delay * MS)

    (batch,) = batches
    assert batch.instruments == NAMES
    assert batch.volume.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert batch.revision.tolist() == [1] * 5
    assert not batch.late
    assert batch.known_at == START + delays[-1] * MS


@given(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.integers(0, 5), st.integers(0, 200), st.booleans()),
        max_size=60,
    )
)
def test_nothing_is_lost_and_nothing_comes_twice(
    arrivals: list[tuple[Instrument, int, int, bool]],
) -> None:
    ticks = cross_section()
    now = START
    batches = []
    for name, tick, delay, live in arrivals:
        now += delay * MS
        source = Source.LIVE if live else Source.REPAIR
        batches += ticks.due(now) + ticks.add(closing(name, tick, source=source), arrived=now)
    batches += ticks.flush(now)

    sent = {(name, to_ms(START) + (tick + 1) * H1.ms) for name, tick, *_ in arrivals}
    assert Counter(rows(batches)) == Counter(sent)
    on_time = [batch.as_of for batch in batches if not batch.late]
    assert on_time == sorted(set(on_time))


def test_a_tick_does_not_overtake_the_one_before_it() -> None:
    ticks = cross_section()

    batches = ticks.add(closing(A, 0), arrived=START)
    for name in NAMES:
        batches += ticks.add(closing(name, 1), arrived=START + 100 * MS)
    assert batches == []
    assert ticks.next_deadline() == START + 250 * MS

    batches = ticks.due(START + 250 * MS)

    assert [len(batch) for batch in batches] == [1, 5]
    assert batches[0].as_of < batches[1].as_of
    assert ticks.next_deadline() is None


def test_an_instrument_that_was_missing_in_one_of_three_ticks_is_not_waited_for() -> None:
    ticks = cross_section()
    live_ticks(ticks, NAMES[1:], 3)
    now = START + 4 * H1.duration

    batches = [batch for name in NAMES[1:] for batch in ticks.add(closing(name, 3), arrived=now)]

    assert rows(batches) == [(name, to_ms(now)) for name in NAMES[1:]]


def test_an_instrument_is_waited_for_again_once_it_was_in_time_three_times() -> None:
    ticks = cross_section()
    live_ticks(ticks, NAMES[1:], 3)
    assert A not in ticks.expected

    for tick in range(3, 6):
        now = START + (tick + 1) * H1.duration
        for name in reversed(NAMES):  # A comes last, after the batch was drawn, yet in time
            ticks.add(closing(name, tick), arrived=now)

    assert A in ticks.expected


def test_an_instrument_beyond_the_deadline_is_not_in_time() -> None:
    ticks = cross_section()
    live_ticks(ticks, NAMES[1:], 3)

    for tick in range(3, 7):
        now = START + (tick + 1) * H1.duration
        for name in NAMES[1:]:
            ticks.add(closing(name, tick), arrived=now)
        ticks.add(closing(A, tick), arrived=now + 250 * MS)

    assert A not in ticks.expected


def test_repairs_of_some_instruments_do_not_narrow_what_is_waited_for() -> None:
    ticks = cross_section()

    for tick in range(4):
        ticks.add(closing(A, tick, source=Source.REPAIR), arrived=START)
    ticks.due(START + 250 * MS)

    assert ticks.expected == frozenset(NAMES)


def test_where_nobody_was_in_time_three_times_all_are_waited_for() -> None:
    ticks = cross_section()
    for tick, name in enumerate((A, B, C)):
        now = START + (tick + 1) * H1.duration
        ticks.add(closing(name, tick), arrived=now)
        ticks.due(now + 250 * MS)

    assert ticks.expected == frozenset(NAMES)


def test_a_candle_after_its_batch_comes_as_a_late_one() -> None:
    ticks = cross_section()
    for name in NAMES[1:]:
        ticks.add(closing(name), arrived=START)
    ticks.due(START + 250 * MS)

    (batch,) = ticks.add(closing(A), arrived=START + 300 * MS)

    assert batch.late
    assert batch.instruments == (A,)
    assert batch.revision.tolist() == [1]


def test_an_older_tick_than_the_last_is_late_and_shapes_no_expectation() -> None:
    ticks = cross_section()
    live_ticks(ticks, (), 0)
    for name in NAMES:
        ticks.add(closing(name, 5), arrived=START)

    batches = [batch for tick in range(4) for batch in ticks.add(closing(A, tick), arrived=START)]

    assert [batch.late for batch in batches] == [True] * 4
    assert ticks.expected == frozenset(NAMES)


def test_a_version_that_outranks_an_emitted_one_is_a_revision() -> None:
    ticks = cross_section()
    for name in NAMES:
        ticks.add(closing(name), arrived=START)

    (batch,) = ticks.add(closing(B, event_ms=5, close=100.5), arrived=START + 10 * MS)

    assert batch.late
    assert batch.revision.tolist() == [2]
    np.testing.assert_array_equal(batch.close, [100.5])


def test_a_confirmation_that_changes_nothing_is_no_event() -> None:
    ticks = cross_section()
    for name in NAMES:
        ticks.add(closing(name), arrived=START)

    assert ticks.add(closing(B, confirmed=True), arrived=START) == []
    assert ticks.add(closing(B, event_ms=99, close=100.5), arrived=START) == []


def test_a_better_version_before_the_batch_takes_the_place_of_the_first() -> None:
    ticks = cross_section()
    ticks.add(closing(A), arrived=START)
    ticks.add(closing(A, event_ms=5, close=100.5), arrived=START)

    batches = [batch for name in NAMES[1:] for batch in ticks.add(closing(name), arrived=START)]

    assert [batch.revision.tolist() for batch in batches] == [[1] * 5]
    assert batches[0].close[0] == 100.5


def test_without_a_deadline_a_tick_waits_for_all_or_for_the_flush() -> None:
    ticks = cross_section(deadline=None)
    ticks.add(closing(A), arrived=START)

    assert ticks.due(START + timedelta(days=9)) == []
    assert ticks.next_deadline() is None
    assert rows(ticks.flush(START)) == [(A, to_ms(START + H1.duration))]


def test_a_removed_instrument_is_no_longer_waited_for() -> None:
    ticks = cross_section()
    for name in NAMES[:-1]:
        ticks.add(closing(name), arrived=START)

    ticks.watch(NAMES[:-1])

    assert rows(ticks.due(START)) == [(name, to_ms(START + H1.duration)) for name in NAMES[:-1]]


def test_a_batch_of_live_and_repaired_candles_counts_as_live() -> None:
    ticks = cross_section()
    repaired = replace(closing(A), source=Source.REPAIR)

    batches = ticks.add(repaired, arrived=START)
    for name in NAMES[1:]:
        batches += ticks.add(closing(name), arrived=START)

    assert [batch.source for batch in batches] == [Source.LIVE]
