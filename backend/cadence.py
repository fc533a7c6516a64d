"""When each panel of the page is computed again: the slower it is, the rarer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

LOOK_EVERY_S: Final = 5.0  # wall seconds between two looks at what is due
FOLDING_EVERY_S: Final = 1.0  # as long as a history waits to be folded
FOLDED_DAYS: Final = 10  # of scores at a look: each takes some 0.1 s, and commits wait for one
REST: Final = 20.0  # times as long as a panel took it rests: a long record is read rarely


class Cadence:
    """Of the panels and of folding the days of scores; moments are wall seconds.

    Args:
        panels: their names.
        folded: the panel that is slow to read while days wait to be folded.
    """

    def __init__(self, panels: Iterable[str], *, folded: str) -> None:
        self._rested = dict.fromkeys(panels, 0.0)
        self._of_days = folded
        self._folding = False

    @property
    def pause_s(self) -> float:
        """How long to wait for the next look."""
        return FOLDING_EVERY_S if self._folding else LOOK_EVERY_S

    def folded(self, days: int) -> None:
        """A look folded so many days; after a history its panel is due: it was slow, and is not."""
        was_folding, self._folding = self._folding, days >= FOLDED_DAYS
        if was_folding and not self._folding:
            self._rested[self._of_days] = 0.0

    def due(self, now: float) -> list[str]:
        return [name for name, moment in self._rested.items() if moment <= now]

    def computed(self, name: str, *, began: float, ended: float) -> None:
        self._rested[name] = ended + REST * (ended - began)
