"""The door: no request goes further before it is known who calls and what they may."""

from __future__ import annotations

import logging
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api.access import address_of
from backend.api.callers import UNKNOWN, Caller
from backend.api.hosts import host_of, is_own_origin, origins_of
from backend.api.keyring import EndedKeyError
from backend.api.needs import PUBLIC, Need, needs_at
from backend.api.problems import (
    STORE_FAILURES,
    ProblemError,
    answer,
    not_answered,
    nothing_at,
    unreadable,
)
from backend.api.request_ids import REQUEST_ID, request_id_of
from backend.api.state import ApiState
from backend.store.audit import Act
from domain.keys import KeyScope, masked

log = logging.getLogger(__name__)

SAFE: Final = frozenset({"GET", "HEAD"})  # methods that change nothing
REFUSED: Final = frozenset({401, 403, 429})  # statuses that the audit log is told of
FAILED: Final = 500


class _Answer:
    """What goes out, under headers of ours; `status` once it has begun."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.status: int | None = None
        self.headers = {REQUEST_ID: request_id}
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message).update(self.headers)
        await self._send(message)


class Guard:
    """Lets requests through with their caller in `state`; sockets decide at their handshake.

    Args:
        app: Is asked by those who may.
        state: Knows who calls.
    """

    def __init__(self, app: ASGIApp, state: ApiState) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = _Answer(send, request_id_of(scope))
        needs = needs_at(scope["path"])
        need = needs.get("GET" if scope["method"] == "HEAD" else scope["method"])
        if need is PUBLIC:
            await self._app(scope, receive, told)
            return
        act = _act(scope, UNKNOWN, told)
        try:
            caller = await self._caller(scope, told)
            act = _act(scope, caller.name, told)
            self._limit(caller, scope, told)
            _refuse_unless(need, caller, scope)
            number = await self._begin(act) if _changes(need, scope) else None
        except ProblemError as problem:
            if isinstance(problem, EndedKeyError):
                act = _act(scope, problem.key_id, told)
            if problem.status in REFUSED:
                self._state.access.trail.refused(act, problem.status)
            await answer(problem, scope)(scope, receive, told)
            return
        scope.setdefault("state", {})["caller"] = caller
        try:
            await self._app(scope, receive, told)
        finally:
            if number is not None:
                await self._end(number, told.status or FAILED)

    async def _caller(self, scope: Scope, told: _Answer) -> Caller:
        try:
            return await self._state.access.caller(scope)
        except STORE_FAILURES as error:
            raise unreadable(error) from error
        except ProblemError:
            self._limit(None, scope, told)
            raise

    def _limit(self, caller: Caller | None, scope: Scope, told: _Answer) -> None:
        """Take one request from a quota.

        Raises:
            ProblemError: `rate_limited`.
        """
        spent = self._state.access.spend(caller, address_of(scope))
        if spent is not None:
            told.headers |= spent.headers()
            if spent.wait_s:
                raise spent.refusal()

    async def _begin(self, act: Act) -> int:
        """Enter a change; where that cannot be it is not made."""
        try:
            return await self._state.access.trail.begin(act)
        except STORE_FAILURES as error:
            raise unreadable(error) from error

    async def _end(self, number: int, status: int) -> None:
        try:
            await self._state.access.trail.end(number, status)
        except STORE_FAILURES as error:
            log.warning("how a change ended is not in the audit log", extra={"reason": str(error)})


def _changes(need: Need | None, scope: Scope) -> bool:
    """Whether a request may change something; a query in a body only reads."""
    reads = need is not None and need.scope is KeyScope.READ
    return scope["method"] not in SAFE and not reads


def _refuse_unless(need: Need | None, caller: Caller, scope: Scope) -> None:
    """See that a caller may do what it asks for.

    Raises:
        ProblemError: `forbidden`; `not_found` or `method_not_allowed` where nothing is listed.
    """
    if need is None:
        path = scope["path"]
        if needs_at(path):
            raise not_answered(path, scope["method"])
        if caller.operates:
            return  # the router says what is wrong
        raise nothing_at(path)
    if need.scope is not None and not caller.may(need.scope):
        raise ProblemError("forbidden", f"this needs a key with the scope {need.scope.value}")
    if need.whole and not caller.sees_all:
        raise ProblemError("forbidden", "this tells of all instruments, and needs a key for all")
    # What a page of another origin sends, a browser sends without asking.
    foreign = [one for one in origins_of(scope) if not is_own_origin(one, host_of(scope))]
    if scope["method"] not in SAFE and foreign and caller.key is None:
        raise ProblemError("forbidden", "a page of another origin may change nothing here")


def _act(scope: Scope, caller: str, told: _Answer) -> Act:
    return Act(
        caller=caller,
        address=address_of(scope),
        action=scope["method"],
        path=masked(scope["path"]),
        request_id=told.headers[REQUEST_ID],
    )
