"""The feature engine of one exchange and timeframe: live ticks, history, snapshots."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from domain.errors import AlphaPulseError
from domain.events import CandleBatch, FeatureBatch, FeatureSet, Floats, Ints
from domain.market import Instrument, Timeframe, from_ms, rfc3339, to_ms
from services.features import grid
from services.features.feature_set import OHLCV
from services.features.kernel import KernelState, Ticks, advance, find_fault

_STATE_ARRAYS = ("series", "windows", "recursive", "moments", "market", "sections")


class OutOfOrderError(AlphaPulseError):
    """A candle that is not newer than the last of its series, or a tick drawn before.

    A revised candle is answered by walking again from a snapshot before it.
    """


class FeatureEngine:
    """Turns the candles of one exchange and timeframe into feature rows.

    An instrument gets a place at its first candle. State changes only when a call
    returns: a batch that is refused leaves the engine as it was.
    """

    def __init__(self, feature_set: FeatureSet, exchange: str, timeframe: Timeframe) -> None:
        if feature_set is not OHLCV:
            raise ValueError(f"no kernel for the feature set {feature_set.id}; known: {OHLCV.id}")
        self.feature_set = feature_set
        self.exchange = exchange
        self.timeframe = timeframe
        self._slots: dict[str, int] = {}  # by symbol
        self._state = KernelState.empty()
        self._drawn_ms = -1  # as_of of the newest cross-section

    @property
    def as_of(self) -> datetime | None:
        """The newest tick whose cross-section was drawn."""
        return None if self._drawn_ms < 0 else from_ms(self._drawn_ms)

    def on_candles(self, batch: CandleBatch) -> FeatureBatch:
        """The feature rows of one tick; `revision` is 1 and the caller's to replace.

        Raises:
            OutOfOrderError: a candle is not newer than its instrument's last, or the
                batch is not `late` and its tick not newer than the last one.
            ValueError: another exchange or timeframe, a time off the grid, an impossible
                candle, an instrument named twice.
        """
        if batch.exchange != self.exchange or batch.timeframe is not self.timeframe:
            raise ValueError(
                f"a batch of {batch.exchange} {batch.timeframe} came to the engine of "
                f"{self.exchange} {self.timeframe}"
            )
        arrays = (batch.open, batch.high, batch.low, batch.close, batch.volume)
        values, coverage = self.walk(
            instruments=batch.instruments,
            as_of_ms=np.array([to_ms(batch.as_of)]),
            candles=np.stack(arrays, axis=-1)[np.newaxis],
            late=batch.late,
        )
        return FeatureBatch(
            exchange=batch.exchange,
            timeframe=batch.timeframe,
            as_of=batch.as_of,
            instruments=batch.instruments,
            feature_set=self.feature_set,
            values=values[0],
            coverage=coverage[0],
            revision=np.ones(len(batch), dtype=np.int64),
            candle_revision=batch.revision,
            known_at=batch.known_at,
        )

    def walk(
        self,
        *,
        instruments: Sequence[Instrument],
        as_of_ms: Ints,
        candles: Floats,
        late: bool = False,
    ) -> tuple[Floats, Floats]:
        """Many ticks at once, to the bit as if each had come alone.

        Args:
            instruments: (n,) of this exchange.
            as_of_ms: (T,) close times, increasing.
            candles: (T, n, 5) open, high, low, close, volume; all NaN where an instrument
                has no candle.
            late: the cross-sections of these ticks were drawn without these instruments.

        Returns:
            Values (T, n, columns), all NaN where there is no candle, and coverage (T, n).

        Raises:
            OutOfOrderError, ValueError: as `on_candles`.
        """
        as_of_ms = np.require(as_of_ms, np.int64, ["C", "W"])
        self._check_times(as_of_ms, late=late)
        slots, joining = self._find_slots(instruments)
        ticks = Ticks(
            as_of_ms, self.timeframe.ms, slots, np.require(candles, np.float64, ["C", "W"])
        )
        self._check_candles(ticks, instruments)
        self._slots.update(joining)
        if not late and len(as_of_ms):
            self._drawn_ms = int(as_of_ms[-1])
        return advance(self._state, ticks, late=late)

    def _check_times(self, as_of_ms: Ints, *, late: bool) -> None:
        if not len(as_of_ms):
            return
        if (as_of_ms % self.timeframe.ms).any():
            raise ValueError(f"a close time that is off the grid of {self.timeframe}")
        if len(as_of_ms) > 1 and (np.diff(as_of_ms) <= 0).any():
            raise OutOfOrderError("the ticks of a walk must each be newer than the last")
        if not late and as_of_ms[0] <= self._drawn_ms:
            raise OutOfOrderError(
                f"the cross-section of {rfc3339(from_ms(as_of_ms[0]))} is past: the newest is of "
                f"{rfc3339(from_ms(self._drawn_ms))}; what comes after it must be `late`"
            )

    def _find_slots(self, instruments: Sequence[Instrument]) -> tuple[Ints, dict[str, int]]:
        """The slots of `instruments`, and of those among them that are new here."""
        joining: dict[str, int] = {}
        try:
            found = [self._slots[instrument.symbol] for instrument in instruments]
        except KeyError:
            fresh = (i.symbol for i in instruments if i.symbol not in self._slots)
            first = len(self._slots)
            joining = {symbol: first + n for n, symbol in enumerate(dict.fromkeys(fresh))}
            known = self._slots | joining
            found = [known[instrument.symbol] for instrument in instruments]
            if len(known) > self._state.capacity:
                self._state = self._state.resized(max(2 * self._state.capacity, len(known)))
        return np.array(found, dtype=np.int64), joining

    def _check_candles(self, ticks: Ticks, instruments: Sequence[Instrument]) -> None:
        fault = find_fault(self._state, ticks)
        if fault is None:
            return
        where = f"{instruments[fault.column]} {self.timeframe}"
        when = rfc3339(from_ms(ticks.as_of_ms[fault.tick]))
        if fault.kind == grid.OUT_OF_ORDER:
            last = self._state.series["tick"][ticks.slots[fault.column]] * self.timeframe.ms
            raise OutOfOrderError(
                f"{where}: the candle of {when} is not newer than the last one, of "
                f"{rfc3339(from_ms(last))}"
            )
        if fault.kind == grid.REPEATED:
            raise ValueError(f"{where}: named twice in one batch")
        prices = ticks.candles[fault.tick, fault.column].tolist()
        raise ValueError(f"{where}: impossible candle of {when}: {prices}")

    def snapshot(self) -> bytes:
        """The whole state, for `restore`; equal states give equal bytes."""
        used = self._state.resized(len(self._slots))
        file = io.BytesIO()
        np.savez(
            file,
            owner=np.array(self._owner),
            symbols=np.array(list(self._slots), dtype=np.str_),
            drawn_ms=np.array(self._drawn_ms),
            **{name: getattr(used, name) for name in _STATE_ARRAYS},
        )
        return file.getvalue()

    def restore(self, state: bytes) -> None:
        """Continue exactly from `snapshot`'s state.

        Raises:
            ValueError: the state is of another feature set, exchange, timeframe or layout.
        """
        with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
            owner = tuple(arrays["owner"].tolist())
            loaded = KernelState(**{name: arrays[name] for name in _STATE_ARRAYS})
            symbols = arrays["symbols"].tolist()
            drawn_ms = int(arrays["drawn_ms"])
        if owner != self._owner:
            raise ValueError(f"a state of {' '.join(owner)}, not of {' '.join(self._owner)}")
        if loaded.layout != self._state.layout:
            raise ValueError(f"a state of another layout of {self.feature_set.id}")
        self._slots = {symbol: slot for slot, symbol in enumerate(symbols)}
        self._state = loaded
        self._drawn_ms = drawn_ms

    @property
    def _owner(self) -> tuple[str, str, str]:
        return (self.feature_set.id, self.exchange, str(self.timeframe))
