"""What one client asks on the socket, and the answers to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Any, Final

import orjson

from backend.api import messages, requests
from backend.api.answers import reading, starting
from backend.api.connection import ABUSE, CloseReason, Connection, Head
from backend.api.limits import RequestBudget
from backend.api.messages import StreamProblem
from backend.api.problems import ProblemError
from backend.api.snapshots import known_heads, newest_rows
from backend.api.state import ApiState
from backend.api.streams import KnownStreams
from backend.store.database import CONNECTION_ERRORS
from domain.errors import shortened
from domain.market import rfc3339

log = logging.getLogger(__name__)

HINTED: Final = 3  # unknown streams of a request that are answered with the nearest names
UNKNOWN: Final = {
    name: value
    for name, value in ProblemError("unknown_stream", "no stream of this name").body().items()
    if name in StreamProblem.model_fields
}
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

    def welcome(self, session: str) -> None:
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
        except CONNECTION_ERRORS as error:
            log.warning("a subscription could not be read: %s", error)
            self._refuse(ProblemError("unavailable", "the database cannot be read"), request)

    def _refuse(self, problem: ProblemError, request: dict[str, Any]) -> None:
        number, method = request.get("id"), request.get("method")
        self._connection.push_object(
            {
                "type": "error",
                "id": number if isinstance(number, int | str) else None,
                "method": method if isinstance(method, str) else None,
                "ok": False,
                "error": problem.body(),
            }
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
            case _:
                await self._subscribe(request)

    def _unsubscribe(self, request: messages.Unsubscribe) -> None:
        held = self._connection.subscriptions
        leaving = set(held) if request.params.all else set()
        matched, rejected = _sorted_out(request.params.streams, KnownStreams(held))
        leaving.update(matched)
        gone = self._held(sorted(leaving))
        for stream in leaving:
            self._state.hub.leave(stream, self._connection)
        self._reply(request, self._ts(), gone, rejected)

    async def _subscribe(self, request: messages.Subscribe) -> None:
        if self._state.reader is None:
            raise starting(self._state)
        ts_in = self._ts()
        async with reading(self._state) as database:
            known = KnownStreams([*self._state.status.streams(), *await known_heads(database)])
        granted, rejected = _sorted_out(request.params.streams, known)
        if not granted:
            raise _nothing(rejected)
        self._refuse_more_than_it_may_hold(granted)
        fresh = [each for each in granted if each not in self._connection.subscriptions]
        for stream in fresh:
            self._state.hub.join(stream, self._connection)
        try:
            # Read after joining: what is committed meanwhile is held, and nothing falls between.
            async with reading(self._state) as database:
                heads = await known_heads(database)
                rows = await newest_rows(database, fresh if request.params.snapshot else [])
        except BaseException:
            for stream in fresh:
                self._state.hub.leave(stream, self._connection)
            raise
        places = {stream: heads.get(stream, Head(None, 0)) for stream in fresh}
        held = {stream: self._connection.heads.get(stream, Head(None, 0)) for stream in granted}
        self._reply(request, ts_in, _heads({**held, **places}), rejected)
        for stream, head in places.items():
            if request.params.snapshot:
                self._snapshot(stream, head, rows.get(stream, []))
            self._connection.go_live(stream, head)

    def _refuse_more_than_it_may_hold(self, granted: Iterable[str]) -> None:
        limit = self._state.hub.limits.subscriptions
        if len({*granted, *self._connection.subscriptions}) > limit:
            raise ProblemError("too_many_subscriptions", f"a connection may hold {limit} streams")

    def _snapshot(self, stream: str, head: Head, payloads: Sequence[bytes]) -> None:
        envelope = {
            "type": "snapshot",
            "stream": stream,
            "epoch": head.epoch,
            "offset": head.offset,
            "ts": self._ts(),
        }
        data = b",".join(payloads)
        body = orjson.dumps(envelope)[:-1] + b',"data":[' + data + b"]"
        self._connection.push(body)

    def _held(self, names: Sequence[str] | dict[str, Any]) -> list[dict[str, Any]]:
        return _heads({name: self._connection.heads.get(name, Head(None, 0)) for name in names})

    def _reply(
        self,
        request: messages.Subscribe | messages.Unsubscribe | messages.ListSubscriptions,
        ts_in: str,
        held: list[dict[str, Any]],
        rejected: Sequence[dict[str, Any]] = (),
    ) -> None:
        self._connection.push_object(
            {
                "type": "reply",
                "id": request.id,
                "method": request.method,
                "ok": True,
                "ts_in": ts_in,
                "ts_out": self._ts(),
                "result": {"streams": held, "rejected": rejected},
            }
        )

    def _ts(self) -> str:
        return rfc3339(self._state.clock.now())


def _heads(places: dict[str, Head]) -> list[dict[str, Any]]:
    return [
        {"stream": stream, "epoch": head.epoch, "offset": head.offset}
        for stream, head in places.items()
    ]


def _sorted_out(
    patterns: Iterable[str], known: KnownStreams
) -> tuple[list[str], list[dict[str, Any]]]:
    """The streams that are meant, each once, and what is said of patterns that name none."""
    matched: dict[str, None] = {}
    strange = []
    for pattern in dict.fromkeys(patterns):
        streams = known.expand(pattern)
        matched.update(dict.fromkeys(streams))
        if not streams:
            strange.append(pattern)
    # Nearest names are for who mistyped a few, and cost too much to be looked up for thousands.
    near = [known.closest(pattern) for pattern in strange[:HINTED]]
    return list(matched), [
        {"stream": pattern, "error": {**UNKNOWN, "suggestions": hints} if hints else UNKNOWN}
        for pattern, hints in zip_longest(strange, near)
    ]


def _nothing(rejected: Sequence[dict[str, Any]]) -> ProblemError:
    """The answer to a subscription that is left with no stream; it names every one."""
    detail = f"none of the {len(rejected)} streams asked for exists; GET /v1/streams lists them"
    if len(rejected) == 1:
        name = shortened(rejected[0]["stream"])
        detail = f"no stream matches {name!r}; GET /v1/streams lists them"
    return ProblemError("unknown_stream", detail, rejected=rejected)
