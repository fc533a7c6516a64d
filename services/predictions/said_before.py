"""What stands of a tick that is made again: it is said once, with all that followed from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from domain.events import Floats, PredictionBatch, Role, SignalBatch
from domain.market import Instrument


class SaidBefore:
    """The served rows that stand of a tick.

    A process that dies between the two transactions of a tick leaves served rows without
    the rows that they are composed of. Those are made again. Where the served row made again
    is, number for number, the one that stands, they were computed with it, and have its
    `made_at` and `origin`.

    Args:
        said: predictions that stand.
    """

    def __init__(self, said: Sequence[PredictionBatch] = ()) -> None:
        self._served: dict[tuple[datetime, Instrument], tuple[PredictionBatch, int]] = {
            (batch.as_of, instrument): (batch, row)
            for batch in said
            if batch.role is Role.CHAMPION
            for row, instrument in enumerate(batch.instruments)
        }
        self._repeated: dict[Instrument, PredictionBatch] = {}  # of the tick made last

    def unsaid(self, opened: SignalBatch) -> SignalBatch:
        """The signals whose served row is not one that stands."""
        if not self._served:
            return opened
        new = tuple(
            one for one in opened.signals if (opened.as_of, one.instrument) not in self._served
        )
        return replace(opened, signals=new)

    def dated(self, made: Iterable[PredictionBatch]) -> Iterable[PredictionBatch]:
        """Rows of a tick, the members' dated as what they compose.

        Args:
            made: the served rows among the first that are given of a tick.
        """
        if not self._served:
            yield from made
            return
        batches = list(made)
        for batch in batches:
            if batch.role is Role.CHAMPION:
                self._repeated = self._repeated_in(batch)
        for batch in batches:
            yield from self._parts(batch) if batch.role is Role.MEMBER else (batch,)

    def _repeated_in(self, made: PredictionBatch) -> dict[Instrument, PredictionBatch]:
        found = {}
        values = _values(made)
        for row, instrument in enumerate(made.instruments):
            batch, stored = self._served.get((made.as_of, instrument), (None, 0))
            if batch is not None and batch.version == made.version:
                then = _values(batch)[stored]
                if np.array_equal(values[row], then, equal_nan=True):
                    found[instrument] = batch
        return found

    def _parts(self, made: PredictionBatch) -> Iterable[PredictionBatch]:
        rows: dict[datetime, list[int]] = {}
        for row, instrument in enumerate(made.instruments):
            then = self._repeated.get(instrument, made)
            rows.setdefault(then.made_at, []).append(row)
        origins = {then.made_at: then.origin for then in (made, *self._repeated.values())}
        for made_at, chosen in rows.items():
            part = made.take(np.array(chosen, dtype=np.int64))
            yield replace(part, made_at=made_at, origin=origins[made_at])


def _values(batch: PredictionBatch) -> Floats:
    """Shape (n, 7)."""
    return np.column_stack([batch.probabilities, batch.quantiles, batch.volatility])
