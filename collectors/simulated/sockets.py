"""Socket connections: SUBSCRIBE, UNSUBSCRIBE and LIST_SUBSCRIPTIONS."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import orjson
from aiohttp import WSMsgType, web

from collectors.simulated.faults import Faults
from collectors.simulated.subscribers import Subscriber, Subscribers

PING_EVERY_S = 20.0
MAX_MESSAGE = 1024 * 1024  # bytes; a subscription to 1 000 streams has about 30 000
_METHODS = {"SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS"}


class Sockets:
    """Handler of every WebSocket path; `/stream` without more sends combined events."""

    def __init__(self, subscribers: Subscribers, faults: Faults) -> None:
        self._subscribers = subscribers
        self._faults = faults

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self._faults.of_connection():
            return web.Response(status=503)
        socket = web.WebSocketResponse(
            heartbeat=PING_EVERY_S, compress=False, max_msg_size=MAX_MESSAGE
        )
        await socket.prepare(request)
        transport = cast("asyncio.Transport", request.transport)
        subscriber = Subscriber(transport, combined=request.path == "/stream")
        self._subscribers.join(subscriber)
        self._subscribers.subscribe(subscriber, _streams_of(request))
        try:
            async for message in socket:
                if message.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
                    await socket.send_str(self._answer(subscriber, message.data).decode())
        finally:
            self._subscribers.leave(subscriber)
        return socket

    def _answer(self, subscriber: Subscriber, text: str | bytes) -> bytes:
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            return _refusal(f"Invalid JSON: {error}")
        if not isinstance(request, dict) or request.get("method") not in _METHODS:
            return _refusal(f"Invalid request: unknown method, expected one of {sorted(_METHODS)}")
        streams = request.get("params", [])
        if not isinstance(streams, list) or not all(isinstance(one, str) for one in streams):
            return _refusal("Invalid request: params must be a list of stream names")
        result: list[str] | None = None
        match request["method"]:
            case "SUBSCRIBE":
                self._subscribers.subscribe(subscriber, streams)
            case "UNSUBSCRIBE":
                self._subscribers.unsubscribe(subscriber, streams)
            case _:
                result = sorted(subscriber.streams)
        return orjson.dumps({"result": result, "id": request.get("id")})


def _streams_of(request: web.Request) -> list[str]:
    """Streams named in the address: `/stream?streams=a/b` or `/ws/a/b`."""
    named: Any = request.query.get("streams", "")
    if not named and request.path.startswith("/ws/"):
        named = request.path.removeprefix("/ws/")
    return [one for one in named.split("/") if "@" in one]


def _refusal(message: str) -> bytes:
    return orjson.dumps({"code": 2, "msg": message})
