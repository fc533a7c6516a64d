"""Evidence for kinds without a seat that gathers from one cold start to the next.

Each kind has a capital that bets on its losses being smaller than the baseline's, block after
block, never more than a share of what it has. Of kinds that are no better the expectation of a
capital does not grow, so it multiplies by m with a probability of at most 1/m, whenever and however
often one looks (Ville 1939; Waudby-Smith and Ramdas 2023, «Estimating means by betting»).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from domain.events import Floats
from domain.market import Horizon, from_ms, rfc3339
from services.scores.blocks import Dates, block_means, block_ms, joined
from services.scores.promotion import (
    ALPHA,
    HOLDOUT_ALPHA,
    LEAST_CORRELATION,
    NO_SEARCH,
    Decision,
    Number,
    Verdict,
    counted,
    judge_cold_start,
)

GATHERED_ALPHA: Final = ALPHA - HOLDOUT_ALPHA  # of all rounds together
ROUND_SHARE: Final = 0.75  # of what is left of it, for each round
LOST: Final = 0.1  # a round whose mean capital is below this is over
# Shares that a block which differs by one past root mean square wins or loses, each of half of the
# capital: 0.3 finds soonest what is 0.3 standard deviations a block better, 0.6 what is 0.6.
STAKES: Final = (0.3, 0.6)
LARGEST_BET: Final = 0.9  # that one block wins or loses: none loses all
FEWEST: Final = 2  # blocks before the first bet, for that root mean square
# Neighbouring blocks are correlated, so that three say what two independent ones would.
WORTH: Final = 1.0 / (1.0 + 2.0 * LEAST_CORRELATION)
LARGEST: Final = 300.0  # of a capital's logarithm that is reckoned with: exp overflows at 709

NOTHING_FAILED: Final[Mapping[str, Sequence[str]]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capital:
    """What a kind's bets have made of 1, in this round, and what the next one needs to know."""

    logs: tuple[float, ...] = (0.0,) * len(STAKES)  # of what each of the STAKES made of 1
    squares: float = 0.0  # sum of the squared differences, in all rounds
    blocks: int = 0  # in all rounds
    last: int = -1  # number of the newest block that is counted

    @property
    def log(self) -> float:
        """Logarithm of the capital."""
        return math.log(np.mean([_capital(one) for one in self.logs]))

    def after(self, number: int, difference: float) -> Capital:
        """A block of which the baseline's loss was larger by `difference`; none counts twice."""
        if number <= self.last:
            return self
        bet = self.blocks >= FEWEST and self.squares > 0.0
        relative = difference / math.sqrt(self.squares / self.blocks) if bet else 0.0
        won = [min(max(stake * relative, -LARGEST_BET), LARGEST_BET) for stake in STAKES]
        return Capital(
            logs=tuple(
                log + WORTH * math.log1p(one) for log, one in zip(self.logs, won, strict=True)
            ),
            squares=self.squares + difference**2,
            blocks=self.blocks + 1,
            last=number,
        )


