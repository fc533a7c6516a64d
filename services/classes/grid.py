"""The labels of the last closes, and of each close what was known at it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum

import numpy as np

from domain.classes import NOTHING, Close
from domain.events import Floats, Ints, LabelBatch
from domain.market import Instrument, Timeframe

SLACK = 48  # closes beyond memory and horizon, in which a label may be told late


class Cell(IntEnum):
    """What is kept of an instrument at a close; of each kind `TOLD` + 2 × its position, and 1."""

    KNOWN_MS = 0  # NaN: it had no candle; 0: its label is not known yet
    LOG_RETURN = 1
    REALIZED_VOLATILITY = 2
    TOLD = 3  # class
    REVISION = 4


class LabelGrid:
    """Closes × instruments of one (exchange, timeframe, horizon); the oldest are forgotten.

    Args:
        timeframe: of the closes.
        horizon: candles.
        memory: the longest of those kinds.
        kinds: how many kinds tell classes of it.
    """

    def __init__(self, timeframe: Timeframe, horizon: int, *, memory: int, kinds: int) -> None:
        self._step_ms = timeframe.ms
        self._size = memory + horizon + SLACK
        self._empty = np.array([np.nan, np.nan, np.nan, *([NOTHING, 0] * kinds)])
        self._as_of_ms: Ints = np.full(self._size, -1, dtype=np.int64)
        self._slots: dict[Instrument, int] = {}
        self._recalled: dict[tuple[int, Instrument, int], Sequence[int]] = {}
        self._cells = self._blank(0)

    def promise(self, instruments: Sequence[Instrument], as_of_ms: int) -> None:
        """These have a candle at the close, and will have a label."""
        row = self._row(as_of_ms)
        if row is None:
            return
        columns = self._columns(instruments)
        known = self._cells[Cell.KNOWN_MS, row]
        known[columns] = np.where(np.isnan(known[columns]), 0.0, known[columns])

    def put(self, labels: LabelBatch) -> Iterator[tuple[int, int]]:
        """Keep the labels that are complete; the closes that they are of, and when known."""
        complete = np.flatnonzero(labels.known_ms > 0)
        for as_of_ms in np.unique(labels.as_of_ms[complete]).tolist():
            row = self._row(as_of_ms)
            if row is None:
                continue
            chosen = complete[labels.as_of_ms[complete] == as_of_ms]
            columns = self._columns([labels.instruments[i] for i in chosen.tolist()])
            self._cells[Cell.KNOWN_MS, row, columns] = labels.known_ms[chosen]
            self._cells[Cell.LOG_RETURN, row, columns] = labels.log_return[chosen]
            volatility = labels.realized_volatility[chosen]
            self._cells[Cell.REALIZED_VOLATILITY, row, columns] = volatility
            yield as_of_ms, int(labels.known_ms[chosen].max())

    def close(self, as_of_ms: int, memory: int) -> Close:
        """What a kind with this memory is told of a close that is kept."""
        row = as_of_ms // self._step_ms % self._size
        columns = self._universe(row)
        instruments = self._named(columns)
        now = self._cells[: Cell.TOLD, row][:, columns]
        before = as_of_ms - self._step_ms * np.arange(memory, 0, -1)
        rows = before // self._step_ms % self._size
        past = self._cells[: Cell.TOLD, rows][:, :, columns]
        with np.errstate(invalid="ignore"):
            known_ms = past[Cell.KNOWN_MS]
            known = (known_ms > 0) & (known_ms <= as_of_ms)
        known &= (self._as_of_ms[rows] == before)[:, None]
        return Close(
            instruments=instruments,
            known=now[Cell.KNOWN_MS] > 0,
            log_return=now[Cell.LOG_RETURN],
            realized_volatility=now[Cell.REALIZED_VOLATILITY],
            past_log_return=np.where(known, past[Cell.LOG_RETURN], np.nan),
            past_realized_volatility=np.where(known, past[Cell.REALIZED_VOLATILITY], np.nan),
        )

    def recall(self, told: Mapping[tuple[int, Instrument, int], Sequence[int]]) -> None:
        """Classes that the record has, by revision, of (kind, whose, as_of); told after our state.

        They are what stands once their closes are told again.
        """
        self._recalled = dict(told)

    def enter(self, kind: int, as_of_ms: int, classes: Ints) -> tuple[Ints, Ints, list[int]]:
        """What a kind tells of a close, and which of it is news.

        Returns:
            Positions among the close's instruments, the revisions that they have now, and the
            classes that were told first, by us or before.
        """
        row = as_of_ms // self._step_ms % self._size
        columns = self._universe(row)
        told, revision = self._cells[Cell.TOLD + 2 * kind : Cell.TOLD + 2 * kind + 2, row]
        first: list[int] = []
        for column in columns[classes != NOTHING].tolist() if self._recalled else ():
            key = (kind, self._named(np.array([column]))[0], as_of_ms)
            if not revision[column] and (before := self._recalled.pop(key, None)):
                told[column], revision[column] = before[-1], len(before)
                first.append(before[0])
        news = np.flatnonzero((classes != told[columns]) & (classes != NOTHING))
        told[columns[news]] = classes[news]
        revision[columns[news]] += 1
        now = revision[columns[news]].astype(np.int64)
        return news, now, first + classes[news][now == 1].tolist()

    def _universe(self, row: int) -> Ints:
        """The columns of those who had a candle, in the order of instruments."""
        there = np.flatnonzero(~np.isnan(self._cells[Cell.KNOWN_MS, row]))
        names = self._named(there)
        return there[sorted(range(len(there)), key=names.__getitem__)]

    def _named(self, columns: Ints) -> tuple[Instrument, ...]:
        every = tuple(self._slots)
        return tuple(every[column] for column in columns.tolist())

    def _row(self, as_of_ms: int) -> int | None:
        """The place of a close, made empty where an older one had it; None: it is forgotten."""
        row = as_of_ms // self._step_ms % self._size
        if as_of_ms < self._as_of_ms[row]:
            return None
        if as_of_ms > self._as_of_ms[row]:
            self._as_of_ms[row] = as_of_ms
            self._cells[:, row] = self._empty[:, None]
        return int(row)

    def _columns(self, instruments: Sequence[Instrument]) -> Ints:
        for instrument in instruments:
            self._slots.setdefault(instrument, len(self._slots))
        more = len(self._slots) - self._cells.shape[2]
        if more:
            self._cells = np.concatenate([self._cells, self._blank(more)], axis=2)
        return np.array([self._slots[one] for one in instruments], dtype=np.int64)

    def _blank(self, columns: int) -> Floats:
        shape = (len(self._empty), self._size, columns)
        return np.broadcast_to(self._empty[:, None, None], shape).copy()

    def snapshot(self) -> bytes:
        """The whole state; most of it is alike, and is written once."""
        file = io.BytesIO()
        np.savez_compressed(
            file,
            names=np.array([str(one) for one in self._slots], dtype=str),
            as_of_ms=self._as_of_ms,
            cells=self._cells,
        )
        return file.getvalue()

    def restore(self, state: bytes) -> None:
        """Continue from a snapshot of a grid of the same shape."""
        with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
            names = [Instrument.parse(str(name)) for name in arrays["names"]]
            self._as_of_ms, self._cells = arrays["as_of_ms"], arrays["cells"]
        self._slots = {instrument: slot for slot, instrument in enumerate(names)}
