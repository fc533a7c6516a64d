"""Pairing stored feature rows with the labels that came true, each pair once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from domain.events import Examples, FeatureBatch, FeatureSet, Floats, Ints, LabelBatch
from domain.market import Instrument, Timeframe, to_ms

SLACK = 24  # candles beyond two horizons: how late a filled gap may complete a label


@dataclass(slots=True, eq=False)
class _Row:
    """One feature row that waits for its label."""

    features: Floats
    revision: int
    direction_done: bool = False


class ExampleJoiner:
    """Keeps feature rows for 2 × horizon + 24 candles and answers labels with examples.

    Only what is known is paired: a direction with its touch, everything with the label's
    end. Void labels (NaN) wait for the filling of their gap. A label whose features are
    not kept is counted in `unmatched`.
    """

    def __init__(
        self, feature_set: FeatureSet, *, exchange: str, timeframe: Timeframe, horizon: int
    ) -> None:
        self.feature_set = feature_set
        self.unmatched = 0
        self._stream = (exchange, timeframe)
        self._horizon = horizon
        self._kept_ms = (2 * horizon + SLACK) * timeframe.ms
        self._rows: dict[int, dict[Instrument, _Row]] = {}
        self._newest_ms = 0

    def on_features(self, batch: FeatureBatch) -> None:
        """Keep the rows of a tick; a higher revision replaces one that is kept."""
        if (batch.exchange, batch.timeframe) != self._stream:
            return
        as_of_ms = to_ms(batch.as_of)
        if as_of_ms > self._newest_ms:
            self._newest_ms = as_of_ms
            self._forget(as_of_ms - self._kept_ms)
        rows = self._rows.setdefault(as_of_ms, {})
        values, silent = self._values(batch), batch.told is not None and not batch.told.status
        width = batch.values.shape[1]
        for i, instrument in enumerate(batch.instruments):
            revision = int(batch.revision[i])
            kept = rows.get(instrument)
            if kept is None:
                rows[instrument] = _Row(values[i], revision)
            elif revision > kept.revision:
                if silent:  # nobody says anew what sources told
                    values[i, width:] = kept.features[width:]
                kept.features, kept.revision = values[i], revision

    def _values(self, batch: FeatureBatch) -> Floats:
        """The rows with what sources told, shape (n, columns)."""
        return batch.values if batch.told is None else np.hstack((batch.values, batch.told.values))

    def restore(
        self, batches: Iterable[FeatureBatch], directions: Iterable[tuple[Instrument, int]] = ()
    ) -> None:
        """Continue from the record.

        Args:
            batches: stored ones of the last 2 × horizon + 24 candles, oldest first.
            directions: instruments and closes (ms) whose direction was learnt already.
        """
        for batch in batches:
            self.on_features(batch)
        for instrument, as_of_ms in directions:
            row = self._rows.get(as_of_ms, {}).get(instrument)
            if row is not None:
                row.direction_done = True

    def on_labels(self, batch: LabelBatch) -> tuple[Examples, Examples]:
        """What this batch makes known: (directions, whole labels).

        The first holds labels whose direction is known now and was not before; its other
        outcomes may be unknown. Both are ordered by (known, as_of, instrument).
        """
        stream = (batch.exchange, batch.timeframe)
        if (*stream, batch.horizon) != (*self._stream, self._horizon):
            return self._examples(batch, [], []), self._examples(batch, [], [])
        directions: list[int] = []
        wholes: list[int] = []
        features: dict[int, Floats] = {}
        for i in range(len(batch)):
            row = self._row_of(batch, i)
            if row is None:
                continue
            features[i] = row.features
            if self._direction_is_new(batch, i, row):
                row.direction_done = True
                directions.append(i)
            if self._whole(batch, i):
                del self._rows[int(batch.as_of_ms[i])][batch.instruments[i]]
                wholes.append(i)
        return (
            self._ordered(batch, directions, features, batch.direction_known_ms),
            self._ordered(batch, wholes, features, batch.known_ms),
        )

    def _row_of(self, batch: LabelBatch, i: int) -> _Row | None:
        as_of_ms = int(batch.as_of_ms[i])
        row = self._rows.get(as_of_ms, {}).get(batch.instruments[i])
        self.unmatched += row is None
        return row

    @staticmethod
    def _direction_is_new(batch: LabelBatch, i: int, row: _Row) -> bool:
        known = batch.direction_known_ms[i] > 0 and bool(np.isfinite(batch.outcome[i]))
        return known and not row.direction_done

    @staticmethod
    def _whole(batch: LabelBatch, i: int) -> bool:
        outcomes = (batch.outcome[i], batch.log_return[i], batch.realized_volatility[i])
        return batch.known_ms[i] > 0 and bool(np.isfinite(outcomes).all())

    def _forget(self, oldest_ms: int) -> None:
        for as_of_ms in [kept for kept in self._rows if kept < oldest_ms]:
            del self._rows[as_of_ms]

    def _ordered(
        self, batch: LabelBatch, chosen: list[int], features: dict[int, Floats], known_ms: Ints
    ) -> Examples:
        chosen.sort(key=lambda i: (known_ms[i], batch.as_of_ms[i], batch.instruments[i]))
        return self._examples(batch, chosen, [features[i] for i in chosen])

    def _examples(self, batch: LabelBatch, chosen: list[int], features: list[Floats]) -> Examples:
        columns = self.feature_set.columns
        rows = np.array(chosen, dtype=np.int64)
        return Examples(
            columns=columns,
            features=np.array(features, dtype=np.float64).reshape(len(chosen), len(columns)),
            instruments=tuple(batch.instruments[i] for i in chosen),
            as_of_ms=batch.as_of_ms[rows],
            direction_known_ms=batch.direction_known_ms[rows],
            known_ms=batch.known_ms[rows],
            outcome=batch.outcome[rows],
            weight=batch.weight[rows],
            log_return=batch.log_return[rows],
            realized_volatility=batch.realized_volatility[rows],
            uniqueness=batch.uniqueness[rows],
        )


def concatenate(parts: Sequence[Examples]) -> Examples:
    """Several parts of one feature set, in their order, as one; `parts` is not empty.

    What was before them is left out.
    """
    arrays: dict[str, Any] = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(Examples)
        if field.name not in {"columns", "instruments", "past"}
    }
    instruments = tuple(instrument for part in parts for instrument in part.instruments)
    return Examples(columns=parts[0].columns, instruments=instruments, **arrays)
