"""No split lets a fit know what its test rows did not."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse_testing.panel import EXAMPLES, HORIZON, HOUR_MS, past_of
from services.models.walk_forward import (
    History,
    Split,
    lean_split,
    refresh_split,
    walk_forward,
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Rows at any hours, some with labels that became known late, in any order."""
    hours = draw(st.lists(st.integers(0, 400), min_size=20, max_size=150))
    delays = draw(
        st.lists(st.sampled_from([0, 0, 0, 1, 50]), min_size=len(hours), max_size=len(hours))
    )
    horizon = draw(st.integers(1, 24))
    as_of_ms = np.array(hours, dtype=np.int64) * HOUR_MS
    known_ms = as_of_ms + (horizon + np.array(delays, dtype=np.int64)) * HOUR_MS
    return History(as_of_ms, known_ms, embargo_ms=horizon * HOUR_MS)


def assert_sound(history: History, split: Split) -> None:
    train, test = split.train, split.test
    if not len(train) or not len(test):
        return
    start_ms = history.as_of_ms[test].min()
    assert start_ms >= history.known_ms[train].max() + history.embargo_ms
    assert not set(train) & set(test)


@settings(max_examples=40)
@given(histories())
def test_every_training_label_was_known_an_embargo_before_the_first_test_row(
    history: History,
) -> None:
    splits = [
        lean_split(history),
        refresh_split(history, horizon_ms=history.embargo_ms),
        *walk_forward(history),
    ]

    for split in splits:
        assert_sound(history, split)


@settings(max_examples=40)
@given(histories())
def test_a_fold_never_sees_the_locked_holdout(history: History) -> None:
    locked = set(lean_split(history).test)

    for split in walk_forward(history):
        assert not locked & set(split.test)
        assert not locked & set(split.train)


@settings(max_examples=40)
@given(histories())
def test_a_holdout_is_at_most_a_fifth_and_its_times_are_whole(history: History) -> None:
    for split in (lean_split(history), refresh_split(history, horizon_ms=HOUR_MS)):
        tested = split.test

        assert len(tested) <= 0.2 * len(history.as_of_ms)
        if len(tested):
            start_ms = history.as_of_ms[tested].min()
            assert len(tested) == (history.as_of_ms >= start_ms).sum()


@settings(max_examples=40)
@given(histories())
def test_folds_expand_and_follow_each_other(history: History) -> None:
    splits = walk_forward(history)

    for earlier, later in itertools.pairwise(splits):
        assert set(earlier.train) <= set(later.train)
        assert history.as_of_ms[earlier.test].max() < history.as_of_ms[later.test].min()


def hourly(hours: int, horizon: int = 4) -> History:
    as_of_ms = np.arange(hours, dtype=np.int64) * HOUR_MS
    return History(as_of_ms, as_of_ms + horizon * HOUR_MS, embargo_ms=horizon * HOUR_MS)


def test_the_lean_split_tests_the_last_fifth_and_purges_and_embargoes_before_it() -> None:
    split = lean_split(hourly(1000))

    assert (split.test[0], split.test[-1]) == (800, 999)
    assert (split.train[0], split.train[-1]) == (0, 792)  # 792 + 4 + 4 = 800


@pytest.mark.parametrize(("hours", "first"), [(5000, 4760), (600, 480)])
def test_a_refresh_is_tested_on_30_blocks_of_two_horizons_or_a_fifth(
    hours: int, first: int
) -> None:
    split = refresh_split(hourly(hours), horizon_ms=4 * HOUR_MS)

    assert (split.test[0], split.test[-1]) == (first, hours - 1)


def test_six_folds_cover_the_time_between_the_first_part_and_the_holdout() -> None:
    splits = walk_forward(hourly(1000), folds=6)

    tested = np.concatenate([split.test for split in splits])
    assert len(splits) == 6
    assert list(tested) == list(range(tested[0], 800))
    assert tested[0] == pytest.approx(800 / 7, abs=1)


def test_the_embargo_of_sequences_is_as_much_longer_as_they_reach_back() -> None:
    """The first of them that judges shares no candle with the end of a label that was learnt."""
    past = past_of(EXAMPLES, 5)
    known_ms, horizon_ms = EXAMPLES.known_ms, HORIZON * HOUR_MS

    rows = History.of(EXAMPLES, known_ms, embargo_ms=horizon_ms)
    sequences = History.of(replace(EXAMPLES, past=past), known_ms, embargo_ms=horizon_ms)

    plain, longer = lean_split(rows), lean_split(sequences)
    assert np.array_equal(plain.test, longer.test)
    begins_ms = EXAMPLES.as_of_ms[longer.test].min() - 5 * HOUR_MS
    assert begins_ms - known_ms[longer.train].max() == horizon_ms
    assert len(plain.train) - len(longer.train) == 5 * len(set(EXAMPLES.instruments))
