"""The promotion policy: which forecaster may take a seat, and which must leave it.

Pure rules over loss differences (`semantics.md`, Learning policy; `learning.md` c.8). Every
verdict carries the numbers that it rests on, so that it can be checked from the record.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import numpy as np

from domain.events import Floats, Target
from domain.market import Horizon
from services.scores.blocks import BlockTest, Dates, block_means, block_test, winsorised

ALPHA: Final = 0.05  # of all attempts since the last promotion together, and of one refresh
MARGINS: Final = {Target.DIRECTION: 0.001, Target.QUANTILES: 0.005, Target.VOLATILITY: 0.005}
LOOKS: Final = (30, 60, 90)  # blocks; at 1h and 4 candles 10, 20 and 30 days
PRESENCE: Final = 0.9  # share of those blocks that a challenger must have judged
# O'Brien-Fleming boundaries for three looks; together they spend 5 %.
LOOK_ALPHAS: Final = (0.0005, 0.014, 0.045)
# Of neighbouring blocks when losses are moving averages over 2 × horizon (0.244 exactly at 4).
# Measured on 40 000 such streams: three looks promote equals 1.0 to 1.2 times as often as
# budgeted with it, 1.2 to 2.4 with the estimate alone, 2 to 9 blind to it (attempts 1 to 8).
LEAST_CORRELATION: Final = 0.25
ROLLBACK_ALPHA: Final = 0.01
ROLLBACK_BLOCKS: Final = 10

NO_SEARCH: Final[Mapping[str, int]] = {}  # every model is the first of its kind

Number = float | int | str | None  # None: cannot be said


class Verdict(StrEnum):
    """What a decision says of the seat."""

    PROMOTE = "promote"
    COLD_START = "cold_start"  # promoted where only baselines stood
    KEEP = "keep"
    REJECT = "reject"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict with its numbers; `models` are those that it lifts (or rolls back)."""

    verdict: Verdict
    models: tuple[str, ...] = ()
    evidence: Mapping[str, Number] = field(default_factory=dict)
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """How much smaller a candidate's loss is than the reference's."""

    model: str
    test: BlockTest  # of winsorised differences, in units of the loss
    reference_loss: float
    blocks: int
    trials: int = 1  # of a search that it is the best of

    @property
    def p_better(self) -> float:
        """Chance of such a gain by the best of so many that are no better (Bonferroni)."""
        return min(self.trials * self.test.p_above(), 1.0)

    @property
    def relative(self) -> float:
        """Gain as a share of the reference's loss; NaN where that cannot be said."""
        return self.test.mean / self.reference_loss if self.reference_loss > 0.0 else math.nan

    def numbers(self) -> dict[str, Number]:
        """For the evidence, each name prefixed by the model's."""
        values = {
            "blocks": self.blocks,
            "reference_loss": self.reference_loss,
            "gain": self.test.mean,
            "relative_gain": self.relative,
            "standard_error": self.test.error,
            "p_better": self.test.p_above(),
            "p_worse": self.test.p_below(),
        }
        if self.trials > 1:
            values |= {"n_trials": self.trials, "p_better_of_trials": self.p_better}
        return {
            f"{self.model}.{name}": value if math.isfinite(value) else None
            for name, value in values.items()
        }


def measure(
    dates: Dates, horizon: Horizon, models: Sequence[str], trials: Mapping[str, int] = NO_SEARCH
) -> list[Gain]:
    """The gain of each of `models`, columns 1, 2, … of `dates`, over column 0.

    Differences are winsorised date by date at 1 and 99 % of those known, which at the
    time of a decision are all of the past, then averaged over blocks.

    Args:
        dates: losses.
        horizon: of the predictions.
        models: the columns after the first.
        trials: of those that were searched for.
    """
    gains = [_gain(dates, horizon, model, column) for column, model in enumerate(models, start=1)]
    return [replace(gain, trials=trials.get(gain.model, 1)) for gain in gains]


def _gain(dates: Dates, horizon: Horizon, model: str, column: int) -> Gain:
    pair = dates.losses[:, [0, column]]
    known = np.isfinite(pair).all(axis=1)
    difference = winsorised(pair[known, 0] - pair[known, 1])
    table: Floats = np.column_stack([difference, pair[known, 0]])
    means = block_means(
        Dates(as_of_ms=dates.as_of_ms[known], losses=table, counts=dates.counts[known]), horizon
    ).losses
    reference = float(means[:, 1].mean()) if len(means) else math.nan
    test = block_test(means[:, 0], LEAST_CORRELATION)
    return Gain(model=model, test=test, reference_loss=reference, blocks=len(means))


def attempt_alpha(attempt: int) -> float:
    """What attempt 1, 2, … since the last promotion may spend; the sum over all is ALPHA.

    >>> round(attempt_alpha(1), 4), round(attempt_alpha(2), 4)
    (0.0304, 0.0076)
    """
    return ALPHA * 6.0 / (math.pi**2 * attempt**2)


def judge_refresh(
    dates: Dates, horizon: Horizon, model: str, failed: Sequence[str] = ()
) -> Decision:
    """The same recipe on more data takes the seat unless it is significantly worse.

    Args:
        dates: column 0 the champion, column 1 the fit without the last blocks, on these blocks.
        horizon: of the predictions.
        model: the kind.
        failed: guardrails that the second fit failed, in words.
    """
    gain = measure(dates, horizon, [model])[0]
    p = gain.test.p_below()
    evidence = gain.numbers() | {"alpha": ALPHA, "failed": ", ".join(failed)}
    if failed:
        words = f"refresh of {model} refused: {', '.join(failed)}"
        return Decision(verdict=Verdict.REJECT, models=(), evidence=evidence, words=words)
    if p < ALPHA:
        words = f"refresh of {model} refused: {gain.relative:+.2%} in loss, p = {p:.3g} of worse"
        return Decision(verdict=Verdict.REJECT, models=(), evidence=evidence, words=words)
    words = f"refresh of {model}: not significantly worse over {gain.blocks} blocks, p = {p:.3g}"
    return Decision(verdict=Verdict.PROMOTE, models=(model,), evidence=evidence, words=words)


