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
from services.scores.challenge import Challenge, ErrorBudget
from services.scores.promotion import LOOKS, Verdict, judge_cold_start

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
        budget = ErrorBudget()
        verdicts = [
            judge_cold_start(
                simulated_dates(stream, 0, blocks, rng),
                stream.horizon,
                ["challenger"],
                budget.spend(stream.target, stream.horizon),
            ).verdict
            for _ in range(attempts)
        ]
        outcomes.append(Verdict.COLD_START in verdicts)
    return Rate(sum(outcomes), len(outcomes))


def promotion_day(stream: Stream, days: float, seed: int) -> float | None:
    """Virtual days until the challenger is promoted, or None."""
    rng = np.random.default_rng(seed)
    budget = ErrorBudget()
    block_days = block_ms(stream.horizon) / DAY_MS
    begun = 0  # blocks
    while (begun + LOOKS[0]) * block_days <= days:
        attempt = budget.spend(stream.target, stream.horizon)
        taken, promoted = _challenge(stream, begun, attempt, rng)
        begun += taken
        if promoted:
            return begun * block_days if begun * block_days <= days else None
    return None


def _challenge(
    stream: Stream, begun: int, attempt: int, rng: np.random.Generator
) -> tuple[int, bool]:
    """(blocks taken, promoted) of one challenge."""
    challenge = Challenge(
        "simulated", stream.horizon, stream.target, "champion", ["challenger"], attempt
    )
    dates = simulated_dates(stream, begun, LOOKS[-1], rng)
    per_block = HORIZONS_PER_BLOCK * stream.horizon.steps
    before = 0
    for blocks in LOOKS:
        challenge.extend(_between(dates, before * per_block, blocks * per_block))
        decision = challenge.look()
        before = blocks
        if decision.verdict is not Verdict.KEEP:
            return blocks, decision.verdict is Verdict.PROMOTE
    return before, False


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


def _between(dates: Dates, first: int, last: int) -> Dates:
    return Dates(
        as_of_ms=dates.as_of_ms[first:last],
        losses=dates.losses[first:last],
        counts=dates.counts[first:last],
    )
