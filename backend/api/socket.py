"""The WebSocket endpoint: accept, read, write, close."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Collection, MutableMapping, Sequence
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from backend import metrics
from backend.api.callers import Caller
from backend.api.connection import DRAINING, FAILED, FIRST_RETRY_MS, CloseReason, Connection
from backend.api.handshake import admitted, closing
from backend.api.hosts import FORBIDDEN, host_of, is_own_origin, origins_of
from backend.api.messages import Auth
from backend.api.problems import ProblemError
from backend.api.session import Session
from backend.api.state import ApiState

log = logging.getLogger(__name__)

SUB_PROTOCOL: Final = "alphapulse.v1.json"
CONNECTION_LIMIT: Final = CloseReason(4409, "too_many_connections", 5_000)
BAD_PROTOCOL: Final = CloseReason(4400, "unknown_sub_protocol")
LEFT: Final = CloseReason(1001, "left")  # by the peer, to whom nothing can be said
CLOSE_TIMEOUT_S: Final = 10.0  # for a peer that has stopped reading to take the last frames


class Socket:
    """The ASGI application behind `/ws`.

    Plain ASGI rather than a framework's WebSocket: half the CPU for each message sent.
    """

    def __init__(self, state: ApiState) -> None:
        self._state = state
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        if not _welcome(scope, self._state.access.rules.origins):
            await send({"type": "websocket.close", "code": FORBIDDEN})
            return
        offered = scope.get("subprotocols", [])
        chosen = SUB_PROTOCOL if SUB_PROTOCOL in offered else None
        await send({"type": "websocket.accept", "subprotocol": chosen})
        reason = self._refusal(offered) or await self._admit(scope, receive, send)
        if reason is not None:
            metrics.SOCKETS_CLOSED.labels(str(reason.code)).inc()
            await _close(send, reason)

    def _refusal(self, offered: list[str]) -> CloseReason | None:
        hub = self._state.hub
        if offered and SUB_PROTOCOL not in offered:
            return BAD_PROTOCOL
        if hub.draining:
            return CloseReason(DRAINING, "draining", FIRST_RETRY_MS)
        return CONNECTION_LIMIT if len(hub.connections) >= hub.limits.connections else None

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> CloseReason | None:
        try:
            known = await admitted(self._state, scope, receive)
        except ProblemError as problem:
            return closing(problem)
        return None if known is None else await self._converse(*known, receive, send)

    async def _converse(
        self, caller: Caller, auth: Auth | None, receive: Receive, send: Send
    ) -> CloseReason | None:
        hub = self._state.hub
        connection = Connection(send, hub.limits, caller)
        hub.connections.add(connection)
        session = Session(self._state, connection)
        session.welcome(f"s{next(self._numbers)}", auth)
        reader = asyncio.create_task(_read(receive, session))
        writer = asyncio.create_task(connection.write())
        try:
            ending: set[asyncio.Future[Any]] = {reader, writer, connection.closing}
            await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hub.detach(connection)
            for task in (reader, writer):
                task.cancel()
            ends = await asyncio.gather(reader, writer, return_exceptions=True)
            verdict = _verdict(connection, ends)
            connection.close(verdict or LEFT)  # nobody waits any more for what it has not taken
        return verdict


async def _read(receive: Receive, session: Session) -> None:
    while True:
        message: MutableMapping[str, Any] = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await session.on_text(message.get("text"))


def _verdict(connection: Connection, ends: Sequence[object]) -> CloseReason | None:
    if connection.closing.done():
        return connection.closing.result()
    for end in ends:
        # OSError is the peer's leaving; anything else is ours.
        if isinstance(end, Exception) and not isinstance(end, OSError):
            log.error("a connection failed", exc_info=end)
            return CloseReason(FAILED, "internal", 1_000)
    return None


async def _close(send: Send, reason: CloseReason) -> None:
    message = {"type": "websocket.close", "code": reason.code, "reason": reason.json()}
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        await asyncio.wait_for(send(message), CLOSE_TIMEOUT_S)


def _welcome(scope: Scope, others: Collection[str]) -> bool:
    """Whether no browser is asking, or one that shows a page of ours, or of who may call too.

    A page of another site could otherwise read the streams of a server on loopback.
    """
    return all(
        origin in others or is_own_origin(origin, host_of(scope)) for origin in origins_of(scope)
    )
