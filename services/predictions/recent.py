"""The rows of the newest closes, for models that read what was before a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from domain.events import FeatureBatch, Floats, Ints
from domain.market import Instrument, Timeframe, to_ms
from domain.past import Past
from domain.ports import Model, Sequential

SLACK = 8  # closes more than are read: what came late is forecast too


@dataclass(slots=True, eq=False)
class _Close:
    """Its rows in the revisions that are known; one of an instrument."""

    owners: Ints  # (n,) numbers that this room gave
    rows: Floats  # (n, columns)


class Recent:
    """The closes that models with a past read; none where no model has one.

    The feature table has the same rows: nothing of this is in a snapshot.

    """

    def __init__(self, timeframe: Timeframe) -> None:
        self._timeframe = timeframe
        self._past = 0
        self._columns: tuple[str, ...] = ()
        self._numbers: dict[Instrument, int] = {}
        self._closes: dict[int, _Close] = {}  # by close time in ms

    @property
    def candles(self) -> int:
        """How many closes before the newest are kept; 0: nobody reads them, and none is."""
        return self._past + SLACK if self._past else 0

    def expect(self, candles: int) -> None:
        """A model may come that reads so many candles before a row."""
        self._past = max(self._past, candles)

    def keep(self, batch: FeatureBatch) -> None:
        """Remember rows; what comes again takes the place of what was there.

        Where nobody says anew what sources told, what they told stays.
        """
        if not self._past:
            return
        told = batch.told
        self._columns = batch.feature_set.columns
        values = batch.values
        if told is not None:
            self._columns += told.feature_set.columns
            values = np.hstack((values, told.values))
        owners = self._numbered(batch.instruments)
        close = self._closes.get(to_ms(batch.as_of))
        if close is None:
            self._closes[to_ms(batch.as_of)] = _Close(owners, values)
            self._forget()
            return
        silent = told is not None and not told.status
        _replace(close, owners, values, kept=batch.values.shape[1] if silent else None)

    def restore(
        self,
        columns: tuple[str, ...],
        instruments: Sequence[Instrument],
        as_of_ms: Ints,
        rows: Floats,
    ) -> None:
        """Continue from the record: its newest revisions, one row of an instrument and close."""
        self._columns, owners = columns, self._numbered(instruments)
        self._closes = {
            close_ms: _Close(owners[as_of_ms == close_ms], rows[as_of_ms == close_ms])
            for close_ms in np.unique(as_of_ms).tolist()
        }

    def before(self, batch: FeatureBatch) -> Past:
        """What was before each row of a batch."""
        as_of_ms, none = to_ms(batch.as_of), np.empty(0, dtype=np.int64)
        first_ms = as_of_ms - self._past * self._timeframe.ms
        kept = {ms: one for ms, one in self._closes.items() if first_ms <= ms < as_of_ms}
        width = len(self._columns)
        owners = self._numbered(batch.instruments)
        return Past.behind(
            owners,
            np.full(len(owners), as_of_ms),
            columns=self._columns,
            rows=np.concatenate([np.empty((0, width)), *(one.rows for one in kept.values())]),
            of=np.concatenate([none, *(one.owners for one in kept.values())]),
            closes_ms=np.repeat(
                np.array([*kept], dtype=np.int64), [len(one.owners) for one in kept.values()]
            ),
            candles=self._past,
            candle_ms=self._timeframe.ms,
        )

    def _numbered(self, instruments: Sequence[Instrument]) -> Ints:
        numbers = self._numbers
        found = [numbers.setdefault(one, len(numbers)) for one in instruments]
        return np.array(found, dtype=np.int64)

    def _forget(self) -> None:
        oldest = max(self._closes) - self.candles * self._timeframe.ms
        for close_ms in [one for one in self._closes if one < oldest]:
            del self._closes[close_ms]


def past_of(model: Model) -> int:
    """How many candles before a row a model reads."""
    return model.past if isinstance(model, Sequential) else 0


def _replace(close: _Close, owners: Ints, rows: Floats, *, kept: int | None) -> None:
    """Put rows among others of a close; `kept`: from this column on, what was there stays."""
    where = {owner: row for row, owner in enumerate(close.owners.tolist())}
    known = np.array([owner in where for owner in owners.tolist()], dtype=np.bool_)
    places = [where[owner] for owner in owners[known].tolist()]
    close.rows = close.rows.copy()  # a forecast may still hold it
    close.rows[places, :kept] = rows[known, :kept]
    close.owners = np.concatenate((close.owners, owners[~known]))
    close.rows = np.concatenate((close.rows, rows[~known]))
