"""What an exchange sent that cannot be read, kept with its bytes until it is in quarantine."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

CAPACITY = 256  # that wait to be written; what comes beyond is counted
LONGEST = 65_536  # bytes kept of one


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A frame of a socket, or a row or an answer of REST."""

    exchange: str
    reason: str
    raw: bytes  # its first `LONGEST`
    size: int  # bytes that it had


class Unread:
    """The unreadable of one exchange on their way to the quarantine; `put` never waits."""

    def __init__(self, exchange: str) -> None:
        self._exchange = exchange
        self._waiting: deque[Unreadable] = deque()
        self._some = asyncio.Event()
        self._lost = 0
        self.count = 0  # of all that came

    def put(self, raw: bytes | str, reason: str) -> None:
        """Take one."""
        self.count += 1
        if len(self._waiting) >= CAPACITY:
            self._lost += 1
            return
        data = raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogatepass")
        self._waiting.append(self._one(reason, data))
        self._some.set()

    async def take(self) -> list[Unreadable]:
        """All that wait, oldest first, at least one.

        How many were lost because they came too fast is said by a last one without bytes.
        """
        await self._some.wait()
        self._some.clear()
        taken = list(self._waiting)
        self._waiting.clear()
        if self._lost:
            taken.append(self._one(f"{self._lost} more came too fast to be kept", b""))
            self._lost = 0
        return taken

    def _one(self, reason: str, data: bytes) -> Unreadable:
        return Unreadable(
            exchange=self._exchange, reason=reason, raw=data[:LONGEST], size=len(data)
        )


def stumble(error: Exception) -> str:
    """What a parser stumbled over, in one line that any table can hold."""
    said = " ".join(str(error).replace("\0", " ").split())[:200]
    said = said.encode("utf-8", "backslashreplace").decode()
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
