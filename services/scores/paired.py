"""Gathers the outcomes of a few forecasters until a block of time is closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from domain.events import LOSSES, Origin, OutcomeBatch, Role, Target
from domain.losses import LOSS_OF
from domain.market import Horizon
from services.scores.blocks import Dates, block_ms


class PairedLosses:
    """Live losses of `forecasters`, pooled over the instruments that they share, by date.

    Args:
        exchange: whose outcomes.
        horizon: of the predictions.
        target: decides which loss.
        forecasters: names of those who serve or are part of it; the columns of the result.
    """

    def __init__(
        self, exchange: str, horizon: Horizon, target: Target, forecasters: Sequence[str]
    ) -> None:
        self._subject = (exchange, horizon.timeframe, horizon.steps)
        self._block_ms = block_ms(horizon)
        self._column = LOSSES.index(LOSS_OF[target])
        self._forecasters = tuple(forecasters)
        self._open: dict[int, list[dict[str, float]]] = {}  # as_of → per forecaster: symbol → loss
        self._closed_ms = 0  # everything before it was given out
        self._none = self._dates([])

    def add(self, batch: OutcomeBatch) -> Dates:
        """The dates of the blocks that end with the coming of this batch; mostly none."""
        if (batch.exchange, batch.timeframe, batch.horizon) != self._subject:
            return self._none
        if batch.origin is not Origin.LIVE or not len(batch):
            return self._none
        if batch.role is Role.CHALLENGER or batch.model not in self._forecasters:
            return self._none
        self._keep(batch, self._forecasters.index(batch.model))
        return self._close(int(batch.as_of_ms.max()))

    def _keep(self, batch: OutcomeBatch, column: int) -> None:
        losses = batch.losses[:, self._column]
        known = np.isfinite(losses) & (batch.as_of_ms >= self._closed_ms)
        rows = zip(
            batch.as_of_ms.tolist(), batch.instruments, losses.tolist(), known.tolist(), strict=True
        )
        for as_of_ms, instrument, loss, counts in rows:
            if not counts:
                continue
            if as_of_ms not in self._open:
                self._open[as_of_ms] = [{} for _ in self._forecasters]
            self._open[as_of_ms][column].setdefault(instrument.symbol, loss)

    def _close(self, newest_ms: int) -> Dates:
        begun_ms = newest_ms - newest_ms % self._block_ms
        self._closed_ms = max(self._closed_ms, begun_ms)
        if min(self._open, default=begun_ms) >= begun_ms:
            return self._none
        return self._dates(sorted(as_of for as_of in self._open if as_of < begun_ms))

    def _dates(self, closing: list[int]) -> Dates:
        losses = np.full((len(closing), len(self._forecasters)), np.nan)
        counts = np.zeros(len(closing), dtype=np.int64)
        for row, as_of_ms in enumerate(closing):
            said = self._open.pop(as_of_ms)
            shared = sorted(set.intersection(*(set(one) for one in said if one)))
            counts[row] = len(shared)
            for column, one in enumerate(said):
                if one and shared:
                    losses[row, column] = np.mean([one[symbol] for symbol in shared])
        return Dates(as_of_ms=np.array(closing, dtype=np.int64), losses=losses, counts=counts)

    def snapshot(self) -> dict[str, Any]:
        """The state as plain values, for JSON."""
        return {"open": sorted(self._open.items()), "closed_ms": self._closed_ms}

    def restore(self, state: dict[str, Any]) -> None:
        self._open = {int(as_of): said for as_of, said in state["open"]}
        self._closed_ms = state["closed_ms"]
