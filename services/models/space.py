"""What a search may choose from, and which choice it makes next."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

Choice = Mapping[str, float]

DIGITS: Final = 4  # of a chosen number: what is tried is what a settings file says


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Of one parameter of a recipe.

    Args:
        low: from here on a search looks.
        high: up to here.
        log: whether it looks evenly among orders of magnitude.
        whole: whether it is a number of something.
        least: below it the library refuses a value.
        most: above it the library refuses a value.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    least: float = 0.0
    most: float = math.inf

    def refusal(self, value: float) -> str:
        """Why the library cannot take a value, in words; empty where it can."""
        if self.least <= value <= self.most:
            return ""
        limits = f"from {self.least:g} " + (f"to {self.most:g}" if self.most < math.inf else "on")
        return f"{value:g} is not {limits}"


@runtime_checkable
class Searchable(Protocol):
    """What a fitted kind has beside the rest whose parameters can be searched for."""

    @property
    def space(self) -> Mapping[str, Range]:
        """Of those parameters of its recipes that a search may choose."""
        ...


def propose(
    space: Mapping[str, Range], tried: Sequence[tuple[Choice, float]], seed: int
) -> dict[str, float]:
    """What to try next: by the tree-structured Parzen estimator (Bergstra et al. 2011).

    The first ten are drawn at random.

    Args:
        space: parameter → its range.
        tried: choices and their losses, oldest first.
        seed: of this choice; one for all of them would draw the first ones again after a restart.
    """
    optuna: Any = importlib.import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed % 2**32))
    ranges = {name: _distribution(optuna, one) for name, one in space.items()}
    for choice, loss in tried:
        known = {name: min(max(choice[name], one.low), one.high) for name, one in space.items()}
        study.add_trial(optuna.trial.create_trial(params=known, distributions=ranges, value=loss))
    chosen = study.ask(ranges).params
    return {name: _rounded(value, space[name]) for name, value in chosen.items()}


def _distribution(optuna: Any, one: Range) -> Any:  # noqa: ANN401 - imported late
    kinds = optuna.distributions
    if one.whole:
        return kinds.IntDistribution(int(one.low), int(one.high), log=one.log)
    return kinds.FloatDistribution(one.low, one.high, log=one.log)


def _rounded(value: float, one: Range) -> float:
    if one.whole:
        return int(value)
    return min(max(float(f"{value:.{DIGITS}g}"), one.low), one.high)
