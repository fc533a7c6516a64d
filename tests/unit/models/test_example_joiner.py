"""Feature rows meet their labels once, and never before the label is known."""

from __future__ import annotations

import numpy as np

from alphapulse_testing.panel import (
    HORIZON,
    HOUR_MS,
    INSTRUMENTS,
    PANEL,
    panel_batch,
    panel_features,
)
from domain.events import Examples, LabelBatch
from domain.market import Instrument, Timeframe, to_ms
from services.models.examples import SLACK, ExampleJoiner, concatenate
from tests.doubles import START

BTC, ETH, _ = INSTRUMENTS
BEGIN_MS = to_ms(START)


def joiner() -> ExampleJoiner:
    return ExampleJoiner(PANEL, exchange="simulated", timeframe=Timeframe.H1, horizon=HORIZON)


def label(
    *rows: tuple[Instrument, int, int, int], outcome: float = 1.0, whole: bool = True
) -> LabelBatch:
    """Rows of (instrument, as_of, direction known, known) in hours; 0 = not yet."""
    count = len(rows)
    numbers = np.array([row[1:] for row in rows], dtype=np.int64).reshape(count, 3)
    times = np.where(numbers == 0, 0, BEGIN_MS + numbers * HOUR_MS)
    measured = np.full(count, 0.01 if whole else np.nan)
    return LabelBatch(
        exchange="simulated",
        timeframe=Timeframe.H1,
        horizon=HORIZON,
        instruments=tuple(row[0] for row in rows),
        as_of_ms=times[:, 0],
        revision=np.ones(count, dtype=np.int64),
        direction_known_ms=times[:, 1],
        known_ms=times[:, 2],
        outcome=np.full(count, outcome),
        weight=np.ones(count),
        log_return=measured,
        realized_volatility=measured,
        uniqueness=measured,
    )


def pairs(examples: Examples) -> list[tuple[str, int]]:
    return [
        (instrument.base, int(as_of_ms - BEGIN_MS) // HOUR_MS)
        for instrument, as_of_ms in zip(examples.instruments, examples.as_of_ms, strict=True)
    ]


def test_a_touch_makes_the_direction_known_and_the_end_the_rest() -> None:
    joined = joiner()
    rows = panel_features(2)
    joined.on_features(panel_batch(rows, hour=1, instruments=(BTC, ETH)))

    touched = joined.on_labels(label((ETH, 1, 3, 0), whole=False))
    ended = joined.on_labels(label((BTC, 1, 5, 5), (ETH, 1, 3, 5)))

    assert [pairs(part) for part in touched] == [[("ETH", 1)], []]
    assert [pairs(part) for part in ended] == [[("BTC", 1)], [("BTC", 1), ("ETH", 1)]]
    assert np.array_equal(ended[1].features, rows)
    assert ended[1].columns == PANEL.columns


def test_a_pair_is_given_once() -> None:
    joined = joiner()
    joined.on_features(panel_batch(panel_features(1), hour=1, instruments=(BTC,)))
    joined.on_labels(label((BTC, 1, 2, 0)))
    joined.on_labels(label((BTC, 1, 2, 5)))

    again = joined.on_labels(label((BTC, 1, 2, 5)))

    assert [pairs(part) for part in again] == [[], []]
    assert joined.unmatched == 1


def test_a_void_label_waits_until_its_gap_is_filled() -> None:
    joined = joiner()
    joined.on_features(panel_batch(panel_features(1), hour=1, instruments=(BTC,)))

    void = joined.on_labels(label((BTC, 1, 5, 5), outcome=np.nan, whole=False))
    filled = joined.on_labels(label((BTC, 1, 9, 9)))

    assert [pairs(part) for part in void] == [[], []]
    assert [pairs(part) for part in filled] == [[("BTC", 1)], [("BTC", 1)]]


def test_examples_are_ordered_by_known_then_as_of_then_instrument() -> None:
    joined = joiner()
    for hour in (1, 2):
        joined.on_features(
            panel_batch(panel_features(2, seed=hour), hour=hour, instruments=(BTC, ETH))
        )

    directions, wholes = joined.on_labels(
        label((ETH, 2, 3, 6), (BTC, 2, 6, 6), (ETH, 1, 5, 5), (BTC, 1, 5, 6))
    )

    assert pairs(directions) == [("ETH", 2), ("BTC", 1), ("ETH", 1), ("BTC", 2)]
    assert pairs(wholes) == [("ETH", 1), ("BTC", 1), ("BTC", 2), ("ETH", 2)]


def test_a_higher_revision_of_the_features_replaces_a_lower_one() -> None:
    joined = joiner()
    first, second = panel_features(2)[:1], panel_features(2)[1:]
    one = panel_batch(first, hour=1, instruments=(BTC,))
    two = panel_batch(second, hour=1, instruments=(BTC,))
    two.revision[0] = 2
    for batch in (one, two, one):
        joined.on_features(batch)

    _, wholes = joined.on_labels(label((BTC, 1, 5, 5)))

    assert np.array_equal(wholes.features, second)


def test_features_are_kept_for_two_horizons_and_the_slack() -> None:
    joined = joiner()
    last = 1 + 2 * HORIZON + SLACK
    for hour in (1, last, last + 1):
        joined.on_features(panel_batch(panel_features(1), hour=hour, instruments=(BTC,)))

        found = pairs(joined.on_labels(label((BTC, 1, 5, 0)))[0])

        assert found == ([("BTC", 1)] if hour == 1 else [])
        assert joined.unmatched == (hour > last)


def test_labels_of_another_horizon_are_not_its_own() -> None:
    joined = ExampleJoiner(PANEL, exchange="simulated", timeframe=Timeframe.H1, horizon=24)
    joined.on_features(panel_batch(panel_features(1), hour=1, instruments=(BTC,)))

    directions, wholes = joined.on_labels(label((BTC, 1, 5, 5)))

    assert (len(directions), len(wholes), joined.unmatched) == (0, 0, 0)


def test_a_restored_joiner_pairs_what_the_first_would_have() -> None:
    batches = [
        panel_batch(panel_features(1, seed=hour), hour=hour, instruments=(BTC,)) for hour in (1, 2)
    ]
    joined = joiner()
    joined.restore(batches)

    _, wholes = joined.on_labels(label((BTC, 1, 5, 5), (BTC, 2, 6, 6)))

    assert np.array_equal(wholes.features, np.concatenate([b.values for b in batches]))


def test_a_restored_joiner_does_not_give_a_direction_again() -> None:
    joined = joiner()
    batch = panel_batch(panel_features(2), hour=1, instruments=(BTC, ETH))
    joined.restore([batch], [(ETH, BEGIN_MS + HOUR_MS)])

    ended = joined.on_labels(label((BTC, 1, 5, 5), (ETH, 1, 3, 5)))

    assert [pairs(part) for part in ended] == [[("BTC", 1)], [("BTC", 1), ("ETH", 1)]]


def test_parts_are_concatenated_in_their_order() -> None:
    joined = joiner()
    joined.on_features(panel_batch(panel_features(2), hour=1, instruments=(BTC, ETH)))
    _, one = joined.on_labels(label((ETH, 1, 5, 5)))
    _, two = joined.on_labels(label((BTC, 1, 5, 5)))

    whole = concatenate([one, two])

    assert pairs(whole) == [("ETH", 1), ("BTC", 1)]
    assert np.array_equal(whole.features, np.concatenate((one.features, two.features)))
