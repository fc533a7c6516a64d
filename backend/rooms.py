"""The parts of a system that may have processes of their own."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from domain.errors import UnknownNameError, UsageError

# Rooms of a panel's chain, which are one transaction.
_CHAIN: Final = ("features", "models", "predictions", "signals")


class Room(StrEnum):
    """A part of a system that may have processes of its own."""

    COLLECTORS = "collectors"  # exchanges
    PANELS = "panels"  # features, predictions, signals, learning
    API = "api"  # subscribers


class UnknownRoomError(UnknownNameError):
    """No such room."""

    noun = "room"


def rooms_of(text: str) -> frozenset[Room] | None:
    """The rooms that are named; None for all of them in one process.

    Raises:
        UsageError: there is no such room, or it runs only with others.
    """
    found = [one.strip() for one in text.split(",") if one.strip()]
    if found == ["all"]:
        return None
    for one in found:
        if one in _CHAIN:
            raise UsageError(
                f"{', '.join(_CHAIN)} of a panel are one transaction, and run in one process:"
                " give --rooms panels"
            )
        if one not in set(Room):
            raise UnknownRoomError(one, Room)  # all stands alone
    if not found:
        raise UsageError("--rooms names no room")
    return frozenset(map(Room, found))
