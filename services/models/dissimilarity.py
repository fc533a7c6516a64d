"""How far feature rows are from the rows that a model was fitted on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from domain.events import Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """Where the training rows are, and how far they spread.

    A row's distance is √(mean of ((x − mean) / spread)²) over the columns that it has: that of
    Mahalanobis (1936) with the correlations left out, in units of the training rows' own, whose
    mean square is 1, as Meyer & Pebesma (2021) scale theirs.
    """

    columns: tuple[str, ...]
    mean: Floats  # (columns,)
    spread: Floats  # (columns,) population standard deviations, above 0

    @classmethod
    def of(cls, columns: tuple[str, ...], values: Floats) -> Reference:
        """Of training rows, shape (m, columns); a column without spread is left out."""
        known = np.isfinite(values)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, values, 0.0).sum(axis=0) / count
        apart = np.where(known, values - mean, 0.0)
        spread = np.sqrt((apart**2).sum(axis=0) / count)
        kept = np.flatnonzero(spread > 0.0)
        names = tuple(columns[place] for place in kept.tolist())
        return cls(columns=names, mean=mean[kept], spread=spread[kept])

    def dissimilarity(self, values: Floats) -> Floats:
        """The distance of rows (n, columns), shape (n,); NaN for one of which nothing is known."""
        apart = values - self.mean
        apart /= self.spread
        with np.errstate(invalid="ignore"):
            squared = np.einsum("ij,ij->i", apart, apart) / np.float64(len(self.columns))
            holed = np.flatnonzero(np.isnan(squared))
            if len(holed):
                known = np.isfinite(apart[holed])
                squares = np.where(known, apart[holed], 0.0) ** 2
                squared[holed] = squares.sum(axis=1) / known.sum(axis=1)
        distance: Floats = np.sqrt(squared)
        return distance

    def written(self) -> dict[str, Any]:
        """As JSON; `read` is the way back."""
        numbers = {"mean": self.mean.tolist(), "spread": self.spread.tolist()}
        return {"columns": [*self.columns], **numbers}

    @staticmethod
    def read(written: Mapping[str, Any]) -> Reference:
        """From what `written` gave; the same object for the same content.

        Raises:
            KeyError, ValueError: it is not whole.
        """
        return _read(json.dumps(written))


@lru_cache(maxsize=64)  # a training fits several models on the same rows
def _read(text: str) -> Reference:
    written = json.loads(text)
    reference = Reference(
        columns=tuple(written["columns"]),
        mean=np.array(written["mean"], dtype=np.float64),
        spread=np.array(written["spread"], dtype=np.float64),
    )
    if not len(reference.columns) == len(reference.mean) == len(reference.spread):
        raise ValueError("a reference whose columns and numbers do not match")
    return reference
