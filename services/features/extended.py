"""The engine of a set that stands beside the release's: the kernels, then its own columns."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import numpy as np

from domain.events import Floats, Ints
from domain.market import Instrument, Timeframe
from services.features.engine import FeatureEngine
from services.features.feature_set import OHLCV
from services.features.grid import LONGEST_HOLE
from services.features.kinds import CandleKind, CandleSet

PRICES: Final = 5  # open, high, low, close, volume


def begin(of: CandleSet, exchange: str, timeframe: Timeframe) -> FeatureEngine:
    """An engine of the set, which has seen nothing."""
    if of.kind is None:
        return FeatureEngine(of.feature_set, exchange, timeframe)
    return ExtendedEngine(of, of.kind, exchange, timeframe)


class ExtendedEngine(FeatureEngine):
    """Rows of a `CandleKind`. A series that starts anew in the kernels starts anew here."""

    def __init__(
        self, of: CandleSet, kind: CandleKind, exchange: str, timeframe: Timeframe
    ) -> None:
        super().__init__(OHLCV, exchange, timeframe)
        self.feature_set = of.feature_set
        self._kind = kind
        taken = [name for name in OHLCV.columns if name not in kind.without]
        self._taken = np.array([OHLCV.columns.index(name) for name in taken], dtype=np.int64)
        self._seen = np.empty((0, kind.candles, PRICES))  # by slot, the newest last
        self._ticks = np.empty(0, dtype=np.int64)  # of the newest, by slot

    def walk(
        self,
        *,
        instruments: Sequence[Instrument],
        as_of_ms: Ints,
        candles: Floats,
        late: bool = False,
    ) -> tuple[Floats, Floats]:
        """See `FeatureEngine.walk`."""
        values, coverage = super().walk(
            instruments=instruments, as_of_ms=as_of_ms, candles=candles, late=late
        )
        slots, _ = self._find_slots(instruments)
        self._make_room()
        own = np.full((*values.shape[:2], len(self._kind.adds)), np.nan)
        for tick, as_of in enumerate(np.asarray(as_of_ms).tolist()):
            present = np.flatnonzero(~np.isnan(candles[tick, :, 3]))
            if len(present):
                seen = self._push(slots[present], as_of, candles[tick, present])
                own[tick, present] = self._computed(seen)
        return np.concatenate((values[..., self._taken], own), axis=-1), coverage

    def _make_room(self) -> None:
        more = len(self._slots) - len(self._ticks)
        if more:
            unseen = np.full((more, *self._seen.shape[1:]), np.nan)
            self._seen = np.concatenate((self._seen, unseen))
            self._ticks = np.concatenate((self._ticks, np.zeros(more, dtype=np.int64)))

    def _push(self, slots: Ints, as_of_ms: int, candles: Floats) -> Floats:
        """What is seen of each with its new candle (n, candles, 5), a copy."""
        tick = as_of_ms // self.timeframe.ms
        seen = self._seen[slots]
        seen[tick - self._ticks[slots] > LONGEST_HOLE + 1] = np.nan
        seen[:, :-1] = seen[:, 1:].copy()
        seen[:, -1] = candles
        self._seen[slots], self._ticks[slots] = seen, tick
        return seen

    def _computed(self, seen: Floats) -> Floats:
        made = np.asarray(self._kind.compute(seen), dtype=np.float64)
        if made.shape != (len(seen), len(self._kind.adds)):
            raise ValueError(
                f"{self.feature_set.id} makes {made.shape} of {len(seen)} rows of candles"
            )
        return np.where(np.isfinite(made), made, np.nan)

    def snapshot(self) -> bytes:
        """See `FeatureEngine.snapshot`."""
        kernels = np.frombuffer(super().snapshot(), dtype=np.uint8)
        file = io.BytesIO()
        np.savez(file, kernels=kernels, seen=self._seen, ticks=self._ticks)
        return file.getvalue()

    def restore(self, state: bytes) -> None:
        """See `FeatureEngine.restore`."""
        with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
            kernels, seen, ticks = (arrays[name] for name in ("kernels", "seen", "ticks"))
        if seen.shape[1:] != self._seen.shape[1:]:
            raise ValueError(f"a state of another layout of {self.feature_set.id}")
        super().restore(kernels.tobytes())
        self._seen, self._ticks = seen, ticks
