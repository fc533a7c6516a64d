"""The door: no request goes further before it is known who calls and what they may."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from backend.api.callers import Caller
from backend.api.hosts import host_of, is_own_origin, origins_of
from backend.api.needs import PUBLIC, Need, needs_at
from backend.api.problems import (
    STORE_FAILURES,
    ProblemError,
    answer,
    not_answered,
    nothing_at,
    unreadable,
)
from backend.api.state import ApiState

SAFE = frozenset({"GET", "HEAD"})  # methods that change nothing


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
        needs = needs_at(scope["path"])
        need = needs.get("GET" if scope["method"] == "HEAD" else scope["method"])
        try:
            if need is not PUBLIC:
                caller = await self._caller(scope)
                self._refuse_unless(need, caller, scope)
                scope.setdefault("state", {})["caller"] = caller
        except ProblemError as problem:
            await answer(problem)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
        try:
            return await self._state.access.caller(scope)
        except STORE_FAILURES as error:
            raise unreadable(error) from error

    def _refuse_unless(self, need: Need | None, caller: Caller, scope: Scope) -> None:
        """See that a caller may do what it asks for.

        Raises:
            ProblemError: `forbidden`, or `not_found` where nothing is served to it.
        """
        if need is None:
            if caller.operates:
                return  # the router says what is wrong
            path = scope["path"]
            raise not_answered(path, scope["method"]) if needs_at(path) else nothing_at(path)
        if need.scope is not None and not caller.may(need.scope):
            raise ProblemError("forbidden", f"this needs a key with the scope {need.scope.value}")
        if need.whole and not caller.sees_all:
            raise ProblemError(
                "forbidden", "this tells of all instruments, and needs a key for all"
            )
        # What a page of another origin sends, a browser sends without asking.
        foreign = [one for one in origins_of(scope) if not is_own_origin(one, host_of(scope))]
        if scope["method"] not in SAFE and foreign and caller.key is None:
            raise ProblemError("forbidden", "a page of another origin may change nothing here")
