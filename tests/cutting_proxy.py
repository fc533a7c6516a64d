"""A TCP proxy that cuts WebSocket connections at chosen frames, or in the middle of one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from tests.accepting import accepting

_EXTENDED: Final = {126: 2, 127: 8}  # bytes of a length that follows the short one
_GONE: Final = (OSError, asyncio.IncompleteReadError)


class Cut(NamedTuple):
    """After so many frames of the server (-1: before its handshake), and bytes of the next."""

    frames: int
    part: int = 0


class CuttingProxy:
    """Passes on what both sides send; each socket is cut by the next of `cuts`, then none is.

    Args:
        upstream: port of the server, on this machine.
        cuts: of the sockets, one after another.
    """

    def __init__(self, upstream: int, cuts: Iterable[Cut]) -> None:
        self.url = ""
        self.sockets = 0
        self._upstream = upstream
        self._cuts = iter(cuts)

    async def serve(self, theirs: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        try:
            ours, asked = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            return
        asking = asyncio.create_task(_pass_on(theirs, asked))
        try:
            with contextlib.suppress(*_GONE):
                await self._answer(ours, answers)
        finally:
            asking.cancel()
            asked.transport.abort()
            await asyncio.gather(asking, return_exceptions=True)

    async def _answer(self, ours: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        head = await ours.readuntil(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            answers.write(head)
            await _pass_on(ours, answers)
            return
        self.sockets += 1
        cut = next(self._cuts, None)
        if cut is not None and cut.frames < 0:
            return
        answers.write(head)
        count = 0
        while cut is None or count < cut.frames:
            answers.write(await _frame(ours))
            await answers.drain()
            count += 1
        if cut.part:
            answers.write((await _frame(ours))[: cut.part])
        await answers.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """One frame of a server: they are not masked."""
    head = await reader.readexactly(2)
    length = head[1]
    if size := _EXTENDED.get(length, 0):
        more = await reader.readexactly(size)
        head, length = head + more, int.from_bytes(more)
    return head + await reader.readexactly(length)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(*_GONE):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()


@asynccontextmanager
async def cutting(upstream: int, cuts: Iterable[Cut]) -> AsyncIterator[CuttingProxy]:
    """A proxy on a port of its own."""
    proxy = CuttingProxy(upstream, cuts)
    async with accepting(proxy.serve) as port:
        proxy.url = f"http://127.0.0.1:{port}"
        yield proxy
