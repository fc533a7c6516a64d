"""What a skill of direction is of."""

from __future__ import annotations

import numpy as np

from domain.events import Floats
from domain.market import Horizon, Timeframe
from services.scores.direction import of_flat, of_side
from services.scores.skill import DAY_MS, pooled_skill

DAYS, ROWS = 30, 48
N = DAYS * ROWS
PLACE = np.stack([np.repeat(np.arange(DAYS), ROWS) * DAY_MS, np.tile(np.arange(ROWS), DAYS)])
RNG = np.random.default_rng(3)
OUTCOME: Floats = RNG.choice([-1.0, 0.0, 1.0], size=N, p=[0.25, 0.5, 0.25])
PRIOR = np.tile([0.25, 0.5, 0.25], (N, 1))
H4 = Horizon(Timeframe.H1, 4)


def sure_of(flat: Floats, up: Floats) -> Floats:
    """Probabilities by that of flat, and that of up where it is not."""
    return np.stack([(1 - flat) * (1 - up), flat, (1 - flat) * up], axis=1)


def test_a_forecast_that_knows_when_it_moves_and_not_where_to_has_no_skill_of_the_side() -> None:
    says = sure_of(np.where(OUTCOME == 0, 0.7, 0.3), np.full(N, 0.5))

    flat, side = (pooled_skill(of(says, PRIOR, OUTCOME, PLACE), H4) for of in (of_flat, of_side))

    assert flat.low > 0.4
    assert (side.skill, side.count) == (0.0, int((OUTCOME != 0).sum()))


def test_a_forecast_that_knows_the_side_and_not_the_moment_is_the_other_way_round() -> None:
    says = sure_of(np.full(N, 0.5), np.where(OUTCOME > 0, 0.7, 0.3))

    flat, side = (pooled_skill(of(says, PRIOR, OUTCOME, PLACE), H4) for of in (of_flat, of_side))

    assert flat.skill == 0.0
    assert side.low > 0.4


def test_both_losses_make_up_the_log_loss_of_three_classes() -> None:
    says = RNG.dirichlet([2.0, 3.0, 2.0], size=N)

    flat, side = (of(says, PRIOR, OUTCOME, PLACE) for of in (of_flat, of_side))

    whole = -np.log(says[np.arange(N), OUTCOME.astype(int) + 1])
    together = flat.loss.copy()
    together[OUTCOME != 0] += side.loss
    np.testing.assert_allclose(together, whole)


def test_rows_without_an_outcome_or_a_forecast_are_left_out() -> None:
    says, outcome = PRIOR.copy(), OUTCOME.copy()
    says[0], outcome[1] = np.nan, np.nan

    assert len(of_flat(says, PRIOR, outcome, PLACE).loss) == N - 2
    assert len(of_side(says, PRIOR, outcome, PLACE).loss) == int((outcome[2:] != 0).sum())
