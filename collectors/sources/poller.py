"""Asks each source at its cadence, hands on what it tells, and knows how it is doing."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from collectors.sources.breaker import Breaker
from domain.errors import SourceUnavailableError
from domain.market import from_ms
from domain.ports import Clock, Source
from domain.sources import UNASKED, Answer, Refused, SourceState, SourceStatus

log = logging.getLogger(__name__)

REMEMBERED: Final = 1_000  # refused rows of a source; one that comes with every poll is told once
RETRY: Final = timedelta(seconds=30)  # while a source is down

Deliver = Callable[[str, Answer], Awaitable[None]]  # the name of the source, and what it told


class Poller:
    """Polls sources until it is cancelled; one that fails leaves the others alone.

    Args:
        sources: with distinct names.
        clock: of cadences and rests.
        deliver: takes each answer that tells something, one at a time. It must not fail: what it
            does not keep may not be sent again.
        least: between two polls of a source, whatever its cadence.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        clock: Clock,
        deliver: Deliver,
        least: timedelta = timedelta(0),
    ) -> None:
        self._deliver = deliver
        self._delivering = asyncio.Lock()
        self._clock = clock
        self._watches = [_Watch(source, clock, least) for source in sources]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(self._follow(watch))

    def statuses(self) -> list[SourceStatus]:
        """How each source is doing now, in their order."""
        return [watch.status() for watch in self._watches]

    async def _follow(self, watch: _Watch) -> None:
        while True:
            await self._clock.sleep(watch.breaker.left)
            answer = await watch.poll()
            if answer != Answer():
                async with self._delivering:
                    await self._deliver(watch.source.name, answer)
            await self._clock.sleep(watch.pause)


class _Watch:
    """One source with its breaker and its status."""

    def __init__(self, source: Source, clock: Clock, least: timedelta) -> None:
        self.source = source
        self._least = least
        self._every = max(source.every, least)
        self._stale_after = source.stale_after + self._every - source.every
        self.breaker = Breaker(clock)
        self._clock = clock
        self._down: tuple[datetime, str] | None = (clock.now(), UNASKED)
        self._up_since = clock.now()
        self._newest: datetime | None = None  # of all that it told
        self._refused: OrderedDict[bytes, None] = OrderedDict()

    @property
    def pause(self) -> timedelta:
        """The wait before the next poll, a rest of the breaker aside."""
        return self._every if self._down is None else min(self._every, max(RETRY, self._least))

    async def poll(self) -> Answer:
        """What it tells now that is no repetition of a refusal; nothing where it fails."""
        try:
            answer = await self.source.poll()
        except SourceUnavailableError as error:
            self._fail(str(error), error.retry_after)
            return Answer()
        except Exception as error:  # of an adapter: the others go on, and so do candles
            log.exception("source fails", extra={"source": self.source.name})
            self._fail(f"{self.source.name}: {type(error).__name__}", None)
            return Answer()
        told = bool(answer.items or answer.measurements)
        if answer.refused and not told:
            self._fail(f"{self.source.name}: {answer.refused[0].reason}", None)
        else:
            self._succeed(answer)
        return replace(answer, refused=tuple(filter(self._is_new, answer.refused)))

    def status(self) -> SourceStatus:
        if self._down is not None:
            since, reason = self._down
            return self._status(SourceState.DOWN, since, reason)
        stale_at = (self._newest or self._up_since) + self._stale_after
        if self._clock.now() >= stale_at:
            return self._status(SourceState.STALE, stale_at, "nothing new")
        return self._status(SourceState.OK, self._up_since, "")

    def _status(self, state: SourceState, since: datetime, reason: str) -> SourceStatus:
        return SourceStatus(source=self.source.name, state=state, since=since, reason=reason)

    def _succeed(self, answer: Answer) -> None:
        self.breaker.succeeded()
        times = [item.published_ms for item in answer.items]
        times += [one.event_ms for one in answer.measurements]
        if times:
            newest = from_ms(max(times))
            self._newest = newest if self._newest is None else max(self._newest, newest)
        if self._down is not None:
            if self._down[1] != UNASKED:
                log.info("source answers again", extra={"source": self.source.name})
            self._down, self._up_since = None, self._clock.now()

    def _fail(self, reason: str, retry_after: timedelta | None) -> None:
        self.breaker.failed(retry_after)
        if self._down is None or self._down[1] == UNASKED:
            log.warning("source is down", extra={"source": self.source.name, "reason": reason})
        since = self._clock.now() if self._down is None else self._down[0]
        self._down = (since, reason)

    def _is_new(self, refused: Refused) -> bool:
        """Whether this is told for the first time."""
        digest = hashlib.sha256(refused.reason.encode() + b"\0" + refused.raw).digest()
        known = digest in self._refused
        self._refused[digest] = None
        self._refused.move_to_end(digest)
        if len(self._refused) > REMEMBERED:
            self._refused.popitem(last=False)
        return not known
