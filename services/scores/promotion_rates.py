"""What the promotion policy does to simulated loss streams: the rates that the docs quote.

A stream is a reference with loss 1 and challengers whose differences to it are moving averages
of 2 × horizon Gaussian terms, as overlapping labels make them, of a chosen spread between
blocks. It goes through the policy itself: budget, looks, winsorising, block test.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from domain.events import Floats, Target
from domain.market import Horizon, Timeframe
from services.scores.blocks import HORIZONS_PER_BLOCK, Dates, block_ms
from services.scores.challenge import Challenge, next_attempt
from services.scores.promotion import LOOKS, Decision, Verdict, judge_cold_start

DAY_MS = Timeframe.D1.ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A challenger's losses: gain and block spread as shares of the reference's loss."""

    gain: float
    block_spread: float
    horizon: Horizon
    target: Target = Target.DIRECTION


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of the runs ended in a promotion."""

    promoted: int
    runs: int

    @property
    def share(self) -> float:
        return self.promoted / self.runs

    @property
    def low(self) -> float:
        """Lower 95 % bound of the share (Clopper and Pearson 1934)."""
        if not self.promoted:
            return 0.0
        return float(betaincinv(self.promoted, self.runs - self.promoted + 1, 0.05))


def challenge_rate(stream: Stream, days: float, seeds: Iterable[int]) -> Rate:
    """Runs with a promotion within `days`, one challenge after the other."""
    outcomes = [promotion_day(stream, days, seed) is not None for seed in seeds]
    return Rate(sum(outcomes), len(outcomes))


def promotion_curve(
    stream: Stream, days: Sequence[float], seeds: Sequence[int]
) -> dict[float, float]:
    """Share of runs promoted by each of `days`."""
    found = [promotion_day(stream, max(days), seed) for seed in seeds]
    return {day: sum(one is not None and one <= day for one in found) / len(seeds) for day in days}


def cold_start_rate(stream: Stream, attempts: int, blocks: int, seeds: Iterable[int]) -> Rate:
    """Runs in which one of `attempts` fits beats the baseline on a holdout of `blocks`."""
    outcomes = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        verdicts = [
            judge_cold_start(
                simulated_dates(stream, 0, blocks, rng),
                stream.horizon,
                ["challenger"],
                next_attempt(range(tried), promoted=()),
            ).verdict
            for tried in range(attempts)
        ]
        outcomes.append(Verdict.COLD_START in verdicts)
    return Rate(sum(outcomes), len(outcomes))


def searched_rate(
    stream: Stream, trials: int, blocks: int, seeds: Iterable[int], *, seen: bool
) -> Rate:
    """Runs in which the best of `trials` variants beats the baseline on a holdout of `blocks`.

    Args:
        stream: of each variant; they are independent of one another.
        trials: that are counted.
        blocks: of the holdout, and of what the variants are chosen by.
        seeds: one a run.
        seen: choose by the holdout itself, as who searches until it agrees does.
    """
    outcomes = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        judged = [simulated_dates(stream, 0, blocks, rng) for _ in range(trials)]
        chosen_by = judged if seen else [simulated_dates(stream, 0, blocks, rng) for _ in judged]
        best = min(range(trials), key=[one.losses[:, 1].mean() for one in chosen_by].__getitem__)
        counted = {"variant": trials}
        decision = judge_cold_start(judged[best], stream.horizon, ["variant"], 1, trials=counted)
        outcomes.append(decision.verdict is Verdict.COLD_START)
    return Rate(sum(outcomes), len(outcomes))


def promotion_day(stream: Stream, days: float, seed: int) -> float | None:
    """Virtual days until the challenger is promoted, or None."""
    rng = np.random.default_rng(seed)
    end_ms = round(days * DAY_MS)
    begun: list[int] = []
    challenge = _challenge(stream, begun, 0)
    while challenge.due_ms <= end_ms:
        at_ms, decision = _last_look(stream, challenge, end_ms, rng)
        if decision.verdict is Verdict.PROMOTE:
            return at_ms / DAY_MS
        challenge = _challenge(stream, begun, at_ms + stream.horizon.timeframe.ms)
    return None


def _challenge(stream: Stream, begun: list[int], at_ms: int) -> Challenge:
    """The next attempt, begun at `at_ms`; it is added to those `begun`."""
    attempt = next_attempt(begun, promoted=())
    begun.append(at_ms)
    return Challenge(
        target=stream.target,
        horizon=stream.horizon,
        challengers=("challenger",),
        attempt=attempt,
        begun_ms=at_ms,
    )


def _last_look(
    stream: Stream, challenge: Challenge, end_ms: int, rng: np.random.Generator
) -> tuple[int, Decision]:
    """The look that ends the challenge, or the last one by `end_ms`, and its time."""
    first = challenge.first_ms // block_ms(stream.horizon)
    dates = simulated_dates(stream, first, LOOKS[-1], rng)
    while True:
        at_ms = challenge.due_ms
        decision = challenge.look(dates, at_ms)
        following = challenge.after(decision)
        if following is None or following.due_ms > end_ms:
            return at_ms, decision
        challenge = following


def simulated_dates(stream: Stream, begun: int, blocks: int, rng: np.random.Generator) -> Dates:
    """`blocks` blocks of dates from block number `begun` on; column 0 is the reference."""
    terms = HORIZONS_PER_BLOCK * stream.horizon.steps
    n = blocks * terms
    noise = np.convolve(rng.normal(size=n + terms - 1), np.ones(terms), mode="valid")
    # Variance of a block's sum: Σ over lags k of (terms − |k|)².
    sums = terms**2 + 2 * sum(k**2 for k in range(1, terms))
    difference = stream.gain + stream.block_spread * noise * terms / math.sqrt(sums)
    losses: Floats = np.column_stack([np.ones(n), 1.0 - difference])
    step = stream.horizon.timeframe.ms
    as_of_ms = begun * block_ms(stream.horizon) + np.arange(n, dtype=np.int64) * step
    return Dates(as_of_ms=as_of_ms, losses=losses, counts=np.ones(n, dtype=np.int64))
