"""A loopback site that stands in for all sources: it answers each path as a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Handler = Callable[[web.Request], web.StreamResponse]


@dataclass
class Site:
    """What it is asked, and what it answers; a path that is not named is answered with 404."""

    port: int = 0
    answers: dict[str, bytes | Handler] = field(default_factory=dict)
    requests: list[web.Request] = field(default_factory=list)

    def address(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def asked(self, path: str) -> list[web.Request]:
        return [request for request in self.requests if request.path == path]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        answer = self.answers.get(request.path)
        if answer is None:
            return web.Response(status=404, text="not here")
        return web.Response(body=answer) if isinstance(answer, bytes) else answer(request)


def status(code: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Handler:
    """A handler that answers with a status; `{query}` in the body becomes the request's."""

    def handle(request: web.Request) -> web.Response:
        said = body.replace(b"{query}", request.query_string.encode())
        return web.Response(status=code, headers=headers, body=said)

    return handle


def tagged(body: bytes, etag: str) -> Handler:
    """A handler that sends the body unless the client has it already."""

    def handle(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        return web.Response(body=body, headers={"ETag": etag})

    return handle


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    """A site of its own port."""
    made = Site()
    application = web.Application(client_max_size=2**20)
    application.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        listening = web.TCPSite(runner, "127.0.0.1", 0)
        await listening.start()
        made.port = runner.addresses[0][1]
        yield made
    finally:
        await runner.cleanup()
