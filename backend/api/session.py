"""What one client asks on the socket, and the answers to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncpg

from backend.api import messages, requests, subscribing
from backend.api.answers import reading
from backend.api.connection import ABUSE, CloseReason, Connection, Head
from backend.api.handshake import another
from backend.api.limits import RequestBudget
from backend.api.past_events import Asked, read_events
from backend.api.problems import ProblemError, unreadable, unstorable
from backend.api.state import ApiState
from backend.api.streams import KnownStreams
from backend.store.database import CONNECTION_ERRORS
from backend.store.lacking import ABSENT
from domain.market import rfc3339

log = logging.getLogger(__name__)

Asking = (
    messages.Subscribe
    | messages.Unsubscribe
    | messages.ListSubscriptions
    | messages.History
    | messages.Auth
)
PATIENCE: Final = 200  # refused requests without one accepted in between: abuse


class Session:
    """One connection's conversation. `on_text` answers every frame and never raises."""

    def __init__(self, state: ApiState, connection: Connection) -> None:
        limits = state.hub.limits
        self._state = state
        self._connection = connection
        self._now: Callable[[], float] = asyncio.get_running_loop().time
        self._budget = RequestBudget(
            per_s=limits.requests_per_s, burst=limits.burst, at=self._now()
        )
        self._refused = 0

    def welcome(self, session: str, auth: messages.Auth | None = None) -> None:
        """Send the first frame, and the answer to `auth` where that opened the door."""
        limits = self._state.hub.limits
        self._connection.push_object(
            {
                "type": "welcome",
                "ts": self._ts(),
                "session": session,
                "api": "alphapulse.v1.json",
                "server": self._state.status.version,
                "market": self._state.status.market.value,
                "heartbeat_ms": limits.heartbeat_ms,
                "limits": limits.public(),
            }
        )
        if auth is not None:
            self._reply(auth, self._ts(), [])

    async def on_text(self, text: str | None) -> None:
        """Answer one frame; `text` is None for a binary one."""
        request: dict[str, Any] = {}
        try:
            request = requests.parse(text, limit=self._state.hub.limits.frame_bytes)
            if request["method"] != "ping":
                self._spend()
            await self._answer(requests.validate(request))
            self._refused = 0
        except ProblemError as problem:
            self._refuse(problem, request)
        except asyncpg.DataError as error:
            self._refuse(unstorable(error), request)
        except (*CONNECTION_ERRORS, *ABSENT) as error:
            self._refuse(unreadable(error), request)

    def _refuse(self, problem: ProblemError, request: dict[str, Any]) -> None:
        number, method = request.get("id"), request.get("method")
        self._connection.push_problem(
            problem,
            number if isinstance(number, int | str) else None,
            method if isinstance(method, str) else None,
        )
        self._refused += 1
        if self._refused > PATIENCE:
            self._connection.close(CloseReason(ABUSE, "rate_limited"))

    def _spend(self) -> None:
        if wait := self._budget.spend(self._now()):
            raise ProblemError(
                "rate_limited", "slow down", retry_after_ms=max(1, round(wait * 1_000))
            )

    async def _answer(self, request: Any) -> None:  # noqa: ANN401 - a message model
        match request:
            case messages.Ping():
                self._connection.push_object(
                    {
                        "type": "pong",
                        "id": request.id,
                        "ts": self._ts(),
                        "data": request.params.data,
                    }
                )
            case messages.ListSubscriptions():
                self._reply(request, self._ts(), self._held(self._connection.subscriptions))
            case messages.Unsubscribe():
                self._unsubscribe(request)
            case messages.History():
                await self._history(request)
            case messages.Auth():
                await self._authenticate(request)
            case _:
                await self._subscribe(request)

    async def _authenticate(self, request: messages.Auth) -> None:
        """Go on as another caller, or as the same one with a newer key."""
        ts_in, connection = self._ts(), self._connection
        token = request.params.token.get_secret_value()
        connection.caller = await another(self._state, connection, token)
        self._reply(request, ts_in, self._held(list(connection.subscriptions)))

    def _unsubscribe(self, request: messages.Unsubscribe) -> None:
        held = self._connection.subscriptions
        leaving = set(held) if request.params.all else set()
        patterns = self._connection.patterns
        for pattern in patterns.copy() if request.params.all else request.params.streams:
            patterns.pop(pattern, None)
        matched, rejected = subscribing.sorted_out(request.params.streams, KnownStreams(held))
        leaving.update(matched)
        gone = self._held(sorted(leaving))
        for stream in leaving:
            self._state.hub.leave(stream, self._connection)
        self._reply(request, self._ts(), gone, rejected)

    async def _subscribe(self, request: messages.Subscribe) -> None:
        ts_in = self._ts()
        await subscribing.subscribe(
            self._state,
            self._connection,
            request.params,
            lambda granted, rejected: self._reply(request, ts_in, granted, rejected),
        )

    async def _history(self, request: messages.History) -> None:
        ts_in, params = self._ts(), request.params
        asked = Asked(
            params.stream, params.since, params.start, params.to, params.limit, params.order
        )
        async with reading(self._state) as database:
            page = await read_events(
                database, self._connection.caller, asked, self._state.status.streams()
            )
        following = page.following and page.following.model_dump()
        self._answered(request, ts_in, {"data": page.data, "next": following})

    def _held(self, names: Sequence[str] | dict[str, Any]) -> list[dict[str, Any]]:
        return _heads({name: self._connection.heads.get(name, Head(None, 0)) for name in names})

    def _reply(
        self,
        request: Asking,
        ts_in: str,
        held: list[dict[str, Any]],
        rejected: Sequence[dict[str, Any]] = (),
    ) -> None:
        self._answered(request, ts_in, {"streams": held, "rejected": rejected})

    def _answered(self, request: Asking, ts_in: str, result: dict[str, Any]) -> None:
        self._connection.push_object(
            {
                "type": "reply",
                "id": request.id,
                "method": request.method,
                "ok": True,
                "ts_in": ts_in,
                "ts_out": self._ts(),
                "result": result,
            }
        )

    def _ts(self) -> str:
        return rfc3339(self._state.clock.now())


def _heads(places: dict[str, Head]) -> list[dict[str, Any]]:
    return [
        {"stream": stream, "epoch": head.epoch, "offset": head.offset}
        for stream, head in places.items()
    ]
