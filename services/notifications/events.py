"""What may be told, and how an event of the stream log becomes a notice."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import orjson

from domain.market import Instrument
from domain.notifications import Notice, Place

EVENTS: Final = {
    "signal.opened": "a signal that is not flat",
    "signal.updated": "it was entered, at the open that followed",
    "signal.closed": "it ended: at its take, its stop, its expiry, or withdrawn",
    "model.trained": "a version was fitted",
    "model.refreshed": "a newer fit took the seat of the one before it",
    "model.promoted": "a model became a member: it is served",
    "model.rejected": "a fit or a challenger was turned down",
    "model.rolled_back": "a version lost its place, the one before it came back",
    "model.drift": "something has changed, as a look at the record found it",
    "gap.opened": "candles are missing",
    "gap.filled": "they have come",
    "gap.unfillable": "the exchange does not have them",
    "source.down": "a source of texts or measurements does not answer",
    "source.stale": "it answers, and has told nothing new for too long",
    "source.ok": "it answers and tells again",
    "predictions.stale": "predictions are older than they may be: /readyz is red",
    "predictions.fresh": "there are new ones again",
}
LOGS: Final = {"signals": "signal", "models": "model", "gaps": "gap"}  # channel of streams → noun
_FLAT: Final = b'"side":"flat"'
_NUMBER: Final = (int, float, type(None))


def of_streams(events: Collection[str]) -> dict[str, list[str]]:
    """Which channels of streams tell these events, and under which names.

    >>> of_streams(["gap.filled", "source.down"])
    {'gaps': ['filled']}
    """
    told = {
        channel: [one.partition(".")[2] for one in events if one.startswith(f"{noun}.")]
        for channel, noun in LOGS.items()
    }
    return {channel: names for channel, names in told.items() if names}


def noticed(event: str, at: Any, place: Place, payload: bytes) -> Notice | None:  # noqa: ANN401
    """What an event of the log tells; None of a flat signal, which advises nothing.

    Raises:
        ValueError, KeyError, TypeError: it was edited, and is no such row.
    """
    channel = place.stream.partition(".")[0]
    if channel == "signals" and _FLAT in payload:
        return None
    row = orjson.loads(payload)
    if not isinstance(row, dict):
        raise TypeError("no row")
    words = [row.get(name, "") for name in ("exchange", "symbol", "timeframe")]
    strength = row.get("strength")
    if not (all(isinstance(one, str) for one in words) and isinstance(strength, _NUMBER)):
        raise TypeError("a member of the row is of another kind")
    return Notice(
        event=f"{LOGS[channel]}.{event}",
        at=at,
        subject=_subject(row),
        key=(place.stream, place.epoch, str(place.offset)),
        data=payload,
        instruments=(Instrument(row["exchange"], row["symbol"]),) if "symbol" in row else (),
        timeframe=row["timeframe"],
        strength=strength,
        place=place,
    )


def _subject(row: dict[str, Any]) -> str:
    if "symbol" in row:
        return str(Instrument(row["exchange"], row["symbol"]))
    return f"{row['exchange']} {row['timeframe']} {row['model']}"
