"""An endless iterator over streams that reconnects, resumes and leaves nothing out."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Final, Generic, Self, TypeVar

from alphapulse_client.backoff import Backoff
from alphapulse_client.connection import Opener, Socket
from alphapulse_client.conversation import BehindError, Conversation, DisconnectedError
from alphapulse_client.errors import ProblemError, UnreachableError
from alphapulse_client.events import Position, Snapshot, Update
from alphapulse_client.log import missed, position_at
from alphapulse_client.positions import Positions
from alphapulse_client.progress import Head, Progress
from alphapulse_client.rest import Rest
from alphapulse_client.wanted import Wanted

log = logging.getLogger(__name__)

POSITION_LOST: Final = 4511  # the server's log lacks what its heads say, or did for a moment

T_co = TypeVar("T_co", covariant=True)


class Follower:
    """Follows streams over any number of connections.

    Args:
        wanted: which.
        positions: where it begins, and where it keeps how far it came.
        opener: makes a connection.
        rest: reads what a connection does not replay.
        backoff: the pauses between connections; they grow until an event comes.
    """

    def __init__(
        self, wanted: Wanted, positions: Positions, opener: Opener, rest: Rest, backoff: Backoff
    ) -> None:
        self.progress = Progress()
        self._wanted = wanted
        self._positions = positions
        self._open = opener
        self._rest = rest
        self._backoff = backoff
        self._failures = 0

    async def told(self) -> AsyncGenerator[Update | Snapshot]:
        """Every event once, in the order of its stream, for ever.

        A position moves once the next event is asked for: whoever is killed while it works on one
        is told it again.
        """
        self.progress.begin(await self._positions.load())
        behind: list[str] = []
        while True:
            source = self._by_pages(behind) if behind else self._of_one_connection()
            behind = []
            try:
                async with aclosing(source) as told:
                    async for each in told:
                        yield each
                        await self._passed(each)
            except DisconnectedError as end:
                await self._pause(end)
                if end.code == POSITION_LOST and self._failures > 1:
                    behind = self.progress.behind()  # pages say whether the log has a hole
            except BehindError as error:
                behind = error.streams

    async def _of_one_connection(self) -> AsyncGenerator[Update | Snapshot]:
        async with self._open() as socket:
            conversation = Conversation(self._wanted, self.progress)
            while True:
                told = conversation.take(await socket.receive(conversation.patience_s))
                await self._save()
                if told is not None:
                    yield told
                await _ask(socket, conversation)

    async def _by_pages(self, streams: Iterable[str]) -> AsyncGenerator[Update]:
        """What streams missed; they are resumed afterwards, as far as it could be read."""
        try:
            for stream in streams:
                async with aclosing(
                    missed(self._rest, stream, await self._place(stream))
                ) as events:
                    async for update in events:
                        yield update
        except UnreachableError as error:
            raise DisconnectedError(str(error)) from error
        except ProblemError as problem:
            if not problem.temporary:
                raise
            raise DisconnectedError(str(problem), problem.retry_after_s) from problem

    async def _place(self, stream: str) -> Position:
        if stream not in self.progress.places:
            assert isinstance(self._wanted.since, datetime)  # noqa: S101 - all others are known
            begin = await position_at(self._rest, stream, self._wanted.since)
            self.progress.enter(stream, begin)
            await self._save()
        return self.progress.places[stream]

    async def _passed(self, told: Update | Snapshot) -> None:
        self._failures = 0
        self.progress.passed(told)
        await self._save()

    async def _save(self) -> None:
        if moved := self.progress.moved():
            await self._positions.save(moved)

    async def _pause(self, end: DisconnectedError) -> None:
        self._failures += 1
        delay_s = self._backoff.delay_s(self._failures, end.retry_s)
        log.warning("disconnected: %s; connecting again in %.1f s", end, delay_s)
        await self._backoff.sleep(delay_s)


async def _ask(socket: Socket, conversation: Conversation) -> None:
    request = conversation.next_request()
    if request is not None:
        await socket.send(request)


class Feed(AsyncIterator[T_co], Generic[T_co]):
    """What `async for` runs over; one task may do so at a time.

    Args:
        follower: follows the streams.
        spelt: what is handed out of an event.
    """

    def __init__(self, follower: Follower, spelt: Callable[[Update | Snapshot], T_co]) -> None:
        self._progress = follower.progress
        self._told = follower.told()
        self._spelt = spelt

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:
        """The next event.

        Raises:
            StoppedError: the server wants no further connection.
            ProblemError: it refuses the streams.
            HistoryLostError: events behind a position can no longer be had.
            ChainBrokenError: an event is not as it was published.
            ProtocolError, PositionsError, UnreachableError: there is no going on.
        """
        return self._spelt(await anext(self._told))

    async def aclose(self) -> None:
        """End the connection. The event that was handed out last counts as not worked on."""
        await self._told.aclose()

    @property
    def heads(self) -> Mapping[str, Head]:
        """Stream → where its log stands, as the server said last."""
        return self._progress.heads.copy()

    def complete_through(self) -> datetime | None:
        """The server's time up to which nothing that it published on these streams is missing.

        Each heartbeat tells the heads of streams, so that a quiet one is proven to be quiet. None
        before the first.
        """
        return self._progress.complete_through