def judge_cold_start(
    dates: Dates,
    horizon: Horizon,
    models: Sequence[str],
    attempt: int,
    failed: Mapping[str, Sequence[str]] | None = None,
    trials: Mapping[str, int] = NO_SEARCH,
) -> Decision:
    """Kinds that beat the baseline on the locked holdout may begin; baselines need no permission.

    Args:
        dates: column 0 the baseline, then `models`.
        horizon: of the predictions.
        models: tested together as one attempt, Holm inside.
        attempt: 1, 2, … since the last promotion.
        failed: guardrails that each kind failed, in words.
        trials: of those that were searched for: each counts as so many kinds.
    """
    gains = measure(dates, horizon, models, trials)
    alpha = attempt_alpha(attempt)
    passed = [gain for gain in holm(gains, alpha) if not (failed or {}).get(gain.model)]
    evidence = _evidence(gains, failed) | {"attempt": attempt, "alpha": alpha}
    names, counted = tuple(gain.model for gain in passed), _counted(gains)
    if names:
        words = f"{', '.join(names)} beat the baseline at {alpha:.2g} (attempt {attempt}{counted})"
        return Decision(verdict=Verdict.COLD_START, models=names, evidence=evidence, words=words)
    words = f"none of {', '.join(models)} beats the baseline at {alpha:.2g} "
    words += f"(attempt {attempt}{counted})"
    return Decision(verdict=Verdict.REJECT, evidence=evidence, words=words)


def judge_look(
    gains: Sequence[Gain],
    target: Target,
    look: int,
    attempt: int,
    failed: Mapping[str, Sequence[str]] | None = None,
) -> Decision:
    """One look at the challengers of an attempt; the one that gained most is promoted.

    Args:
        gains: of each challenger over the champion, from the beginning of the shadow.
        target: decides the margin.
        look: 0, 1 or 2.
        attempt: 1, 2, … since the last promotion.
        failed: guardrails that each challenger failed, in words.
    """
    alpha = attempt_alpha(attempt) * LOOK_ALPHAS[look] / ALPHA
    margin = MARGINS[target]
    passed = [
        gain
        for gain in holm(gains, alpha)
        if gain.relative >= margin
        and gain.blocks >= PRESENCE * LOOKS[look]
        and not (failed or {}).get(gain.model)
    ]
    evidence = _evidence(gains, failed)
    evidence |= {"look": look + 1, "attempt": attempt, "alpha": alpha, "margin": margin}
    when = f"(look {look + 1}, attempt {attempt}{_counted(gains)})"
    if passed:
        best = max(passed, key=lambda gain: gain.relative)
        words = f"{best.model} is {best.relative:.2%} better, p = {best.p_better:.2g}"
        words += f" < {alpha:.2g} {when}"
        return Decision(
            verdict=Verdict.PROMOTE, models=(best.model,), evidence=evidence, words=words
        )
    last = look + 1 == len(LOOK_ALPHAS)
    names = ", ".join(gain.model for gain in gains)
    words = f"{names} not shown to be better at {alpha:.2g} {when}"
    verdict = Verdict.REJECT if last else Verdict.KEEP
    return Decision(verdict=verdict, evidence=evidence, words=words)


def judge_rollback(
    dates: Dates, horizon: Horizon, model: str, broken: Sequence[str] = ()
) -> Decision:
    """A champion leaves at once when broken, or when it is proven worse than its baseline.

    Args:
        dates: column 0 the baseline, column 1 the champion.
        horizon: of the predictions.
        model: the champion.
        broken: what is wrong with it beside its losses (`non-finite output`), in words.
    """
    gain = measure(dates, horizon, [model])[0]
    p = gain.test.p_below()
    evidence = gain.numbers() | {"alpha": ROLLBACK_ALPHA, "broken": ", ".join(broken)}
    if broken:
        words = f"{model} rolled back: {', '.join(broken)}"
    elif gain.blocks >= ROLLBACK_BLOCKS and p < ROLLBACK_ALPHA:
        words = f"{model} rolled back: skill {gain.relative:+.2%} over {gain.blocks} blocks"
    else:
        return Decision(verdict=Verdict.KEEP, evidence=evidence, words=f"{model} stays")
    return Decision(verdict=Verdict.ROLLBACK, models=(model,), evidence=evidence, words=words)


def holm(gains: Sequence[Gain], alpha: float) -> list[Gain]:
    """Those shown to be better, at `alpha` for all of them together (Holm 1979).

    The best of a search enters with the p-value of as many kinds as were tried (Bonferroni).
    """
    ordered = sorted(gains, key=lambda gain: gain.p_better)
    for tested, gain in enumerate(ordered):
        if gain.p_better >= alpha / (len(ordered) - tested):
            return ordered[:tested]
    return ordered


def _counted(gains: Sequence[Gain]) -> str:
    """Which count as more than one kind, in words."""
    searched = [f"{gain.model} counts {gain.trials} times" for gain in gains if gain.trials > 1]
    return "".join(f"; {one}" for one in searched)


def _evidence(
    gains: Sequence[Gain], failed: Mapping[str, Sequence[str]] | None
) -> dict[str, Number]:
    evidence: dict[str, Number] = {}
    for gain in gains:
        evidence |= gain.numbers()
    for model, reasons in (failed or {}).items():
        evidence[f"{model}.failed"] = ", ".join(reasons)
    return evidence
