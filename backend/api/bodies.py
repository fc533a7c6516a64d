"""What a client has to send, how much of it, and by when."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import h11
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from backend.api.problems import ProblemError, answer

LARGEST_BODY: Final = 65_536  # bytes, as of a frame
# Thousands of instruments by their names.
LARGER_BODIES: Final = {"/v1/predictions/query": 524_288}
WITHIN_S: Final = 20.0  # wall: for the head of a request, and again for its body


class WholeBodies:
    """Reads a body before anything is done with it: one that is long is refused, or one late.

    Args:
        app: finds the body at its first `receive`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(scope, receive)
        except ProblemError as problem:
            await answer(problem, scope)(scope, receive, _closing(send))
        except ClientDisconnect:
            pass  # nobody waits for an answer to half of a body
        else:
            await self._app(scope, receive if body is None else _told(body, receive), send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """None where there is none.

        Raises:
            ProblemError: `body_too_large`, `body_late`.
            ClientDisconnect: before its end.
        """
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        largest = LARGER_BODIES.get(scope["path"], LARGEST_BODY)
        if b"transfer-encoding" in headers or not length.isdigit() or int(length) > largest:
            detail = f"a body may have {largest} bytes, and says how many by Content-Length"
            raise ProblemError("body_too_large", detail)
        if not int(length):
            return None
        try:
            async with asyncio.timeout(WITHIN_S):
                return await _whole(receive)
        except TimeoutError:
            detail = f"the body of {int(length)} bytes did not come within {WITHIN_S:g} s"
            raise ProblemError("body_late", detail) from None


class PunctualProtocol(H11Protocol):
    """uvicorn's protocol, which waits for the head of a request for a bounded time."""

    within_s = WITHIN_S
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._expect()
        else:
            self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _expect(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.within_s, self.transport.close)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


async def _whole(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def _told(body: bytes, receive: Receive) -> Receive:
    """`receive` of whoever is to find the body whole; what follows it is the client's leaving."""
    first: list[Mapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def told() -> Message:
        return dict(first.pop()) if first else await receive()

    return told


def _closing(send: Send) -> Send:
    """What is left of a refused body is not taken for the next request."""

    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await send(message)

    return closing
