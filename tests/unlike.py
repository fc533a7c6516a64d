"""In what two snapshots of a room differ, moments aside that may be later in the first."""

from __future__ import annotations

import io
from collections.abc import Mapping
from reprlib import repr as shortly
from typing import Any

import numpy as np

from domain.codec import pack, unpack
from domain.market import from_ms
from services.labels.state import Past, Pending

ARRAYS = b"PK"  # how a file of them begins
FILLED, TOUCHED, REVISION = Pending.FILLED_MS.name, Pending.TOUCHED_MS.name, "revision"
# When a baseline was fitted: by the moments at which labels were known.
MOMENTS = {"schedule"}

Place = tuple[str, ...]  # instrument, close and field of a label; or the field


def unlike(kept: bytes, learnt: bytes) -> list[str]:
    """What `kept` says and `learnt` does not: where, and both values.

    A candle that came late, or over REST, is known later than one of history is taken to be. So
    are its labels: `kept` may have later moments of such candles, and of the touches of labels
    that rest on them, up to the last of these candles; and it may have told such a label
    otherwise before. Anything else is to be the same to the bit.

    Args:
        kept: by a room that followed the market.
        learnt: by the same room from recorded candles.
    """
    ours, theirs = _content(kept), _content(learnt)
    return [
        f"{' '.join(place)} is {shortly(ours.get(place))}, not {shortly(theirs.get(place))}"
        for place in sorted(ours.keys() | theirs.keys())
        if pack(ours.get(place)) != pack(theirs.get(place)) and not _later(place, ours, theirs)
    ]


def _later(place: Place, ours: Mapping[Place, Any], theirs: Mapping[Place, Any]) -> bool:
    """Whether only a moment differs, as it may, or that more was told before it."""
    *label, field = place
    came = ours.get((*label, FILLED), 0.0)  # the last such candle of the label; 0: there was none
    if field == REVISION:
        return place not in theirs and bool(came > 0)
    if field not in {FILLED, TOUCHED} or place not in ours or place not in theirs:
        return field in MOMENTS
    known = field == FILLED or theirs[place] > 0
    return bool(known and theirs[place] <= ours[place] <= max(theirs[place], came))


def _content(state: bytes) -> dict[Place, Any]:
    if not state.startswith(ARRAYS):
        return {(name,): value for name, value in unpack(state).items()}
    with np.load(io.BytesIO(state), allow_pickle=False) as file:
        arrays = dict(file)
    if "cells" in arrays:
        return _labels(arrays)
    return {(name,): value for name, value in arrays.items()}


def _labels(arrays: Mapping[str, Any]) -> dict[Place, Any]:
    """A labeller's state: by instrument, by label, and which revisions were told."""
    names, closes = arrays["names"].tolist(), arrays["cells"][Pending.AS_OF_MS]
    content: dict[Place, Any] = {("instruments",): names}
    for (row, column), value in np.ndenumerate(arrays["past"]):
        content[names[column], Past(row).name] = value.item()
    for (row, position, column), value in np.ndenumerate(arrays["cells"]):
        label = _close(closes[position, column]) or f"no label at {position}"
        content[names[column], label, Pending(row).name] = value.item()
    numbers = arrays["revisions"].reshape(-1, 2).tolist()
    for name, (as_of_ms, number) in zip(arrays["revised"].tolist(), numbers, strict=True):
        content[name, _close(as_of_ms), REVISION] = number
    return content


def _close(as_of_ms: float) -> str:
    return "" if np.isnan(as_of_ms) else f"{from_ms(int(as_of_ms)):%Y-%m-%d %H:%M}"
