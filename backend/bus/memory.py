"""The bus within one process: a bounded queue for each group of subscribers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.topics import OfPanel, Topic, panel_of

# Ticks, not rows: a consumer further behind than this holds its publisher up.
CAPACITY = 256

_Subscriber = tuple[str, str | None]  # group, key


class MemoryBus:
    """Events go to every group of their topic; a full queue makes the publisher wait."""

    cluster = ""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._queues: dict[Topic, dict[_Subscriber, asyncio.Queue[object]]] = {}

    async def publish(self, topic: Topic, event: OfPanel) -> None:
        panel = panel_of(event)
        for (_, key), queue in tuple(self._queues.get(topic, {}).items()):
            if key in (None, panel):
                await queue.put(event)

    @asynccontextmanager
    async def subscribe(
        self, *topics: Topic, group: str, key: str | None = None
    ) -> AsyncIterator[AsyncIterator[object]]:
        """The group's own queue."""
        queue: asyncio.Queue[object] = asyncio.Queue(self._capacity)
        for topic in topics:
            self._queues.setdefault(topic, {})[group, key] = queue
        try:
            yield _drain(queue)
        finally:
            for topic in topics:
                if self._queues[topic].get((group, key)) is queue:  # else another has taken over
                    del self._queues[topic][group, key]


async def _drain(queue: asyncio.Queue[object]) -> AsyncIterator[object]:
    while True:
        yield await queue.get()
        queue.task_done()
