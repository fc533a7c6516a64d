"""Who opens a socket: known by the handshake, or by the first frame."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from starlette.types import Receive, Scope

from backend.api import messages, requests
from backend.api.access import address_of
from backend.api.callers import ANYONE, UNKNOWN, Caller
from backend.api.connection import FAILED, CloseReason, Connection
from backend.api.keyring import EndedKeyError, unauthorized
from backend.api.needs import CONNECT, needs_at
from backend.api.problems import KINDS, STORE_FAILURES, ProblemError, unreadable
from backend.api.quotas import network_of
from backend.api.state import ApiState
from backend.store.audit import Act
from domain.keys import KeyScope, masked

SOCKET: Final = "/ws"
UNAUTHORIZED: Final = 4401
NOT_ALLOWED: Final = 4403
TOO_MANY: Final = 4409
MOST_OF_ADDRESS: Final = 20  # sockets of an address that needs no key
MOST_WAITING: Final = 200  # handshakes whose first frame is to say who calls

Admitted = tuple[Caller, messages.Auth | None]  # with the frame that said so


async def admitted(state: ApiState, scope: Scope, receive: Receive) -> Admitted | None:
    """Who calls; None where the client leaves before it says so.

    Raises:
        ProblemError: nobody who may listen; the audit log is told.
    """
    name = UNKNOWN
    try:
        known = await _known(state, scope, receive)
        if known is not None:
            name = known[0].name
            _refuse_unless_listening(known[0], scope["path"])
            _refuse_one_more(state, known[0])
    except STORE_FAILURES as error:
        raise unreadable(error) from error
    except ProblemError as problem:
        if isinstance(problem, EndedKeyError):
            name = problem.key_id
        if not KINDS[problem.code].temporary:
            state.access.trail.refused(_act(scope, name), closing(problem).code)
        raise
    return known


async def another(state: ApiState, connection: Connection, token: str) -> Caller:
    """Who calls from now on on a socket that is open.

    Raises:
        ProblemError: nobody who may have it, or hear what it holds; the audit log is told.
    """
    before, name = connection.caller, UNKNOWN
    try:
        caller = await state.access.by_token(token, before.address)
        name = caller.name
        _refuse_unless_hearing(caller, list(connection.subscriptions))
        if _place(caller) != _place(before):
            _refuse_one_more(state, caller)
    except ProblemError as problem:
        if isinstance(problem, EndedKeyError):
            name = problem.key_id
        act = Act(caller=name, address=before.address, action=CONNECT, path=SOCKET)
        if not KINDS[problem.code].temporary:
            state.access.trail.refused(act, problem.status)
        raise
    return caller


def closing(problem: ProblemError) -> CloseReason:
    """How a connection ends whose caller has `problem`: 44xx stop, 45xx come back."""
    code = {401: UNAUTHORIZED, 403: NOT_ALLOWED, 409: TOO_MANY}.get(problem.status, FAILED)
    return CloseReason(code, problem.code, 1_000 if KINDS[problem.code].temporary else None)


def _act(scope: Scope, name: str) -> Act:
    path = masked(scope["path"])
    return Act(caller=name, address=address_of(scope), action=CONNECT, path=path)


def _refuse_unless_listening(caller: Caller, path: str) -> None:
    """See that a caller may have a socket.

    Raises:
        ProblemError: `forbidden`.
    """
    need = needs_at(path)[CONNECT].scope
    if need is None or not caller.may(need):
        raise ProblemError("forbidden", f"this needs a key with the scope {need}")


def _refuse_unless_hearing(caller: Caller, held: Sequence[str]) -> None:
    """See that a caller may hear the streams of a connection.

    Raises:
        ProblemError: `forbidden`.
    """
    if not caller.may(KeyScope.STREAM) or caller.streams(held) != held:
        raise ProblemError("forbidden", "this key may not hear what this connection holds")


async def _known(state: ApiState, scope: Scope, receive: Receive) -> Admitted | None:
    access = state.access
    if not access.waits_for_auth(scope):
        return await access.caller(scope), None
    if access.waiting >= MOST_WAITING:
        raise ProblemError("too_many_connections", "too many handshakes wait for their callers")
    message = None
    access.waiting += 1
    try:
        async with asyncio.timeout(state.hub.limits.auth_ms / 1_000):
            message = await receive()
    except TimeoutError:
        raise unauthorized() from None
    finally:
        access.waiting -= 1
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
    if caller.operates:
        return
    limit = MOST_OF_ADDRESS if caller.key is None else caller.key.terms.connections
    place = _place(caller)
    if sum(_place(one.caller) == place for one in state.hub.connections) >= limit:
        raise ProblemError("too_many_connections", f"a caller may have {limit} sockets at a time")


def _place(caller: Caller) -> str:
    """Whose sockets are counted together: a key's, or an address's."""
    return network_of(caller.address) if caller.name == ANYONE else caller.name
