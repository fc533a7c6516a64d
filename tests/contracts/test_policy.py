"""The signal policies of this release keep the contract that plug-ins are asked to keep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from alphapulse_testing.check import BreachError, Check
from alphapulse_testing.policies import OF_POLICIES, Deciding, policy_checks
from domain.events import PredictionBatch, SignalBatch
from services.signals.kinds import POLICIES, PolicyKind
from services.signals.policy import SignalPolicy

CHECKS = [check for kind in POLICIES.values() for check in policy_checks(kind)]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_the_contract_is_kept(check: Check) -> None:
    check()


class Twice(SignalPolicy):
    def on_predictions(self, batch: PredictionBatch) -> Iterable[SignalBatch]:
        made = list(super().on_predictions(batch))
        return [*made, *made]


class Always(SignalPolicy):
    """Says so of every row, whenever it was said."""

    def on_predictions(self, batch: PredictionBatch) -> Iterable[SignalBatch]:
        return super().on_predictions(replace(batch, origin=batch.origin.LIVE))


class Careless(SignalPolicy):
    """Takes the side that a row leans to, whatever is held against it."""

    def gates(self, *args: Any) -> list[str]:
        return ["" for _ in super().gates(*args)]


class Greedy(SignalPolicy):
    def stake(self, *args: Any) -> dict[str, Any]:
        return {**super().stake(*args), "size_fraction": 1.0}


class Forgetful(SignalPolicy):
    """Counts what it was asked, and keeps nothing of it."""

    asked = 0

    def gates(self, *args: Any) -> list[str]:
        self.asked += 1
        return ["busy" if self.asked > 40 else gate for gate in super().gates(*args)]


@pytest.mark.parametrize(
    ("policy", "promise"),
    [
        (Twice, "each_served_row_is_answered_by_one_signal"),
        (Always, "what_was_not_said_live_opens_nothing"),
        (Careless, "a_row_that_is_unknown_or_degraded_is_flat"),
        (Careless, "spot_is_never_short"),
        (Greedy, "a_side_stakes_no_more_than_the_cap"),
        (Forgetful, "a_snapshot_goes_on_as_if_nothing_had_happened"),
    ],
)
def test_a_policy_that_breaks_a_promise_is_caught(policy: type[SignalPolicy], promise: str) -> None:
    (check,) = (one for one in OF_POLICIES if one.__name__ == promise)

    with pytest.raises(BreachError):
        check(Deciding(PolicyKind("mine", policy)))
