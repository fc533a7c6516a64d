"""One target's forecast from its members: pooled, calibrated, and beside it the baseline."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np

from domain.events import Floats, LabelBatch, Role, Target
from domain.losses import BASELINES, Answer, deciding_loss
from domain.market import Timeframe
from domain.ports import Model
from services.predictions.pool import (
    HOT_WEIGHT,
    Pool,
    pool_probabilities,
    pool_quantiles,
    pool_volatility,
)

HALF_LIFE: Final = timedelta(days=30)  # of a member's record: a bad month fades in about two
ON_TRIAL: Final = "on trial: "
SCALED: Final = "scaled.quantiles"  # empirical quantiles on the pooled volatility

Blend = Callable[[Sequence[Floats], Floats], Floats]

_BLENDS: Final[Mapping[Target, Blend]] = {
    Target.DIRECTION: pool_probabilities,
    Target.QUANTILES: pool_quantiles,
    Target.VOLATILITY: pool_volatility,
}
# Nats per unit of loss. QLIKE is twice a Gaussian log loss; pinball in units of σ, as an
# asymmetric Laplace log loss, is divided by its own mean, about 0.2.
_RATES: Final = {Target.DIRECTION: 1.0, Target.QUANTILES: 5.0, Target.VOLATILITY: 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A model and the role it plays here."""

    model: Model
    role: Role  # member or challenger

    @property
    def place(self) -> str:
        """Where its forecasts are kept: those of a challenger are in no pool."""
        return self.model.name if self.role is Role.MEMBER else f"{ON_TRIAL}{self.model.name}"


def members_version(members: Mapping[str, str]) -> str:
    """Twelve hex digits that change whenever a member or its version does."""
    text = ",".join(f"{name}={version}" for name, version in sorted(members.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Composition:
    """The members of one target at one horizon, and how they are weighed."""

    def __init__(self, target: Target, *, timeframe: Timeframe, horizon: int) -> None:
        ticks = HALF_LIFE / timeframe.duration
        self.target = target
        self.seats: dict[str, Seat] = {}
        self.pool = Pool(horizon=horizon, discount=0.5 ** (1 / ticks), rate=_RATES[target])

    def take(self, seat: Seat) -> None:
        """Seat a model; a name has one place, as a member or on trial."""
        name = seat.model.name
        self.seats.pop(f"{ON_TRIAL}{name}" if seat.role is Role.MEMBER else name, None)
        self.seats[seat.place] = seat

    def vacate(self, name: str) -> None:
        """Take a model from its seat, or off its trial."""
        self.seats.pop(name, None)
        self.seats.pop(f"{ON_TRIAL}{name}", None)

    def members(self) -> list[str]:
        return [name for name, seat in self.seats.items() if seat.role is Role.MEMBER]

    def hot(self) -> list[str]:
        """Members worth the hot path; baselines always are."""
        members = self.members()
        weights = self.pool.weights(members)
        return [
            name
            for name, weight in zip(members, weights.tolist(), strict=True)
            if weight >= HOT_WEIGHT or name in BASELINES[self.target]
        ]

    def led(self) -> bool:
        """Whether anybody beside the baselines is heard."""
        return any(name not in BASELINES[self.target] for name in self.hot())

    def weight_of(self) -> dict[str, float]:
        """Members' present weights."""
        members = self.members()
        return dict(zip(members, self.pool.weights(members).tolist(), strict=True))

    def blend(self, forecasts: Mapping[str, Floats]) -> Floats:
        """The pool of `forecasts`."""
        names = list(forecasts)
        return _BLENDS[self.target](list(forecasts.values()), self.pool.weights(names))

    def baseline(self) -> str:
        """The baseline that serves below and instead of the pool: the better one so far."""
        names = list(BASELINES[self.target])
        return names[int(np.argmax(self.pool.weights(names)))]

    def versions(self, names: Sequence[str]) -> dict[str, str]:
        return {name: self.seats[name].model.version for name in names if name in self.seats}

    def learn(self, forecasts: Mapping[str, Floats], labels: LabelBatch, scale: Floats) -> None:
        """Weigh the members again by one tick's labels; `scale` is σ as forecast then."""
        names = [*self.members(), *((SCALED,) if self.target is Target.QUANTILES else ())]
        told = [name for name in names if name in forecasts]
        if told:
            losses = self._losses([forecasts[name] for name in told], labels, scale)
            self.pool.learn(dict(zip(told, losses, strict=True)))

    def _losses(
        self, forecasts: Sequence[Floats], labels: LabelBatch, scale: Floats
    ) -> Iterable[Floats]:
        """(n,) for each forecast; all are judged in one go."""
        count = len(forecasts)
        answer = Answer(
            outcome=np.tile(labels.outcome, count),
            log_return=np.tile(labels.log_return, count),
            realized_volatility=np.tile(labels.realized_volatility, count),
        )
        loss = deciding_loss(self.target, np.concatenate(forecasts), answer).reshape(count, -1)
        return loss / scale if self.target is Target.QUANTILES else loss
