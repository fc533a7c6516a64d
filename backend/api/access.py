"""Who calls is decided here: by a key, or by being on this machine."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from backend.api.callers import COMMAND, LOOPBACK, Caller, anyone, holder, operator
from backend.api.hosts import host_of, is_loopback, place_of
from backend.api.keyring import Keyring, unauthorized
from backend.api.quotas import Quotas, Spent
from backend.api.tickets import SUB_PROTOCOL, Tickets, is_ticket
from backend.api.trail import Trail
from backend.clock import SystemClock
from domain.ports import Clock

# Set by a proxy for whom it asks: then the machine that connects is not who calls.
FORWARDED: Final = (
    "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRules:
    """What the operator decided about callers."""

    require_keys: bool = False  # of callers on this machine too
    allow_no_keys: bool = False  # whoever it is may see everything
    token: str | None = field(default=None, repr=False)  # of commands beside this system
    origins: tuple[str, ...] = ()  # of pages of other sites that may call
    quota: int = 600  # requests a minute of an address that shows no valid key


class Access:
    """Who calls, by what a request shows.

    Args:
        rules: what the operator decided.
        wall: the machine's clock, by which keys expire.
        now: seconds of a clock that nobody sets.
    """

    def __init__(
        self,
        rules: AccessRules | None = None,
        *,
        wall: Clock | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules = rules or AccessRules()
        self._now = now
        self.wall = wall or SystemClock()
        self.keyring = Keyring(self.wall, now)
        self.trail = Trail(self.wall)
        self.waiting = 0  # handshakes that have not said who they are
        self._quotas = Quotas()
        self._tickets = Tickets()

    def spend(self, caller: Caller | None, address: str) -> Spent | None:
        """Take one request from the quota of a caller, or of an address; None: it has none."""
        if caller is not None and caller.operates:
            return None
        if caller is not None and caller.key is not None:
            return self._quotas.of_key(caller.key.id, caller.key.terms.quota, self._now())
        return self._quotas.of_address(address, self.rules.quota, self._now())

    async def caller(self, scope: Scope) -> Caller:
        """Who sent a request or a handshake.

        A key that is shown is looked at, also where none is needed.

        Raises:
            ProblemError: `unauthorized`, `token_expired`; `starting`, before there is a store.
        """
        headers = Headers(scope=scope)
        address = address_of(scope)
        if shown := headers.getlist("authorization"):
            scheme, _, token = shown[0].partition(" ")
            if len(shown) > 1 or scheme.lower() != "bearer":
                raise unauthorized()
            return await self._by_key(token.strip(), address)
        if (ticket := _ticket_of(scope)) is not None:
            return await self.by_token(ticket, address)
        if not self.rules.require_keys and _is_here(scope, headers):
            return operator(LOOPBACK, address)
        if self.rules.allow_no_keys:
            return anyone(address)
        raise unauthorized()

    def waits_for_auth(self, scope: Scope) -> bool:
        """Whether a handshake shows nothing, and its first frame has to say who it is."""
        headers = Headers(scope=scope)
        shown = "authorization" in headers or _ticket_of(scope) is not None
        known = shown or self.rules.allow_no_keys
        return not known and (self.rules.require_keys or not _is_here(scope, headers))

    async def by_token(self, token: str, address: str) -> Caller:
        """Who shows `token` on a socket: a key, or a ticket.

        Raises:
            ProblemError: as `caller`.
        """
        if not is_ticket(token):
            return await self._by_key(token, address)
        caller = self._tickets.redeem(token, self._now())
        if caller.key is not None:
            await self.keyring.again(caller.key)
        return replace(caller, address=address)

    async def _by_key(self, token: str, address: str) -> Caller:
        ours = self.rules.token
        if ours is not None and hmac.compare_digest(ours.encode(), token.encode()):
            return operator(COMMAND, address)
        return holder(await self.keyring.owner(token), address)

    def ticket(self, caller: Caller) -> str:
        """A ticket for one connection of a caller."""
        return self._tickets.issue(caller, self._now())


def _ticket_of(scope: Scope) -> str | None:
    offered = (one for one in scope.get("subprotocols", ()) if one.startswith(SUB_PROTOCOL))
    return next((one.removeprefix(SUB_PROTOCOL) for one in offered), None)


def address_of(scope: Scope) -> str:
    """Whose machine it is, as far as it can be told; empty where it cannot."""
    client = scope.get("client")
    # As a socket for both families spells those of IPv4.
    return client[0].removeprefix("::ffff:") if client else ""


def _is_here(scope: Scope, headers: Headers) -> bool:
    """Whether somebody on this machine asks it by one of its names.

    By another name a page of another site may ask, whose name was made to lead here.
    """
    return (
        is_loopback(address_of(scope))
        and is_loopback(place_of(host_of(scope))[0])
        and not any(name in headers for name in FORWARDED)
    )
