"""Whom a request was addressed to: a server for this machine answers to this machine's names."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from backend.api.problems import ProblemError, answer

FORBIDDEN: Final = 4403  # before a handshake is accepted: 403 for the client


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_own_origin(origin: str, host: str) -> bool:
    """Whether a page of `origin` was served at the address in a `Host` header.

    The names of this machine are one: they lead to the same server.

    >>> is_own_origin("http://localhost:8000", "127.0.0.1:8000")
    True
    >>> is_own_origin("http://localhost:9000", "127.0.0.1:8000")
    False
    """
    netloc = origin.partition("://")[2]
    if netloc == host != "":
        return True
    (theirs, their_port), (ours, our_port) = place_of(netloc), place_of(host)
    return is_loopback(theirs) and is_loopback(ours) and their_port == our_port


class LoopbackHosts:
    """Refuses requests that name another host than this machine.

    A page whose name was made to lead to 127.0.0.1 (DNS rebinding) is of the same origin as
    this server for its browser, and could read all there is; only `Host` tells.

    Args:
        app: Is asked whatever is addressed rightly.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or is_loopback(place_of(host_of(scope))[0]):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()  # websocket.connect
            await send({"type": "websocket.close", "code": FORBIDDEN})
        else:
            detail = (
                f"this server is for this machine, not for {host_of(scope)!r};"
                " ask localhost, 127.0.0.1 or [::1]"
            )
            await answer(ProblemError("misdirected", detail), scope)(scope, receive, send)


def host_of(scope: Scope) -> str:
    """The `Host` header; empty where there is none."""
    found = [text.decode("latin-1") for name, text in scope["headers"] if name == b"host"]
    return found[0] if len(found) == 1 else ""


def origins_of(scope: Scope) -> list[str]:
    """The `Origin` headers: there is one where a page asks of another, or changes something."""
    return [text.decode("latin-1") for name, text in scope["headers"] if name == b"origin"]


def place_of(netloc: str) -> tuple[str, int | None]:
    """Host and port; no host where it is none."""
    try:
        parts = urlsplit(f"//{netloc}")
        place = (parts.hostname or "", parts.port)
    except ValueError:
        return "", None
    return place
