"""The gate: whether a target's pool has shown enough to be served, or to be listened to.

Rule of `semantics.md`, Targets: direction must prove skill above its baseline, over the last
60 blocks; quantiles and volatility are served until they prove to be worse, over up to 240.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Final

import numpy as np

from domain.events import Floats, OutcomeBatch, Skill, Target
from domain.losses import BASELINES
from domain.market import Horizon, Timeframe
from services.scores.blocks import Blocks, BlockTest, block_means, block_test, no_blocks
from services.scores.paired import PairedLosses

WINDOW: Final = {Target.DIRECTION: 60, Target.QUANTILES: 240, Target.VOLATILITY: 240}  # blocks
FEWEST_BLOCKS = 10
CONFIDENCE = 0.95  # of the one-sided bound that decides
INTERVAL_TAIL = 0.975  # of each side of the interval that is shown


def pool_name(target: Target) -> str:
    return f"pool.{target}"


class Gate:
    """The verdict on one target at one (exchange, timeframe, horizon).

    Where a target has two baselines, the one with the smaller loss so far counts, over the
    blocks that both judged.
    """

    def __init__(self, exchange: str, timeframe: Timeframe, horizon: int, target: Target) -> None:
        self._exchange = exchange
        self._horizon = Horizon(timeframe, horizon)
        self._target = target
        self._names = (pool_name(target), *BASELINES[target])
        self._paired = PairedLosses(exchange, self._horizon, target, self._names)
        self._holdout = self._lived = no_blocks(len(self._names))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the forecasters, in the order of the columns of `Blocks.losses`."""
        return self._names

    def seed_holdout(self, blocks: Blocks) -> None:
        """Blocks of the locked holdout stand in for those before the first one lived.

        Args:
            blocks: columns as `columns`; they replace the holdout given before.
        """
        self._holdout = blocks

    def on_outcomes(self, batch: OutcomeBatch) -> Skill | None:
        """The verdict, when a block closes with this batch."""
        dates = self._paired.add(batch)
        if not len(dates.as_of_ms):
            return None
        fresh = block_means(dates, self._horizon)
        if not len(fresh.numbers):
            return None
        self._lived = self._lived.then(fresh).newest(max(WINDOW.values()))
        return self.verdict(batch.scored_at)

    def verdict(self, at: datetime) -> Skill:
        """How the pool stands at `at`.

        The interval shown is two-sided, the bound that decides one-sided, both 95 %; so a
        target may pass while its interval just includes 0.
        """
        blocks = self._blocks()
        column = self._baseline(blocks)
        paired = np.isfinite(blocks.losses[:, [0, column]]).all(axis=1)
        pool, baseline = blocks.losses[paired][-WINDOW[self._target] :, [0, column]].T
        counts = blocks.counts[paired][-WINDOW[self._target] :]
        test = block_test(baseline - pool)
        scale = float(baseline.mean()) if baseline.any() else math.nan
        low, high = (side / scale for side in test.bounds(INTERVAL_TAIL))
        return Skill(
            exchange=self._exchange,
            timeframe=self._horizon.timeframe,
            horizon=self._horizon.steps,
            target=self._target,
            at=at,
            baseline=self._names[column],
            skill=_finite(test.mean / scale),
            low=_finite(low),
            high=_finite(high),
            blocks=test.count,
            count=int(counts.sum()),
            no_skill=self._fails(test),
        )

    def _fails(self, test: BlockTest) -> bool:
        low, high = test.bounds(CONFIDENCE)
        if test.count < FEWEST_BLOCKS:
            return True
        return low <= 0.0 if self._target is Target.DIRECTION else high < 0.0

    def _blocks(self) -> Blocks:
        lived = self._lived.numbers
        if not len(lived):
            return self._holdout
        earlier = self._holdout.numbers < lived[0]
        return self._holdout.where(earlier).then(self._lived)

    def _baseline(self, blocks: Blocks) -> int:
        shared = np.isfinite(blocks.losses).all(axis=1)
        if not shared.any():
            return 1
        return 1 + int(np.argmin(blocks.losses[shared, 1:].mean(axis=0)))

    def snapshot(self) -> bytes:
        """The whole state; `restore` continues from it bit for bit."""
        state = {
            "names": self._names,
            "paired": self._paired.snapshot(),
            "holdout": _plain(self._holdout),
            "lived": _plain(self._lived),
        }
        return json.dumps(state).encode()

    def restore(self, state: bytes) -> None:
        """Continue from a snapshot of a gate of the same target."""
        found = json.loads(state)
        self._paired.restore(found["paired"])
        self._holdout = _from_plain(found["holdout"], len(self._names))
        self._lived = _from_plain(found["lived"], len(self._names))


def _plain(blocks: Blocks) -> list[list[float]]:
    return [blocks.numbers.tolist(), blocks.losses.ravel().tolist(), blocks.counts.tolist()]


def _from_plain(state: list[list[float]], columns: int) -> Blocks:
    numbers, losses, counts = state
    table: Floats = np.array(losses, dtype=np.float64).reshape(-1, columns)
    return Blocks(
        numbers=np.array(numbers, dtype=np.int64),
        losses=table,
        counts=np.array(counts, dtype=np.int64),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
