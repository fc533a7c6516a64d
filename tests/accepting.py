"""The connections that a proxy of a test accepts, none of which is left when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ROUNDS: Final = 10


@asynccontextmanager
async def accepting(serve: Serve) -> AsyncIterator[int]:
    """Serve each connection in a task of its own, and cut it at the end; the port."""
    links: dict[asyncio.Future[None], asyncio.StreamWriter] = {}

    def accept(client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        link = asyncio.ensure_future(serve(client, answers))
        links[link] = answers
        link.add_done_callback(leave)

    def leave(link: asyncio.Future[None]) -> None:
        links.pop(link).transport.abort()  # it may have been cancelled before it began

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    (listener,) = server.sockets
    try:
        yield listener.getsockname()[1]
    finally:
        # asyncio drops, unclosed, what it has accepted of a server that is closed meanwhile.
        asyncio.get_running_loop().remove_reader(listener.fileno())
        await _rounds()  # of what was accepted, up to its link
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        server.close()
        await _rounds()  # of what is aborted, up to its socket


async def _rounds() -> None:
    for _ in range(ROUNDS):
        await asyncio.sleep(0)
