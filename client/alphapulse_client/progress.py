"""How far a feed has come, over all its connections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from alphapulse_client.events import Position, Snapshot, Update


@dataclass(frozen=True, slots=True)
class Head:
    """Where the server says that a stream's log stands."""

    epoch: str | None
    offset: int


@dataclass(slots=True)
class Progress:
    """What was received, and what the server said there is.

    Attributes:
        places: stream → behind which event it stands; the patterns that were granted, too.
        heads: stream → its head, as the server told it last.
        complete_through: the server's time at which, by the heads of a heartbeat, nothing that it
            had published on these streams was missing; None before.
    """

    places: dict[str, Position] = field(default_factory=dict)
    heads: dict[str, Head] = field(default_factory=dict)
    complete_through: datetime | None = None
    _moved: dict[str, Position] = field(default_factory=dict)

    def begin(self, kept: Mapping[str, Position]) -> None:
        """Go on where kept positions are."""
        self.places = dict(kept)

    def enter(self, name: str, position: Position) -> None:
        """A stream begins here, or a pattern was granted."""
        self.places[name] = self._moved[name] = position

    def passed(self, told: Update | Snapshot) -> None:
        """The body of the loop has run for it."""
        self.enter(told.stream, told.position)

    def behind(self) -> list[str]:
        """The streams of which the server has events that were not received."""
        return [
            stream
            for stream, head in self.heads.items()
            if stream in self.places and head.offset > self.places[stream].offset
        ]

    def moved(self) -> dict[str, Position]:
        """What moved since this was asked last."""
        moved, self._moved = self._moved, {}
        return moved
