"""How far the rows of a tick are from what those who speak of them were fitted on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from domain.events import FeatureBatch, Floats
from domain.ports import Model, Referenced


def dissimilarities(
    models: Mapping[str, Model], read: Mapping[str, FeatureBatch | None]
) -> dict[str, Floats]:
    """Of each model that was fitted, by its seat, shape (n,); one reference is asked once.

    Args:
        models: by their seats.
        read: the rows that each reads; None: they are not made yet.
    """
    found: dict[str, Floats] = {}
    asked: dict[int, Floats] = {}
    for seat, model in models.items():
        batch = read[seat]
        if batch is not None and isinstance(model, Referenced) and model.reference is not None:
            key = id(model.reference)
            if key not in asked:
                asked[key] = model.dissimilarity(batch)
            found[seat] = asked[key]
    return found


def farthest(distances: Iterable[Floats]) -> Floats | None:
    """The largest of each row that is known; None where there is none."""
    known = list(distances)
    found: Floats | None = np.fmax.reduce(known) if known else None
    return found