def capital_of(log: float) -> Capital:
    """One that has bet on nothing in this round."""
    return Capital(logs=(log,) * len(STAKES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """The capitals of a target's kinds, in one round after another until somebody is lifted.

    Args:
        round: 1, 2, …; the next one begins when this has lost nine tenths.
        capitals: by kind; one that is not asked for any more keeps its place among them.
    """

    round: int = 1
    capitals: Mapping[str, Capital] = field(default_factory=dict)

    @property
    def needed(self) -> float:
        """The capital that lifts; all rounds together err with GATHERED_ALPHA.

        >>> [round(Gathering(round=n).needed) for n in (1, 2, 3)]
        [44, 178, 711]
        """
        return 1.0 / (GATHERED_ALPHA * ROUND_SHARE * (1.0 - ROUND_SHARE) ** (self.round - 1))

    def add(self, models: Mapping[str, Dates], horizon: Horizon, known_ms: int) -> Gathering:
        """With the blocks that are not counted yet.

        A kind that joins begins with the mean capital of the others, at most 1: the mean of all,
        which is what is looked at, does not rise by it.

        Args:
            models: of each kind its losses in column 1 beside the baseline's in column 0.
            horizon: of the predictions.
            known_ms: when it is asked; blocks count whose labels were all known by then.
        """
        joining = math.log(_mean(self.capitals)) if self.capitals else 0.0
        begin = capital_of(min(joining, 0.0))
        capitals = dict(self.capitals)
        for name, dates in models.items():
            capital = capitals.get(name, begin)
            for number, difference in _differences(dates, horizon, known_ms):
                capital = capital.after(number, difference)
            capitals[name] = capital
        return replace(self, capitals=capitals)

    def judge(
        self,
        asking: Sequence[str],
        failed: Mapping[str, Sequence[str]] = NOTHING_FAILED,
        trials: Mapping[str, int] = NO_SEARCH,
    ) -> Decision:
        """Who has gathered enough, of those that ask for a seat.

        Args:
            asking: kinds that can be lifted now.
            failed: guardrails that each failed, in words.
            trials: of those that were searched for: each counts as so many kinds.
        """
        logs = {
            name: one.log - math.log(trials.get(name, 1)) for name, one in self.capitals.items()
        }
        shown = shown_by_means(logs, math.log(self.needed))
        lifted = tuple(name for name in asking if name in shown and not failed.get(name))
        best = max((name for name in asking if name in logs), key=logs.__getitem__, default="")
        words = ", ".join(lifted) + " beat" if lifted else f"none of {', '.join(asking)} beats"
        words += " the baseline: "
        if best:
            words += f"evidence {_capital(logs[best]):.3g} of {best} over "
            words += f"{self.capitals[best].blocks} blocks, "
        words += f"{self.needed:.0f} is needed (round {self.round}{counted(trials)})"
        evidence: dict[str, Number] = {
            f"{name}.failed": ", ".join(reasons) for name, reasons in failed.items()
        }
        evidence |= {f"{name}.n_trials": n for name, n in trials.items() if n > 1}
        verdict = Verdict.COLD_START if lifted else Verdict.REJECT
        return Decision(verdict=verdict, models=lifted, evidence=evidence, words=words)

    def following(self) -> Gathering:
        """This one, or the next round where this one is lost."""
        if not self.capitals or _mean(self.capitals) >= LOST:
            return self
        afresh = {name: replace(one, logs=Capital().logs) for name, one in self.capitals.items()}
        return Gathering(round=self.round + 1, capitals=afresh)

    def numbers(self, horizon: Horizon) -> dict[str, Number]:
        """For the evidence: all that `read` needs to go on, and what a reader asks for."""
        found: dict[str, Number] = {"round": self.round, "needed": self.needed}
        for name, one in self.capitals.items():
            found |= {
                f"{name}.evidence": _capital(one.log),
                **{f"{name}.log_evidence_{n}": log for n, log in enumerate(one.logs)},
                f"{name}.gathered_squares": one.squares,
                f"{name}.gathered_blocks": one.blocks,
                f"{name}.last_block": one.last,
            }
        ends = [(one.last + 1) * block_ms(horizon) for one in self.capitals.values() if one.blocks]
        if ends:
            found["gathered_until"] = rfc3339(from_ms(max(ends)))
        return found

    @classmethod
    def read(cls, evidence: Mapping[str, Number]) -> Gathering | None:
        """What `numbers` wrote; None where nothing was gathered yet."""
        if "round" not in evidence:
            return None
        ending = ".gathered_blocks"
        names = [name.removesuffix(ending) for name in evidence if name.endswith(ending)]
        capitals = {
            name: Capital(
                logs=tuple(
                    _number(evidence, f"{name}.log_evidence_{n}") for n in range(len(STAKES))
                ),
                squares=_number(evidence, f"{name}.gathered_squares"),
                blocks=int(_number(evidence, f"{name}.gathered_blocks")),
                last=int(_number(evidence, f"{name}.last_block")),
            )
            for name in names
        }
        return cls(round=int(_number(evidence, "round")), capitals=capitals)


def judge_beginning(
    gathering: Gathering,
    told: Mapping[str, Dates],
    horizon: Horizon,
    asking: Sequence[str],
    *,
    failed: Mapping[str, Sequence[str]] = NOTHING_FAILED,
    trials: Mapping[str, int] = NO_SEARCH,
) -> Decision:
    """The first cold start: kinds that beat the baseline on the holdout, or have gathered enough.

    Args:
        gathering: with the blocks of `told`.
        told: of each kind its losses in column 1 beside the baseline's in column 0.
        horizon: of the predictions.
        asking: kinds that can be lifted now.
        failed: guardrails that each failed, in words.
        trials: of those that were searched for: each counts as so many kinds.
    """
    names = [name for name in asking if name in told]
    dates = joined([told[name] for name in names])
    looked = judge_cold_start(dates, horizon, names, HOLDOUT_ALPHA, failed, trials)
    gathered = gathering.judge(asking, failed, trials)
    decision = looked if looked.models else gathered
    return replace(decision, evidence={**looked.evidence, **gathered.evidence})


def shown_by_means(logs: Mapping[str, float], needed: float) -> set[str]:
    """Those shown to be better, so that one that is not is among them as rarely as for one alone.

    A kind is, when of each set that it is in the mean capital is enough (closed testing; Vovk and
    Wang 2021, «E-values: calibration, combination and applications»): means are capitals too,
    however the kinds depend on each other. Its worst sets are those with the poorest others.

    Args:
        logs: of the capitals, by kind.
        needed: logarithm of what is enough.
    """
    capitals = {name: _capital(log - needed) for name, log in logs.items()}
    shown = set()
    for name, own in capitals.items():
        others = np.sort([other for one, other in capitals.items() if one != name])
        sums = own + np.concatenate([[0.0], np.cumsum(others)])
        if (sums >= np.arange(1, len(sums) + 1)).all():
            shown.add(name)
    return shown


def _differences(dates: Dates, horizon: Horizon, known_ms: int) -> list[tuple[int, float]]:
    """Number and difference of each block whose labels were known by `known_ms`, oldest first."""
    known = np.isfinite(dates.losses).all(axis=1)
    if not known.any():
        return []
    difference: Floats = (dates.losses[known, 0] - dates.losses[known, 1])[:, None]
    paired = Dates(as_of_ms=dates.as_of_ms[known], losses=difference, counts=dates.counts[known])
    blocks = block_means(paired, horizon)
    ends_ms = (blocks.numbers + 1) * block_ms(horizon) + horizon.steps * horizon.timeframe.ms
    complete = ends_ms <= known_ms
    numbers, means = blocks.numbers[complete].tolist(), blocks.losses[complete, 0].tolist()
    return list(zip(numbers, means, strict=True))


def _mean(capitals: Mapping[str, Capital]) -> float:
    return float(np.mean([_capital(one.log) for one in capitals.values()]))


def _capital(log: float) -> float:
    return math.exp(min(log, LARGEST))


def _number(evidence: Mapping[str, Number], name: str) -> float:
    value = evidence[name]
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} is no number: {value!r}")
    return float(value)
