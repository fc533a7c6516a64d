"""The state of the policy: attempts made so far, and the challenge that is in the shadow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from domain.events import OutcomeBatch, Target
from domain.market import Horizon
from services.scores.blocks import Dates, block_means
from services.scores.paired import Forecaster, PairedLosses
from services.scores.promotion import LOOKS, Decision, Verdict, attempt_alpha, judge_look, measure


class ErrorBudget:
    """Attempts since the last promotion, for each (target, timeframe, horizon)."""

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {}

    def spend(self, target: Target, horizon: Horizon) -> int:
        """The number of the attempt that begins now, from 1."""
        key = f"{target}:{horizon}"
        self._attempts[key] = self._attempts.get(key, 0) + 1
        return self._attempts[key]

    def promoted(self, target: Target, horizon: Horizon) -> None:
        """The next attempt is the first again."""
        self._attempts.pop(f"{target}:{horizon}", None)

    def left(self, target: Target, horizon: Horizon) -> float:
        """What the next attempt may spend."""
        return attempt_alpha(self._attempts.get(f"{target}:{horizon}", 0) + 1)

    def snapshot(self) -> bytes:
        return json.dumps(self._attempts, sort_keys=True).encode()

    def restore(self, state: bytes) -> None:
        self._attempts = json.loads(state)


class Challenge:
    """Challengers of one target in the shadow of a champion, looked at three times.

    Args:
        exchange: whose outcomes.
        horizon: of the predictions.
        target: decides the loss and the margin.
        champion: model name of the forecaster that sits.
        challengers: model names of those on trial; refreshes of them continue the shadow.
        attempt: from `ErrorBudget.spend`.
    """

    def __init__(
        self,
        exchange: str,
        horizon: Horizon,
        target: Target,
        champion: str,
        challengers: Sequence[str],
        attempt: int,
    ) -> None:
        self._horizon = horizon
        self._target = target
        self._models = tuple(challengers)
        self._attempt = attempt
        trial = [Forecaster(name, on_trial=True) for name in challengers]
        forecasters = [Forecaster(champion), *trial]
        self._paired = PairedLosses(exchange, horizon, target, forecasters)
        self._dates = _no_dates(len(forecasters))
        self._blocks = 0
        self._look = 0

    def seed_holdout(self, dates: Dates) -> None:
        """For long horizons: the locked holdout counts as the beginning of the shadow.

        Args:
            dates: column 0 the champion, then the challengers.
        """
        self._dates = _joined(dates, self._dates)
        self._blocks += len(block_means(dates, self._horizon).numbers)

    def on_outcomes(self, batch: OutcomeBatch) -> bool:
        """Whether a look is due: call `look`."""
        dates = self._paired.add(batch)
        if not len(dates.as_of_ms):
            return False
        return self.extend(dates)

    def extend(self, dates: Dates) -> bool:
        """The same for closed blocks of dates."""
        self._dates = _joined(self._dates, dates)
        self._blocks += len(block_means(dates, self._horizon).numbers)
        return self.due

    @property
    def blocks(self) -> int:
        """Blocks in the shadow so far."""
        return self._blocks

    @property
    def due(self) -> bool:
        """Whether the next look's number of blocks, fixed in advance, is reached."""
        return self._look < len(LOOKS) and self.blocks >= LOOKS[self._look]

    def look(self, failed: Mapping[str, Sequence[str]] | None = None) -> Decision:
        """The decision of the look that is due.

        Args:
            failed: guardrails that each challenger failed, in words.

        Raises:
            ValueError: no look is due.
        """
        if not self.due:
            raise ValueError(f"the shadow has {self.blocks} blocks: no look is due")
        gains = measure(self._dates, self._horizon, self._models)
        decision = judge_look(gains, self._target, self._look, self._attempt, failed)
        over = decision.verdict is not Verdict.KEEP
        self._look = len(LOOKS) if over else self._look + 1
        return decision

    def snapshot(self) -> bytes:
        """What `restore` of a challenge made with the same arguments continues from."""
        state: dict[str, Any] = {
            "paired": self._paired.snapshot(),
            "as_of_ms": self._dates.as_of_ms.tolist(),
            "losses": self._dates.losses.tolist(),
            "counts": self._dates.counts.tolist(),
            "blocks": self._blocks,
            "look": self._look,
        }
        return json.dumps(state).encode()

    def restore(self, state: bytes) -> None:
        found = json.loads(state)
        self._paired.restore(found["paired"])
        columns = len(self._models) + 1
        self._dates = Dates(
            as_of_ms=np.array(found["as_of_ms"], dtype=np.int64),
            losses=np.array(found["losses"], dtype=np.float64).reshape(-1, columns),
            counts=np.array(found["counts"], dtype=np.int64),
        )
        self._blocks, self._look = found["blocks"], found["look"]


def _no_dates(columns: int) -> Dates:
    none = np.empty(0, dtype=np.int64)
    return Dates(as_of_ms=none, losses=np.empty((0, columns)), counts=none)


def _joined(before: Dates, after: Dates) -> Dates:
    return Dates(
        as_of_ms=np.concatenate([before.as_of_ms, after.as_of_ms]),
        losses=np.concatenate([before.losses, after.losses]),
        counts=np.concatenate([before.counts, after.counts]),
    )
