"""Who opens a socket: known by the handshake, or by the first frame."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.types import Receive, Scope

from backend.api import messages, requests
from backend.api.access import address_of
from backend.api.callers import Caller
from backend.api.connection import FAILED, CloseReason
from backend.api.keyring import unauthorized
from backend.api.needs import CONNECT, needs_at
from backend.api.problems import KINDS, STORE_FAILURES, ProblemError, unreadable
from backend.api.state import ApiState

UNAUTHORIZED: Final = 4401
NOT_ALLOWED: Final = 4403
TOO_MANY: Final = 4409

Admitted = tuple[Caller, messages.Auth | None]  # with the frame that said so


async def admitted(state: ApiState, scope: Scope, receive: Receive) -> Admitted | None:
    """Who calls; None where the client leaves before it says so.

    Raises:
        ProblemError: nobody who may listen.
    """
    try:
        known = await _known(state, scope, receive)
    except STORE_FAILURES as error:
        raise unreadable(error) from error
    if known is not None:
        refuse_unless_listening(known[0], scope["path"])
        _refuse_one_more(state, known[0])
    return known


def closing(problem: ProblemError) -> CloseReason:
    """How a connection ends whose caller has `problem`: 44xx stop, 45xx come back."""
    code = {401: UNAUTHORIZED, 403: NOT_ALLOWED, 409: TOO_MANY}.get(problem.status, FAILED)
    return CloseReason(code, problem.code, 1_000 if KINDS[problem.code].temporary else None)


def refuse_unless_listening(caller: Caller, path: str) -> None:
    """See that a caller may have a socket.

    Raises:
        ProblemError: `forbidden`.
    """
    need = needs_at(path)[CONNECT].scope
    if need is None or not caller.may(need):
        raise ProblemError("forbidden", f"this needs a key with the scope {need}")


async def _known(state: ApiState, scope: Scope, receive: Receive) -> Admitted | None:
    access = state.access
    if not access.waits_for_auth(scope):
        return await access.caller(scope), None
    message = None
    try:
        async with asyncio.timeout(state.hub.limits.auth_ms / 1_000):
            message = await receive()
    except TimeoutError:
        raise unauthorized() from None
    if message["type"] == "websocket.disconnect":
        return None
    auth = _auth(message.get("text"), state.hub.limits.frame_bytes)
    token = auth.params.token.get_secret_value()
    return await access.by_token(token, address_of(scope)), auth


def _auth(text: str | None, limit: int) -> messages.Auth:
    try:
        request = requests.validate(requests.parse(text, limit=limit))
    except ProblemError:
        request = None
    if not isinstance(request, messages.Auth):
        raise unauthorized("the first frame must be `auth`, with a key")
    return request


def _refuse_one_more(state: ApiState, caller: Caller) -> None:
    """See that a caller has not all the sockets that its key allows.

    Raises:
        ProblemError: `too_many_connections`.
    """
    if caller.key is None:
        return
    limit = caller.key.terms.connections
    if sum(one.caller.name == caller.name for one in state.hub.connections) >= limit:
        raise ProblemError("too_many_connections", f"this key may have {limit} sockets at a time")
