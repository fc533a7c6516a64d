"""Rows with what was before them, each row kept once however many sequences it is in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domain.events import Floats, Ints
from services.models.sample import CLASS_VALUES


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """n sequences of rows."""

    rows: Floats  # (r, k); the last one stands for every row that is not known
    places: Ints  # (n, candles before + 1) within `rows`, the oldest first; −1 is that last one

    @property
    def stacked(self) -> Floats:
        """Shape (n, candles before + 1, k)."""
        found: Floats = self.rows[self.places]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class SequenceSample:
    """As `Sample`, of sequences."""

    inputs: Sequences  # m of them
    answers: Floats  # (m,)
    weights: Floats  # (m,)

    def with_every_class(self) -> SequenceSample:
        """One more of weight 1 for each class, of which nothing is known: Laplace +1."""
        places = self.inputs.places
        unknown = np.full((len(CLASS_VALUES), places.shape[1]), -1, dtype=np.int64)
        return SequenceSample(
            Sequences(self.inputs.rows, np.concatenate((places, unknown))),
            np.concatenate((self.answers, CLASS_VALUES)),
            np.concatenate((self.weights, np.ones(len(CLASS_VALUES)))),
        )
