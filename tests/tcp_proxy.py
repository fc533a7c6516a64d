"""A TCP proxy before a database that delays, holds back, or cuts at the answer to a statement."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from tests.accepting import accepting

PIECE: Final = 65_536
LOOK_EVERY_S: Final = 0.01


@dataclass(slots=True)
class TcpProxy:
    """Passes bytes on, in a thread of its own; its attributes may be changed meanwhile.

    Attributes:
        server: URL of the database behind it.
        delay_s: how much later each piece of an answer comes.
        held: nothing is passed on, connections stay open.
        cut_after: where a client says this, the server hears it and the client no answer; once.
        cuts: how often that was.
    """

    server: str
    delay_s: float = 0.0
    held: bool = False
    cut_after: bytes | None = None
    cuts: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        """The database, through the proxy."""
        at = urlsplit(self.server)
        user = at.netloc.rpartition("@")[0]
        return urlunsplit(at._replace(netloc=f"{user}@127.0.0.1:{self.port}"))

    async def serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        at = urlsplit(self.server)
        try:
            server, asked = await asyncio.open_connection(at.hostname, at.port)
        except OSError:
            return
        link = _Link(self, client, answers, server, asked)
        passing = [asyncio.create_task(link.ask()), asyncio.create_task(link.answer())]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in passing:
                one.cancel()
            await asyncio.gather(*passing, return_exceptions=True)
            asked.transport.abort()


@dataclass(slots=True)
class _Link:
    """One connection through the proxy."""

    proxy: TcpProxy
    client: asyncio.StreamReader
    answers: asyncio.StreamWriter
    server: asyncio.StreamReader
    asked: asyncio.StreamWriter
    cutting: bool = False

    async def ask(self) -> None:
        with contextlib.suppress(OSError):
            while piece := await self.client.read(PIECE):
                await self._released()
                if self.proxy.cut_after is not None and self.proxy.cut_after in piece:
                    self.proxy.cut_after, self.cutting = None, True
                self.asked.write(piece)
                await self.asked.drain()

    async def answer(self) -> None:
        with contextlib.suppress(OSError):
            while piece := await self.server.read(PIECE):
                if self.cutting:
                    self.proxy.cuts += 1
                    return
                await asyncio.sleep(self.proxy.delay_s)
                await self._released()
                self.answers.write(piece)
                await self.answers.drain()

    async def _released(self) -> None:
        while self.proxy.held:  # noqa: ASYNC110 - another thread says so
            await asyncio.sleep(LOOK_EVERY_S)


@contextmanager
def proxied(url: str) -> Iterator[TcpProxy]:
    """A proxy before the server of `url`, on a port of its own."""
    proxy, ready = TcpProxy(url), threading.Event()
    over = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        async with accepting(proxy.serve) as proxy.port:
            ready.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert ready.wait(60)
        yield proxy
    finally:
        loops[0].call_soon_threadsafe(over.set)
        thread.join()
