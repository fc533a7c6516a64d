"""Tickets: a browser cannot send a key with a handshake, and must not put one into an address."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Final

from backend.api.callers import Caller
from backend.api.keyring import unauthorized

LASTS_S: Final = 30.0
MOST: Final = 10_000  # open at a time; of more the oldest are void
SUB_PROTOCOL: Final = "alphapulse.ticket."  # and the ticket, beside the one that is spoken
_BEGINS: Final = "apt_"


class Tickets:
    """What was handed out and not used yet; gone when the process ends."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, tuple[float, Caller]] = OrderedDict()

    def issue(self, caller: Caller, at: float) -> str:
        """A ticket for one connection of `caller` within LASTS_S of `at` seconds."""
        while self._open and next(iter(self._open.values()))[0] <= at:
            self._open.popitem(last=False)
        if len(self._open) >= MOST:
            self._open.popitem(last=False)
        ticket = f"{_BEGINS}{secrets.token_hex(32)}"
        self._open[ticket] = (at + LASTS_S, caller)
        return ticket

    def redeem(self, ticket: str, at: float) -> Caller:
        """Whose ticket it is; nobody's afterwards.

        Raises:
            ProblemError: `unauthorized`.
        """
        until, caller = self._open.pop(ticket, (at, None))
        if caller is None or until <= at:
            raise unauthorized(f"the ticket was used, or is older than {LASTS_S:.0f} s")
        return caller


def is_ticket(token: str) -> bool:
    """Whether it is spelt as a ticket, and not as a key."""
    return token.startswith(_BEGINS)
