"""What was said at past ticks, kept until the labels that judge it are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from domain.events import Floats, Ints, LabelBatch
from domain.market import Instrument

SLACK_TICKS = 8  # labels of a filled hole come later than a horizon


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Everything forecast at one tick: name → (n, …) array, rows in instrument order."""

    instruments: tuple[Instrument, ...]
    forecasts: Mapping[str, Floats]

    def rows(self, instruments: tuple[Instrument, ...]) -> Ints:
        """Positions of `instruments`; −1 for one that had no row."""
        where = {instrument: row for row, instrument in enumerate(self.instruments)}
        return np.array([where.get(instrument, -1) for instrument in instruments], dtype=np.int64)


class Memory:
    """The last horizon + SLACK_TICKS ticks, by close time in ms."""

    def __init__(self, *, horizon: int) -> None:
        self._capacity = horizon + SLACK_TICKS
        self._said: dict[int, Said] = {}

    def keep(self, as_of_ms: int, said: Said) -> None:
        """Remember a tick, or add to it: other forecasts, and instruments that come late."""
        earlier = self._said.get(as_of_ms)
        self._said[as_of_ms] = _joined(earlier, said) if earlier else said
        while len(self._said) > self._capacity:
            del self._said[min(self._said)]

    def judged_by(self, labels: LabelBatch) -> list[tuple[dict[str, Floats], Ints]]:
        """Per close time: the forecasts, and the positions in `labels` that judge their rows."""
        matched = []
        complete = np.flatnonzero(labels.known_ms > 0)
        for as_of_ms in np.unique(labels.as_of_ms[complete]):
            said = self._said.get(int(as_of_ms))
            if said is None:
                continue
            positions = complete[labels.as_of_ms[complete] == as_of_ms]
            rows = said.rows(tuple(labels.instruments[int(i)] for i in positions))
            positions, rows = positions[rows >= 0], rows[rows >= 0]
            chosen = {name: values[rows] for name, values in said.forecasts.items()}
            matched.append((chosen, positions))
        return matched

    def state(self) -> list[dict[str, Any]]:
        return [
            {
                "as_of_ms": as_of_ms,
                "instruments": [str(instrument) for instrument in said.instruments],
                "forecasts": dict(said.forecasts),
            }
            for as_of_ms, said in sorted(self._said.items())
        ]

    def restore(self, state: list[dict[str, Any]]) -> None:
        self._said = {
            int(item["as_of_ms"]): Said(
                instruments=tuple(Instrument.parse(text) for text in item["instruments"]),
                forecasts=item["forecasts"],
            )
            for item in state
        }


def _joined(earlier: Said, later: Said) -> Said:
    """Both; NaN where an instrument has no such forecast, the earlier where both have one."""
    if earlier.instruments == later.instruments:
        return Said(
            instruments=earlier.instruments, forecasts={**later.forecasts, **earlier.forecasts}
        )
    new = tuple(one for one in later.instruments if one not in set(earlier.instruments))
    whole = Said(instruments=earlier.instruments + new, forecasts={})
    forecasts: dict[str, Floats] = {}
    for said in (earlier, later):
        rows = whole.rows(said.instruments)
        for name, values in said.forecasts.items():
            if name not in forecasts:
                forecasts[name] = np.full((len(whole.instruments), *values.shape[1:]), np.nan)
            unsaid = np.isnan(forecasts[name][rows].reshape(len(rows), -1)).all(axis=1)
            forecasts[name][rows[unsaid]] = values[unsaid]
    return Said(instruments=whole.instruments, forecasts=forecasts)
