"""Closed candles to labels: what came true of every earlier close.

One step works on all instruments of the tick and all their labels at once.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np

from domain.events import Bools, CandleBatch, Floats, Ints, LabelBatch, Source
from domain.market import Instrument, Timeframe, to_ms
from services.labels.barriers import WARMUP_RETURNS, barrier_width, squared_mean, touches
from services.labels.state import Past, Pending, no_past, no_pending

LABEL_SET = "direction@1"
# What a touch says, and all that a label is made of; not the times when that was known.
_DIRECTION = (Pending.AS_OF_MS, Pending.OUTCOME, Pending.WEIGHT, Pending.UNIQUENESS)
_FACTS = (
    *(Pending.CLOSE, Pending.WIDTH, Pending.UPPER, Pending.LOWER),
    *(Pending.SQUARES, Pending.VOID),
)
LONGEST_HOLE = 3  # candles; after more the volatility starts anew, as features do


class Labeller:
    """Labels of one (exchange, timeframe, horizon).

    Args:
        exchange: whose candles.
        timeframe: of the candles and of the highs and lows that touch a barrier.
        horizon: candles.
        cost_bps: of one side, in basis points.

    A hole is known when the instrument's next candle comes: every label across it is void.
    A candle no newer than the instrument's newest is not looked at, nor one without
    finite positive prices: when a gap was filled or a candle revised, run a new labeller over
    the history and go on with `corrected`.
    """

    def __init__(
        self, exchange: str, timeframe: Timeframe, horizon: int, cost_bps: float = 10.0
    ) -> None:
        self._exchange = exchange
        self._timeframe = timeframe
        self._step_ms = timeframe.ms
        self._horizon = horizon
        self._cost_bps = cost_bps
        self._slots: dict[Instrument, int] = {}
        self._past = no_past(0)
        self._cells = no_pending(horizon, 0)
        self._members: tuple[Instrument, ...] = ()
        self._rows: Ints = np.empty(0, dtype=np.int64)
        self._revised: dict[tuple[Instrument, int], int] = {}  # (whose, as_of) → its revision

    def on_candles(self, batch: CandleBatch) -> list[LabelBatch]:
        """Labels touched and labels completed by this tick, in that order; none: no batch.

        Rows are ordered by (known_ms, as_of_ms, instrument). `revision` is 1 unless a
        candle was revised after the row's touch was told.
        """
        if (batch.exchange, batch.timeframe) != (self._exchange, self._timeframe):
            return []
        rows = self._rows_of(batch.instruments)
        ohlc = np.stack([batch.open, batch.high, batch.low, batch.close])
        usable = np.isfinite(ohlc).all(axis=0) & (ohlc > 0).all(axis=0)
        fresh = usable & ~(self._past[Past.LAST_MS, rows] >= to_ms(batch.as_of))
        whole = bool(fresh.all()) and len(rows) == len(self._slots) and _counts_up(rows)
        chosen: slice | Ints = slice(None) if whole else rows[fresh]
        past, cells = self._past[:, chosen], self._cells[:, :, chosen]
        ohlc = ohlc if whole else ohlc[:, fresh]
        instruments = batch.instruments if whole else _take(batch.instruments, fresh)
        filled = to_ms(batch.known_at) if batch.source is Source.REPAIR else 0

        labels = self._advance(past, cells, ohlc, (to_ms(batch.as_of), filled), instruments)
        self._past[:, chosen], self._cells[:, :, chosen] = past, cells
        return labels

    def _advance(
        self,
        past: Floats,
        cells: Floats,
        ohlc: Floats,
        times: tuple[int, int],
        instruments: tuple[Instrument, ...],
    ) -> list[LabelBatch]:
        now, filled = times
        gap = now - past[Past.LAST_MS] > self._step_ms
        squares = np.where(gap, np.nan, np.log(ohlc[3] / past[Past.CLOSE]) ** 2)
        if filled:
            np.maximum(cells[Pending.FILLED_MS], filled, out=cells[Pending.FILLED_MS])
        if gap.any():
            cells[Pending.VOID, :, gap] = 1.0
        cells[Pending.SQUARES] += np.where(np.isnan(squares), 0.0, squares)
        self._enter(cells, ohlc[0], now)
        touched = self._touch(cells, ohlc, now)
        done = cells[Pending.AS_OF_MS] <= now - self._horizon * self._step_ms
        batches = []
        if (early := touched & ~done).any():
            batches.append(self._touched(cells, early, instruments))
        if done.any():
            self._complete(cells, done, now)
            batches.append(self._completed(cells, done, ohlc[3], instruments))
            cells[Pending.AS_OF_MS][done] = np.nan
        self._remember(past, ohlc[3], squares, now)
        self._ask(cells, past, now, filled)
        return batches

    def _enter(self, cells: Floats, opened: Floats, now: int) -> None:
        """Set the barriers of the labels whose next candle this is, around its open."""
        newest = (now // self._step_ms - 1) % self._horizon
        width = cells[Pending.WIDTH, newest]
        cells[Pending.UPPER, newest] = opened * np.exp(width)
        cells[Pending.LOWER, newest] = opened * np.exp(-width)

    def _touch(self, cells: Floats, ohlc: Floats, now: int) -> Bools:
        active = (cells[Pending.TOUCHED_MS] == 0) & (cells[Pending.VOID] == 0)
        active &= ~np.isnan(cells[Pending.AS_OF_MS])
        cells[Pending.UNIQUENESS] += active / np.maximum(active.sum(axis=0), 1)
        up, down = touches(ohlc[1], ohlc[2], cells[Pending.UPPER], cells[Pending.LOWER])
        touched: Bools = active & (up | down)
        if touched.any():
            cells[Pending.OUTCOME][touched] = up[touched].astype(float) - down[touched]
            cells[Pending.WEIGHT][touched] = 1.0 - (up & down)[touched]
            self._settle(cells, touched, now)
        return touched

    def _complete(self, cells: Floats, done: Bools, now: int) -> None:
        """Settle what no barrier stopped, and void what a hole took."""
        void = done & (cells[Pending.VOID] == 1)
        if void.any():
            self._void(cells, void)
        quiet = done & ~void & (cells[Pending.TOUCHED_MS] == 0)
        directed = ~np.isnan(cells[Pending.WIDTH][quiet])
        cells[Pending.OUTCOME][quiet] = np.where(directed, 0.0, np.nan)
        cells[Pending.WEIGHT][quiet] = np.where(directed, 1.0, np.nan)
        self._settle(cells, quiet, now)

    def _void(self, cells: Floats, void: Bools) -> None:
        ends = cells[Pending.AS_OF_MS] + self._horizon * self._step_ms
        cells[Pending.TOUCHED_MS][void] = ends[void]
        for unknown in (Pending.OUTCOME, Pending.WEIGHT, Pending.SQUARES, Pending.UNIQUENESS):
            cells[unknown][void] = np.nan
        cells[Pending.CLOSE][void] = np.nan
        cells[Pending.FILLED_MS][void] = 0.0

    def _settle(self, cells: Floats, settled: Bools, now: int) -> None:
        """The direction of these is known from this close on, or from a later repair."""
        life = (now - cells[Pending.AS_OF_MS][settled]) / self._step_ms
        cells[Pending.UNIQUENESS][settled] /= life
        cells[Pending.TOUCHED_MS][settled] = np.maximum(cells[Pending.FILLED_MS][settled], now)

    def _remember(self, past: Floats, close: Floats, squares: Floats, now: int) -> None:
        restart = now - past[Past.LAST_MS] > (LONGEST_HOLE + 1) * self._step_ms
        past[Past.TOTAL :, restart] = 0.0
        past[Past.TOTAL], past[Past.WEIGHT] = squared_mean(
            past[Past.TOTAL], past[Past.WEIGHT], squares
        )
        past[Past.RETURNS] += ~np.isnan(squares)
        past[Past.LAST_MS], past[Past.CLOSE] = now, close

    def _ask(self, cells: Floats, past: Floats, now: int, filled: int) -> None:
        """Open the label of this close."""
        total = np.where(past[Past.RETURNS] >= WARMUP_RETURNS, past[Past.TOTAL], np.nan)
        volatility = np.sqrt(total / past[Past.WEIGHT])
        opened = cells[:, now // self._step_ms % self._horizon]
        opened[:] = 0.0
        opened[Pending.AS_OF_MS], opened[Pending.CLOSE] = now, past[Past.CLOSE]
        opened[Pending.WIDTH] = barrier_width(volatility, self._horizon, self._cost_bps)
        opened[Pending.UPPER : Pending.LOWER + 1] = np.nan
        opened[Pending.OUTCOME : Pending.WEIGHT + 1] = np.nan
        opened[Pending.FILLED_MS] = filled

    def _touched(
        self, cells: Floats, where: Bools, instruments: tuple[Instrument, ...]
    ) -> LabelBatch:
        label, column = _ordered(where, cells[Pending.TOUCHED_MS], cells[Pending.AS_OF_MS])
        unknown = np.full(len(label), np.nan)
        never = np.zeros(len(label), dtype=np.int64)
        rows = cells[:, label, column]
        rows[Pending.UNIQUENESS, rows[Pending.TOUCHED_MS] == 0] = np.nan
        return self._batch(rows, _take(instruments, column), never, (unknown, unknown))

    def _completed(
        self, cells: Floats, where: Bools, close: Floats, instruments: tuple[Instrument, ...]
    ) -> LabelBatch:
        ends = cells[Pending.AS_OF_MS] + self._horizon * self._step_ms
        label, column = _ordered(where, np.maximum(ends, cells[Pending.FILLED_MS]), ends)
        rows = cells[:, label, column]
        returns = np.log(close[column] / rows[Pending.CLOSE])
        volatility = np.sqrt(rows[Pending.SQUARES])
        known_ms = np.maximum(ends[label, column], rows[Pending.FILLED_MS]).astype(np.int64)
        batch = self._batch(rows, _take(instruments, column), known_ms, (returns, volatility))
        if self._revised:
            for key in zip(batch.instruments, batch.as_of_ms.tolist(), strict=True):
                self._revised.pop(key, None)
        return batch

    def _batch(
        self,
        rows: Floats,
        instruments: tuple[Instrument, ...],
        known_ms: Ints,
        answers: tuple[Floats, Floats],
    ) -> LabelBatch:
        as_of_ms = rows[Pending.AS_OF_MS].astype(np.int64)
        revision = np.ones(len(instruments), dtype=np.int64)
        if self._revised:
            keys = zip(instruments, as_of_ms.tolist(), strict=True)
            revision[:] = [self._revised.get(key, 1) for key in keys]
        return LabelBatch(
            exchange=self._exchange,
            timeframe=self._timeframe,
            horizon=self._horizon,
            instruments=instruments,
            as_of_ms=as_of_ms,
            revision=revision,
            direction_known_ms=rows[Pending.TOUCHED_MS].astype(np.int64),
            known_ms=known_ms,
            outcome=rows[Pending.OUTCOME],
            weight=rows[Pending.WEIGHT],
            log_return=answers[0],
            realized_volatility=answers[1],
            uniqueness=rows[Pending.UNIQUENESS],
        )

    def corrected(self, walked: Labeller, at_ms: int) -> tuple[Labeller, list[LabelBatch]]:
        """Go on from a labeller that walked over the candles as they are known now.

        What rests on a candle that this one did not see is known from `at_ms` on, not before.

        Args:
            walked: over the same ticks, with the corrected candles; given up to the result.
            at_ms: when the correction came.

        Returns:
            The labeller to go on with, and the touches to tell at once. One that was told
            otherwise has the next revision; NaN and 0 where no barrier is touched any more.
        """
        now, past = walked._cells, self._beside(walked)
        touched, told = now[Pending.TOUCHED_MS] > 0, past[Pending.TOUCHED_MS] > 0
        label = ~np.isnan(now[Pending.AS_OF_MS])
        alike = label & _equal(now, past, _DIRECTION) & (touched == told)
        equal = alike & _equal(now, past, _FACTS)
        now[Pending.TOUCHED_MS] = np.where(
            alike, past[Pending.TOUCHED_MS], np.where(touched, at_ms, 0.0)
        )
        now[Pending.FILLED_MS] = np.where(equal, past[Pending.FILLED_MS], at_ms)
        walked._revised = dict(self._revised)
        again = label & ~alike & told
        instruments = tuple(walked._slots)
        for position, column in np.argwhere(again).tolist():
            key = (instruments[column], int(now[Pending.AS_OF_MS, position, column]))
            walked._revised[key] = walked._revised.get(key, 1) + 1
        news = again | (label & ~alike & touched)
        return walked, [walked._touched(now, news, instruments)] if news.any() else []

    def agree(
        self, told: Mapping[tuple[Instrument, int], tuple[int, Floats]], at_ms: int
    ) -> list[LabelBatch]:
        """Go on after what was told of our incomplete labels by one that saw other candles.

        Args:
            told: by instrument and as_of in ms the newest revision, and its outcome, weight and
                uniqueness, NaN where no barrier was touched.
            at_ms: when this is.

        Returns:
            The touches to tell at once, as of `corrected`.
        """
        news = np.zeros(self._cells.shape[1:], dtype=bool)
        for (instrument, as_of_ms), (revision, answers) in told.items():
            column = self._slots.get(instrument, -1)
            position = as_of_ms // self._step_ms % self._horizon
            if column < 0 or self._cells[Pending.AS_OF_MS, position, column] != as_of_ms:
                continue
            label = self._cells[:, position, column]
            touched = label[Pending.TOUCHED_MS] > 0
            ours = label[[*_DIRECTION[1:]]] if touched else np.full(len(answers), np.nan)
            alike = np.array_equal(ours, answers, equal_nan=True)
            if revision + (not alike) > 1:
                self._revised[instrument, as_of_ms] = revision + (not alike)
            if not alike:
                label[Pending.TOUCHED_MS] = at_ms if touched else 0.0
                news[position, column] = True
        return [self._touched(self._cells, news, tuple(self._slots))] if news.any() else []

    def _beside(self, other: Labeller) -> Floats:
        """Our incomplete labels at the places that they have in `other`; NaN where none."""
        cells = no_pending(self._horizon, len(other._slots))
        for instrument, column in other._slots.items():
            if instrument in self._slots:
                cells[:, :, column] = self._cells[:, :, self._slots[instrument]]
        moved = cells[Pending.AS_OF_MS] != other._cells[Pending.AS_OF_MS]
        cells[:, moved] = np.nan
        return cells

    def _rows_of(self, instruments: tuple[Instrument, ...]) -> Ints:
        if instruments == self._members:
            return self._rows
        for instrument in instruments:
            self._slots.setdefault(instrument, len(self._slots))
        missing = len(self._slots) - self._past.shape[1]
        if missing:
            self._past = np.concatenate([self._past, no_past(missing)], axis=1)
            self._cells = np.concatenate([self._cells, no_pending(self._horizon, missing)], axis=2)
        self._members = instruments
        self._rows = np.array([self._slots[one] for one in instruments], dtype=np.int64)
        return self._rows

    def snapshot(self) -> bytes:
        """The whole state; `restore` continues from it bit for bit."""
        names = [f"{one.exchange}:{one.symbol}" for one in self._slots]
        file = io.BytesIO()
        np.savez(
            file,
            names=np.array(names, dtype=str),
            past=self._past,
            cells=self._cells,
            revised=np.array([f"{one.exchange}:{one.symbol}" for one, _ in self._revised], str),
            revisions=np.array([(k[1], n) for k, n in self._revised.items()], np.int64),
        )
        return file.getvalue()

    def restore(self, state: bytes) -> None:
        """Continue from a snapshot of a labeller of the same exchange, timeframe and horizon."""
        with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
            names = [Instrument.parse(str(name)) for name in arrays["names"]]
            self._past, self._cells = arrays["past"], arrays["cells"]
            revised = [Instrument.parse(str(name)) for name in arrays["revised"]]
            numbers = arrays["revisions"].reshape(-1, 2).tolist()
        self._slots = {instrument: slot for slot, instrument in enumerate(names)}
        self._members = ()
        pairs = zip(revised, numbers, strict=True)
        self._revised = {(one, as_of_ms): number for one, (as_of_ms, number) in pairs}


def _equal(now: Floats, past: Floats, fields: tuple[Pending, ...]) -> Bools:
    """Where all `fields` of two sets of labels are the same; NaN equals NaN."""
    left, right = now[list(fields)], past[list(fields)]
    same: Bools = ((left == right) | (np.isnan(left) & np.isnan(right))).all(axis=0)
    return same


def _ordered(where: Bools, known: Floats, as_of: Floats) -> tuple[Ints, Ints]:
    """Positions of the labels at `where`, by (known, as_of, instrument)."""
    label, column = np.nonzero(where)
    order = np.lexsort((column, as_of[label, column], known[label, column]))
    return label[order], column[order]


def _counts_up(rows: Ints) -> bool:
    return bool((rows == np.arange(len(rows))).all())


def _take(instruments: tuple[Instrument, ...], rows: Ints | Bools) -> tuple[Instrument, ...]:
    positions = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
    return tuple(map(instruments.__getitem__, positions.tolist()))
