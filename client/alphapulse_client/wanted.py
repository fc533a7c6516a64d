"""What a feed asks for: streams and patterns, and where they begin, in frames of bounded size."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from alphapulse_client.events import Position
from alphapulse_client.times import spelt

EVERY: Final = "*"
GRANTED: Final = Position(None, 0)  # kept of a pattern whose streams were granted
_SEGMENTS: Final = 4  # channel, timeframe, exchange, symbol; only the symbol may hold a dot
_ENVELOPE: Final = 512  # bytes of a frame beside its streams

Since = datetime | Literal["head", "start"]
Deliver = Literal["all", "latest"]


@dataclass(frozen=True, slots=True)
class Request:
    """A subscription as one frame asks for it: names, and where they begin in JSON."""

    streams: tuple[str, ...]
    since: Any

    def text(self, number: int, *, snapshot: bool, deliver: Deliver = "all") -> str:
        """The frame."""
        params = {
            "streams": self.streams,
            "since": self.since,
            "snapshot": snapshot,
            "deliver": deliver,
        }
        return json.dumps({"id": number, "method": "subscribe", "params": params})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Streams by name or pattern.

    Attributes:
        streams: `*` stands for a whole segment.
        since: where a stream begins of which no position is known: at its head, at its first
            event, or at the first that was published at or after a time.
        snapshots: whether a snapshot is taken for events that can no longer be had at once.
        deliver: `latest`: while the client lags the newest event of each stream and horizon is
            told, with the count of those that it stands for.
    """

    streams: tuple[str, ...]
    since: Since = "head"
    snapshots: bool = False
    deliver: Deliver = "all"

    def takes(self, stream: str) -> bool:
        """Whether a stream is meant.

        >>> Wanted(streams=("signals.1h.*.*",)).takes("signals.1h.kraken.BTC/USD")
        True
        """
        return any(fits(pattern, stream) for pattern in self.streams)

    def requests(self, places: Mapping[str, Position], frame_bytes: int) -> list[Request]:
        """The frames of a new connection.

        First the streams whose positions are known, as many in a frame as fit. Then what was never
        granted; last the patterns that were: of these only streams are new that came to be while
        nobody listened, and they are told from their first event on.
        """
        known = [one for one in places if not is_pattern(one) and self.takes(one)]
        fresh = tuple(one for one in self.streams if one not in places)
        again = tuple(one for one in self.streams if is_pattern(one) and one in places)
        asked = [
            Request(tuple(each), each)
            for each in _in_frames(known, places, frame_bytes - _ENVELOPE)
        ]
        if fresh:
            asked.append(Request(fresh, self._since()))
        if again:
            asked.append(Request(again, {EVERY: {"offset": 0}}))
        return asked

    def _since(self) -> Any:  # noqa: ANN401 - JSON
        if isinstance(self.since, datetime):
            return {"time": spelt(self.since)}
        return {EVERY: {"offset": 0}} if self.since == "start" else self.since


def is_pattern(name: str) -> bool:
    return EVERY in name


def fits(pattern: str, stream: str) -> bool:
    """Whether a pattern names a stream, as the server reads it.

    >>> fits("*", "gaps"), fits("gaps", "gaps"), fits("*.*.*.*", "gaps")
    (True, True, False)
    """
    if pattern in (stream, EVERY):
        return True
    theirs, ours = (name.split(".", _SEGMENTS - 1) for name in (pattern, stream))
    return len(theirs) == len(ours) == _SEGMENTS and all(
        one in (EVERY, other) for one, other in zip(theirs, ours, strict=True)
    )


def _in_frames(
    streams: list[str], places: Mapping[str, Position], room: int
) -> Iterator[dict[str, Any]]:
    """`since` of some streams after others, each short enough for a frame with their names."""
    chunk: dict[str, Any] = {}
    size = 0
    for stream in streams:
        place = {"epoch": places[stream].epoch, "offset": places[stream].offset}
        if (known := places[stream].hash) is not None:
            place["hash"] = known
        added = len(json.dumps({stream: place})) + len(json.dumps([stream]))
        if chunk and size + added > room:
            yield chunk
            chunk, size = {}, 0
        chunk[stream] = place
        size += added
    if chunk:
        yield chunk
