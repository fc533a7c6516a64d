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
        """Remember a tick; instruments that come late join those already there."""
        earlier = self._said.get(as_of_ms)
        self._said[as_of_ms] = _joined(earlier, said) if earlier else said
        while len(self._said) > self._capacity:
            del self._said[min(self._said)]

    def at(self, as_of_ms: int) -> Said:
        return self._said[as_of_ms]

    def extend(self, as_of_ms: int, forecasts: Mapping[str, Floats]) -> None:
        """Add what was forecast after publishing to the tick at `as_of_ms`."""
        said = self._said[as_of_ms]
        self._said[as_of_ms] = Said(
            instruments=said.instruments, forecasts={**said.forecasts, **forecasts}
        )

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
    new = np.array([i not in set(earlier.instruments) for i in later.instruments], dtype=bool)
    shared = earlier.forecasts.keys() & later.forecasts.keys()
    return Said(
        instruments=earlier.instruments
        + tuple(i for i, is_new in zip(later.instruments, new, strict=True) if is_new),
        forecasts={
            name: np.concatenate([earlier.forecasts[name], later.forecasts[name][new]])
            for name in shared
        },
    )
