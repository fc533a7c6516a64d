"""Predictions to signals: a side only where probability, cost, interval and agreement allow it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from domain.codec import pack, unpack
from domain.events import (
    Bools,
    Floats,
    LabelBatch,
    Origin,
    PredictionBatch,
    Role,
    Signal,
    SignalBatch,
    Skill,
    Target,
)
from domain.losses import BASELINES
from domain.market import Horizon, to_ms

# A row with one of these, and only these, may still carry a signal.
_HARMLESS = frozenset({"no_skill.quantiles", "no_skill.volatility"})
_FLAT: Final[Mapping[str, Any]] = {"size_fraction": 0.0, "status": "flat"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """What an operator may change of the policy.

    Attributes:
        cost_bps: basis points a side, fees and slippage.
        minimum_strength: of |p_up − p_down|.
        minimum_agreement: share of direction members that must lean to the same side.
        kelly_fraction: of the growth-optimal size that is taken.
        size_cap: largest `size_fraction`.
    """

    cost_bps: float = 10.0
    minimum_strength: float = 0.10
    minimum_agreement: float = 0.5
    kelly_fraction: float = 0.5
    size_cap: float = 0.10

    @property
    def round_trip(self) -> float:
        """Cost of getting in and out, as a log return."""
        return 2 * self.cost_bps / 10_000


class SignalPolicy:
    """One (exchange, timeframe, horizon): each served row becomes a signal, flat or not.

    The thresholds are constants of the settings: none of them is fitted. Another policy overrides
    `gates` and `stake`, and `snapshot` and `restore` where it remembers more than this one.

    Attributes:
        proven: 0–1, the share of a forecast's lean that the record has proven; 0 without one.
    """

    def __init__(self, *, horizon: int, settings: PolicySettings) -> None:
        self.horizon = horizon
        self.settings = settings
        self.proven = 0.0
        self._members: list[PredictionBatch] = []

    def on_skill(self, skill: Skill) -> None:
        """The newest verdict on direction says how much of a lean may be staked on.

        The skill of a log loss is the information that a forecast has beyond its prior, which
        is the rate at which capital grows by it (Kelly 1956). It goes with the square of the
        lean. So a lean of which only the lower 95 % bound is certain is `sqrt(low / skill)`
        of what is said.
        """
        if skill.horizon == self.horizon and skill.target is Target.DIRECTION:
            low, shown = skill.low or 0.0, skill.skill or 0.0
            self.proven = math.sqrt(low / shown) if 0.0 < low <= shown else 0.0

    def on_predictions(self, batch: PredictionBatch) -> Iterable[SignalBatch]:
        """Members' rows are votes; the served rows that follow them are decided on."""
        if batch.horizon != self.horizon or batch.origin is not Origin.LIVE:
            return
        if batch.role is Role.CHAMPION:
            votes = [vote for vote in self._members if vote.as_of == batch.as_of]
            self._members = []
            yield self._decide(batch, votes)
        elif _votes(batch):
            self._members.append(batch)

    def on_labels(self, labels: LabelBatch) -> None:
        """What came true, for a policy that learns from it; used from the next close on."""

    def snapshot(self) -> bytes:
        """What it remembers between ticks."""
        return pack({"proven": self.proven})

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot of a policy of this class."""
        self.proven = float(unpack(data)["proven"])

    def _decide(self, champion: PredictionBatch, members: list[PredictionBatch]) -> SignalBatch:
        lean = _lean(champion)
        gates = self.gates(champion, members, lean)
        as_of_ms = to_ms(champion.as_of)
        expires_ms = to_ms(Horizon(champion.timeframe, self.horizon).ends_at(champion.as_of))
        made_ms = to_ms(champion.made_at)
        rows = zip(
            champion.instruments,
            gates,
            _sides(lean, gates),
            np.abs(lean).tolist(),
            champion.revision.tolist(),
            strict=True,
        )
        signals = tuple(
            Signal(
                instrument=instrument,
                timeframe=champion.timeframe,
                horizon=self.horizon,
                as_of_ms=as_of_ms,
                revision=revision,
                side=side,
                strength=strength,
                gate=gate,
                expires_ms=expires_ms,
                model=champion.model,
                version=champion.version,
                made_ms=made_ms,
                **(_FLAT if gate else self.stake(champion, members, row)),
            )
            for row, (instrument, gate, side, strength, revision) in enumerate(rows)
        )
        return SignalBatch(
            exchange=champion.exchange,
            timeframe=champion.timeframe,
            as_of=champion.as_of,
            instruments=champion.instruments,
            event="opened",
            signals=signals,
        )

    def gates(
        self, champion: PredictionBatch, members: list[PredictionBatch], lean: Floats
    ) -> list[str]:
        """The first gate that holds each row back; "" where none does.

        Called once for each served batch.

        Args:
            champion: the served rows.
            members: the votes on direction of that close.
            lean: (n,) p_up − p_down of the served rows.
        """
        settings = self.settings
        barrier, outer = self.barriers(champion), favourable(champion, lean)
        spot = np.array([i.kind == "spot" for i in champion.instruments])
        blocked: Mapping[str, Bools] = {
            "unknown": ~np.isfinite(lean) | ~np.isfinite(barrier) | ~np.isfinite(outer),
            "probability": ~(np.abs(lean) >= settings.minimum_strength),
            "cost": ~(np.abs(lean) * barrier > settings.round_trip),
            "interval": ~(outer > settings.round_trip),
            "agreement": agreement(members, lean) < settings.minimum_agreement,
            "spot_short": spot & (lean < 0),
        }
        harm = {codes: _harm(codes) for codes in set(champion.degraded)}
        gates = [harm[codes] for codes in champion.degraded]
        for gate, rows in blocked.items():
            for row in np.flatnonzero(rows):
                gates[row] = gates[row] or gate
        return gates

    def barriers(self, champion: PredictionBatch) -> Floats:
        """(n,) distance of stop and take-profit from the entry, as log returns."""
        return np.maximum(champion.volatility, 2 * self.settings.round_trip)

    def stake(
        self, champion: PredictionBatch, members: list[PredictionBatch], row: int
    ) -> dict[str, Any]:
        """What is staked on row `row`, on what grounds.

        A signal gains or loses the distance b of its barriers, or neither, with the
        probabilities of the row: a mean of lean · b less the costs, a variance of
        (p_up + p_down) · b². The size is `kelly_fraction` of mean over variance, which is
        growth-optimal where both are small (Thorp 2006, «The Kelly criterion in blackjack,
        sports betting and the stock market», 7), of the mean that is left when only the proven
        share of the lean is believed; no less than 0, no more than `size_cap`.
        """
        settings = self.settings
        down, _, up = champion.probabilities[row].tolist()
        sigma = float(champion.volatility[row])
        barrier = max(sigma, 2 * settings.round_trip)
        proven = self.proven * abs(up - down) * barrier - settings.round_trip
        size = settings.kelly_fraction * proven / ((up + down) * barrier**2)
        votes = sorted((m.model, _lean(m)[row].item()) for m in members)
        return {
            "size_fraction": min(max(size, 0.0), settings.size_cap),
            "status": "pending",
            "sigma": sigma,
            "expected_edge_bps": 1e4 * (abs(up - down) * barrier - settings.round_trip),
            "votes": tuple(votes),
        }


def _votes(batch: PredictionBatch) -> bool:
    """Whether these rows have a say: a direction member's, but not the prior's."""
    member = batch.role is Role.MEMBER and batch.target is Target.DIRECTION
    return member and batch.model not in BASELINES[Target.DIRECTION]


def _lean(batch: PredictionBatch) -> Floats:
    """(n,) p_up − p_down."""
    lean: Floats = batch.probabilities[:, 2] - batch.probabilities[:, 0]
    return lean


def _harm(degraded: str) -> str:
    """The first degradation code that forbids a signal."""
    codes = [code for code in degraded.split(",") if code and code not in _HARMLESS]
    return codes[0] if codes else ""


def favourable(champion: PredictionBatch, lean: Floats) -> Floats:
    """(n,) log return at the outer quantile of the side that each row leans to."""
    return np.where(lean > 0, champion.quantiles[:, 2], -champion.quantiles[:, 0])


def _sides(lean: Floats, gates: list[str]) -> list[str]:
    return [
        "flat" if gate else ("long" if value > 0 else "short")
        for value, gate in zip(lean.tolist(), gates, strict=True)
    ]


def agreement(members: list[PredictionBatch], lean: Floats) -> Floats:
    """(n,) share of the members that lean the way of `lean`; 1 where none was asked."""
    if not members:
        return np.ones(len(lean))
    leans = np.stack([_lean(member) for member in members])
    judged = np.isfinite(leans)
    agree = (np.sign(leans) == np.sign(lean)) & judged
    return np.asarray(agree.sum(axis=0) / np.maximum(judged.sum(axis=0), 1))
