"""A loopback server that answers REST requests with the payloads it was given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from aiohttp import web


class Answer(NamedTuple):
    """What a path is answered with; a document is sent as JSON, text and bytes as they are."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = {}


@dataclass
class Served:
    """The server's address and the requests that came."""

    port: int
    requests: list[str] = field(default_factory=list)

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"


@asynccontextmanager
async def served(answers: Mapping[str, Answer]) -> AsyncIterator[Served]:
    """Answer what ends in a key of `answers`, the longest that fits; 404 for all else.

    A key is a path's end, or that and a part of the query: `instruments?instType=SPOT`.
    """

    async def answer(request: web.Request) -> web.Response:
        server.requests.append(request.path_qs)
        fitting = [key for key in answers if _fits(key, request)]
        if not fitting:
            return web.Response(status=404, text="not served here")
        given = answers[max(fitting, key=len)]
        body = given.body if isinstance(given.body, bytes) else None
        if body is None:
            body = given.body.encode() if isinstance(given.body, str) else orjson.dumps(given.body)
        return web.Response(
            body=body, status=given.status, headers=given.headers, content_type="application/json"
        )

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server = Served(port=runner.addresses[0][1])
    try:
        yield server
    finally:
        await runner.cleanup()


def _fits(key: str, request: web.Request) -> bool:
    path, _, query = key.partition("?")
    return request.path.endswith(path) and query in request.query_string
