"""What is cried on, and what not: losses, coverage, calibration, and columns of values."""

from __future__ import annotations

import numpy as np
import pytest

from domain.events import Floats
from domain.market import Horizon, Timeframe
from services.models.detector import adwin
from services.scores.blocks import Dates
from services.scores.drift import calibration_error, change, coverage_distance, expected_loss
from services.scores.shift import discoveries, shift

H = 4
DAYS = 90
CLOSES = DAYS * 24
H1 = Horizon(Timeframe.H1, H)


def losses(rng: np.random.Generator, rise: float = 0.0) -> Floats:
    """Moving averages as overlapping labels make them, of spread 1; the last 30 days may rise."""
    drawn = rng.normal(size=CLOSES + 2 * H - 1)
    series = np.convolve(drawn, np.ones(2 * H) / np.sqrt(2 * H), "valid")
    series[-30 * 24 :] += rise
    return series


def cries(series: Floats, day: int) -> bool:
    """Whether half of the detectors say on that day that losses rose."""
    return change(series[: day * 24], H, newest=24, detector=adwin).share >= 0.5


def test_stationary_losses_are_cried_on_once_in_many_months() -> None:
    rng = np.random.default_rng(1)
    cried = [cries(series, DAYS) for series in (losses(rng) for _ in range(200))]

    assert sum(cried) <= 1


def test_a_detector_that_hears_every_loss_cries_on_stationary_ones() -> None:
    """The pitfall: this is why each detector hears every fourth."""
    rng = np.random.default_rng(1)
    heard = [change(losses(rng), 1, newest=CLOSES - 240, detector=adwin) for _ in range(20)]
    cried = [one.alarms for one in heard]

    assert sum(cried) >= 10


def test_losses_that_rise_are_cried_on_within_ten_days_and_those_that_fall_never() -> None:
    rng = np.random.default_rng(2)

    for series in (losses(rng, rise=1.0) for _ in range(5)):
        assert any(cries(series, day) for day in range(61, 71))
    for series in (losses(rng, rise=-1.0) for _ in range(5)):
        assert not any(cries(series, day) for day in range(61, 71))


def test_the_unit_of_a_loss_does_not_matter() -> None:
    """The pitfall: as they are, log losses that rise by a tenth are none of ADWIN's business."""
    small = 1.0 + 0.1 * losses(np.random.default_rng(2), rise=1.0)

    assert any(cries(small, day) for day in range(61, 71))


def test_of_no_losses_nothing_is_said() -> None:
    assert change(np.empty(0), H, newest=0, detector=adwin).share == 0.0


def covered(share: float, blocks: int) -> Dates:
    rng = np.random.default_rng(3)
    closes = blocks * 2 * H
    inside = (rng.random((closes, 12)) < share).mean(axis=1)
    return Dates(
        as_of_ms=np.arange(1, closes + 1) * Timeframe.H1.ms,
        losses=inside[:, None],
        counts=np.full(closes, 12),
    )


@pytest.mark.parametrize(("share", "far"), [(0.8, False), (0.7, True), (0.9, True)])
def test_intervals_are_held_to_what_they_promise(share: float, far: bool) -> None:  # noqa: FBT001
    distance, blocks = coverage_distance(covered(share, 60), H1, 0.8)

    assert blocks >= 59
    assert (abs(distance) > 3.0) is far


def test_few_blocks_say_nothing_of_coverage() -> None:
    assert coverage_distance(covered(0.2, 5), H1, 0.8)[0] == 0.0


def test_probabilities_are_held_to_how_often_they_come_true() -> None:
    rng = np.random.default_rng(4)
    said = rng.uniform(0.2, 0.6, 40_000)
    came = (rng.random(len(said)) < said).astype(float)

    right = calibration_error(said, came, H)
    wrong = calibration_error(said, (rng.random(len(said)) < said - 0.1).astype(float), H)

    assert right is not None
    assert right < 0.02
    assert wrong == pytest.approx(0.1, abs=0.02)
    assert calibration_error(said[:1_999], came[:1_999], H) is None  # worth less than 500 rows


def test_forecasts_promise_their_entropy() -> None:
    assert expected_loss(np.full((2, 3), 1 / 3)) == pytest.approx(np.log(3))
    assert expected_loss(np.array([[0.0, 1.0, 0.0]])) == pytest.approx(0.0)


def test_a_column_that_moved_is_told_from_one_that_did_not() -> None:
    rng = np.random.default_rng(5)
    before = rng.normal(size=(3_000, 2))
    after = rng.normal(loc=(0.0, 1.5), size=(1_000, 2))
    same, moved = (shift(before[:, c], after[:, c], days=(60, 30)) for c in range(2))

    assert same.psi < 0.1
    assert moved.psi > 0.5
    assert moved.p < 0.001
    assert same.p > 0.2
    assert 0.0 <= same.jensen_shannon < moved.jensen_shannon < np.log(2)
    assert discoveries(np.array([same.p, moved.p])).tolist() == [False, True]


def test_rows_of_one_day_are_no_evidence_each() -> None:
    """The pitfall: 1 000 rows of 30 days are worth 30; blind to that nearly all columns move."""
    rng = np.random.default_rng(6)
    days = [np.repeat(rng.normal(size=n), 24) for n in (60, 30)]

    assert shift(*days, days=(60, 30)).p > 0.01
    assert shift(*days, days=(60 * 24, 30 * 24)).p < 0.01


def test_an_unknown_column_has_not_moved() -> None:
    nothing = np.full(100, np.nan)

    assert shift(nothing, nothing, days=(60, 30)).p == 1.0
