"""What every signal policy must do: `policy_checks(KIND)` in a parametrised test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import numpy as np

from alphapulse_testing.check import Check, checks, require
from domain.events import LabelBatch, Origin, PredictionBatch, Role, SignalBatch, Target
from domain.market import Instrument, Timeframe, from_ms, to_ms
from services.signals.kinds import PolicyKind
from services.signals.policy import PolicySettings, SignalPolicy

HORIZON: Final = 4
CLOSES: Final = 60
SETTINGS: Final = PolicySettings(size_cap=0.05)
FIRST: Final = datetime(2025, 3, 1, tzinfo=UTC)
INSTRUMENTS: Final = (
    *(Instrument("walk", f"{base}/USDT") for base in "ABC"),
    *(Instrument("walk", f"{base}/USDT:USDT") for base in "DEF"),
)
HARMFUL: Final = ("stale", "gap", "no_skill.direction")


@dataclass(frozen=True, slots=True)
class Close:
    """What a policy hears at one close, in this order."""

    votes: tuple[PredictionBatch, ...]
    served: PredictionBatch
    labels: LabelBatch


@lru_cache(maxsize=1)
def life() -> tuple[Close, ...]:
    """Forecasts of two members and the row served of them, some unknown or degraded."""
    rng = np.random.default_rng(7)
    return tuple(_close(rng, number) for number in range(CLOSES))


@dataclass
class Deciding:
    """A policy, and what it says of that life."""

    kind: PolicyKind

    @property
    def name(self) -> str:
        return self.kind.name

    def begin(self) -> SignalPolicy:
        return self.kind.begin(horizon=HORIZON, settings=SETTINGS)

    def lived(
        self, policy: SignalPolicy, closes: tuple[Close, ...] = ()
    ) -> Iterator[tuple[PredictionBatch, list[SignalBatch]]]:
        """Each served batch with what is said of it."""
        for close in closes or life():
            for vote in close.votes:
                list(policy.on_predictions(vote))
            yield close.served, list(policy.on_predictions(close.served))
            policy.on_labels(close.labels)


def policy_checks(kind: PolicyKind) -> list[Check]:
    """The suite."""
    return checks(Deciding(kind), OF_POLICIES)


def each_served_row_is_answered_by_one_signal(subject: Deciding) -> None:
    for served, said in subject.lived(subject.begin()):
        require(len(said) == 1, f"{len(said)} batches of signals of one batch of rows")
        batch = said[0]
        require(batch.event == "opened", f"a signal is {batch.event} before it was opened")
        named = tuple(signal.instrument for signal in batch.signals)
        require(named == served.instruments, "signals are of other instruments than the rows")
        for signal in batch.signals:
            place = (signal.timeframe, signal.horizon, signal.as_of_ms)
            require(
                place == (served.timeframe, HORIZON, to_ms(served.as_of)),
                f"a signal of {place}, which was not asked for",
            )


def what_was_not_said_live_opens_nothing(subject: Deciding) -> None:
    for origin in (Origin.LATE, Origin.BACKTEST):
        said = list(subject.begin().on_predictions(replace(life()[0].served, origin=origin)))
        require(not said, f"a row of origin {origin} became a signal")


def a_row_that_is_unknown_or_degraded_is_flat(subject: Deciding) -> None:
    for served, said in subject.lived(subject.begin()):
        known = np.isfinite(served.probabilities).all(axis=1) & np.isfinite(served.volatility)
        for row, signal in enumerate(said[0].signals):
            if served.degraded[row] in HARMFUL or not known[row]:
                words = served.degraded[row] or "unknown"
                require(signal.side == "flat", f"a side is taken on a row that is {words}")


def spot_is_never_short(subject: Deciding) -> None:
    for _, said in subject.lived(subject.begin()):
        short = [s for s in said[0].signals if s.side == "short" and s.instrument.kind == "spot"]
        require(not short, "what is not owned is sold")


def a_flat_signal_says_why_and_stakes_nothing(subject: Deciding) -> None:
    for _, said in subject.lived(subject.begin()):
        for signal in said[0].signals:
            if signal.side == "flat":
                require(signal.gate, "flat, and no gate says why")
                require(signal.status == "flat", f"flat, and {signal.status}")
                require(signal.size_fraction == 0.0, "flat, and something is staked")


def a_side_stakes_no_more_than_the_cap(subject: Deciding) -> None:
    for _, said in subject.lived(subject.begin()):
        for signal in said[0].signals:
            require(signal.side in {"long", "short", "flat"}, f"a side {signal.side!r}")
            require(0.0 <= signal.size_fraction <= SETTINGS.size_cap, "a size beyond the cap")
            if signal.side != "flat":
                require(not signal.gate, f"{signal.side}, and held back by {signal.gate}")
                require(signal.status == "pending", f"opened as {signal.status}")
                require(signal.sigma is not None, "a side without the σ of its barriers")


def the_same_rows_give_the_same_signals(subject: Deciding) -> None:
    runs = [[said for _, said in subject.lived(subject.begin())] for _ in range(2)]
    require(_signals(runs[0]) == _signals(runs[1]), "two runs differ")


def a_snapshot_goes_on_as_if_nothing_had_happened(subject: Deciding) -> None:
    half = CLOSES // 2
    whole, early = subject.begin(), subject.begin()
    list(subject.lived(whole, life()[:half]))
    list(subject.lived(early, life()[:half]))
    later = subject.begin()
    later.restore(early.snapshot())
    for policy in (whole, later):
        require(policy.snapshot() == early.snapshot(), "a snapshot of what was restored differs")
    one = [said for _, said in subject.lived(whole, life()[half:])]
    other = [said for _, said in subject.lived(later, life()[half:])]
    require(_signals(one) == _signals(other), "what was restored decides otherwise")


OF_POLICIES: Final[tuple[Callable[[Deciding], None], ...]] = (
    each_served_row_is_answered_by_one_signal,
    what_was_not_said_live_opens_nothing,
    a_row_that_is_unknown_or_degraded_is_flat,
    spot_is_never_short,
    a_flat_signal_says_why_and_stakes_nothing,
    a_side_stakes_no_more_than_the_cap,
    the_same_rows_give_the_same_signals,
    a_snapshot_goes_on_as_if_nothing_had_happened,
)


def _signals(said: list[list[SignalBatch]]) -> list[str]:
    """As text, in which a strength that is NaN equals another."""
    return [repr(signal) for batches in said for batch in batches for signal in batch.signals]


def _close(rng: np.random.Generator, number: int) -> Close:
    as_of = from_ms(to_ms(FIRST) + number * Timeframe.H1.ms)
    count = len(INSTRUMENTS)
    leans = rng.normal(0, 2, (2, count, 3))
    votes = tuple(
        _batch(as_of, Role.MEMBER, Target.DIRECTION, f"member{place}.direction", _shares(one))
        for place, one in enumerate(leans)
    )
    probabilities = _shares(leans.mean(axis=0))
    volatility = rng.uniform(0.005, 0.05, count)
    unknown = rng.random(count)
    probabilities[unknown < 0.1] = np.nan
    volatility[unknown > 0.9] = np.nan
    spread = np.outer(volatility, (-1.28, 0.0, 1.28))
    served = replace(
        _batch(as_of, Role.CHAMPION, Target.SERVED, "served", probabilities),
        volatility=volatility,
        quantiles=spread,
        degraded=tuple(rng.choice(("", "", "", *HARMFUL), count).tolist()),
    )
    return Close(votes, served, _labels(rng, number))


def _shares(leans: np.ndarray) -> np.ndarray:
    raised = np.exp(leans)
    shares: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return shares


def _batch(
    as_of: datetime, role: Role, target: Target, model: str, probabilities: np.ndarray
) -> PredictionBatch:
    count = len(INSTRUMENTS)
    return PredictionBatch(
        exchange="walk",
        timeframe=Timeframe.H1,
        as_of=as_of,
        instruments=INSTRUMENTS,
        horizon=HORIZON,
        role=role,
        target=target,
        model=model,
        version="1",
        made_at=as_of,
        origin=Origin.LIVE,
        revision=np.ones(count, dtype=np.int64),
        feature_set="ohlcv@1",
        feature_revision=np.ones(count, dtype=np.int64),
        probabilities=probabilities,
        quantiles=np.full((count, 3), np.nan),
        volatility=np.full(count, np.nan),
        degraded=("",) * count,
    )


def _labels(rng: np.random.Generator, number: int) -> LabelBatch:
    """What came true of the rows of a horizon ago; one of ten is void."""
    count = len(INSTRUMENTS)
    as_of_ms = to_ms(FIRST) + (number - HORIZON) * Timeframe.H1.ms
    known_ms = as_of_ms + HORIZON * Timeframe.H1.ms
    void = rng.random(count) < 0.1
    outcome = np.where(void, np.nan, rng.integers(-1, 2, count))
    return LabelBatch(
        exchange="walk",
        timeframe=Timeframe.H1,
        horizon=HORIZON,
        instruments=INSTRUMENTS,
        as_of_ms=np.full(count, as_of_ms),
        revision=np.ones(count, dtype=np.int64),
        direction_known_ms=np.full(count, known_ms),
        known_ms=np.full(count, known_ms),
        outcome=outcome,
        weight=np.where(void, np.nan, 1.0),
        log_return=np.where(void, np.nan, rng.normal(0, 0.02, count)),
        realized_volatility=np.where(void, np.nan, 0.02),
        uniqueness=np.where(void, np.nan, 0.25),
    )
