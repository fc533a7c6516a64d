"""A receiver of notifications on loopback: it keeps what it is sent and answers as a test says."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

SECRET = "whsec_" + base64.b64encode(b"a key that nobody else has").decode()
TOKEN = "tok3n-0f-a-path"  # noqa: S105 - in addresses, where nobody else may see it

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Got:
    """A request."""

    id: str
    body: bytes
    signed: bool  # by the secret, as Standard Webhooks has it

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.body)
        return found


@dataclass
class Receiver:
    """`answers` are given one after another, then 204 to everything."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{TOKEN}"

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.got]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a condition of what it got."""
        async with self._more:
            await self._more.wait_for(holds)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        identity = request.headers.get("webhook-id", "")
        self.got.append(Got(identity, body, is_signed(request, body)))
        async with self._more:
            self._more.notify_all()
        return await self.answers.popleft()(request) if self.answers else web.Response(status=204)


def is_signed(request: web.Request, body: bytes) -> bool:
    """Written from the standard, not from our sender."""
    key = base64.b64decode(SECRET[len("whsec_") :])
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    identity, timestamp, signatures = (request.headers.get(name, "") for name in names)
    digest = hmac.digest(key, b".".join((identity.encode(), timestamp.encode(), body)), "sha256")
    expected = "v1," + base64.b64encode(digest).decode()
    return any(hmac.compare_digest(expected, one) for one in signatures.split())


def says(status: int, **headers: str) -> Answer:
    """A status, with headers whose names have `_` for `-`."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, headers=named, text=f"no: {TOKEN}")

    return answer


def hangs(until: asyncio.Event) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        await until.wait()
        return web.Response(status=204)

    return answer


def hangs_up() -> Answer:
    """The connection is closed without an answer."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return answer


@asynccontextmanager
async def receiver(port: int = 0) -> AsyncIterator[Receiver]:
    made = Receiver()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        made.port = runner.addresses[0][1]
        yield made
    finally:
        await runner.cleanup()
