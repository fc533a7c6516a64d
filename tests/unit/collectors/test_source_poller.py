"""The poller: each source at its cadence, its state, and every fact handed on once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta

from collectors.sources.breaker import FAILURES, FIRST_REST
from collectors.sources.poller import RETRY, Poller
from domain.errors import SourceUnavailableError
from domain.market import to_ms
from domain.sources import UNASKED, Answer, Refused, SourceState, SourceStatus, TextItem
from tests.doubles import START, ManualClock

MINUTE = timedelta(minutes=1)
EVERY = 5 * MINUTE
STALE_AFTER = timedelta(hours=1)


class ScriptedSource:
    """A source that answers what it was told to, then nothing new."""

    every = EVERY
    stale_after = STALE_AFTER

    def __init__(self, name: str, clock: ManualClock, *script: Answer | Exception) -> None:
        self.name = name
        self.script = deque(script)
        self.asked: list[datetime] = []
        self._clock = clock

    async def poll(self) -> Answer:
        self.asked.append(self._clock.now())
        told = self.script.popleft() if self.script else Answer()
        if isinstance(told, Exception):
            raise told
        return told

    async def close(self) -> None:
        """Nothing is open."""


def text(number: int, at: datetime = START) -> Answer:
    moment = to_ms(at)
    one = TextItem(
        source="news", item_id=str(number), published_ms=moment, known_ms=moment, title="T"
    )
    return Answer(items=(one,))


def refused(raw: bytes) -> Refused:
    return Refused(source="news", reason="not JSON", raw=raw, size=len(raw))


DOWN = SourceUnavailableError("news: HTTP 500")


class Run:
    """A poller at work."""

    def __init__(self, clock: ManualClock, *sources: ScriptedSource) -> None:
        self.clock = clock
        self.delivered: list[Answer] = []
        self.poller = Poller(sources, clock=clock, deliver=self.deliver)

    async def deliver(self, source: str, answer: Answer) -> None:
        assert source
        self.delivered.append(answer)

    async def advance(
        self, duration: timedelta, *, step: timedelta = timedelta(seconds=10)
    ) -> None:
        """Let time pass, and everybody wake who is due."""
        for _ in range(duration // step):
            self.clock.advance(step)
            await turns()

    @property
    def status(self) -> SourceStatus:
        return self.poller.statuses()[0]


async def turns() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


@asynccontextmanager
async def running(clock: ManualClock, *sources: ScriptedSource) -> AsyncIterator[Run]:
    run = Run(clock, *sources)
    task = asyncio.create_task(run.poller.run())
    await turns()
    try:
        yield run
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def minutes(source: ScriptedSource) -> list[float]:
    return [(moment - START) / MINUTE for moment in source.asked]


async def test_a_source_is_asked_at_once_and_then_at_its_cadence(manual_clock: ManualClock) -> None:
    source = ScriptedSource("news", manual_clock, text(1), Answer(), text(2))

    async with running(manual_clock, source) as run:
        await run.advance(12 * MINUTE)

    assert minutes(source) == [0, 5, 10]
    assert run.delivered == [text(1), text(2)]


async def test_before_its_first_answer_a_source_is_down(manual_clock: ManualClock) -> None:
    run = Run(manual_clock, ScriptedSource("news", manual_clock))

    assert run.poller.statuses() == [
        SourceStatus(source="news", state=SourceState.DOWN, since=START, reason=UNASKED)
    ]


async def test_a_source_is_down_from_its_first_failure_on_with_the_newest_reason(
    manual_clock: ManualClock,
) -> None:
    script = (text(1), DOWN, SourceUnavailableError("news: HTTP 404"), text(2))
    async with running(manual_clock, ScriptedSource("news", manual_clock, *script)) as run:
        first = run.status
        await run.advance(EVERY + RETRY)
        second = run.status
        await run.advance(EVERY)
        third = run.status

    assert (first.state, first.since, first.reason) == (SourceState.OK, START, "")
    assert (second.state, second.since) == (SourceState.DOWN, START + EVERY)
    assert second.reason == "news: HTTP 404"
    assert (third.state, third.since) == (SourceState.OK, START + EVERY + 2 * RETRY)


async def test_one_that_fails_is_tried_again_soon_and_then_left_alone_for_longer_and_longer(
    manual_clock: ManualClock,
) -> None:
    source = ScriptedSource("news", manual_clock, *20 * [DOWN])

    async with running(manual_clock, source) as run:
        await run.advance(20 * MINUTE)

    half = RETRY / MINUTE
    trips = [2 * half + rest for rest in (1, 3, 7, 15)]
    assert minutes(source) == [0, half, 2 * half, *trips]
    assert len(source.asked) == FAILURES + 4
    assert FIRST_REST == MINUTE


async def test_a_pause_that_a_source_asks_for_is_kept(manual_clock: ManualClock) -> None:
    limited = SourceUnavailableError("news: HTTP 429", timedelta(minutes=42))
    source = ScriptedSource("news", manual_clock, limited)

    async with running(manual_clock, source) as run:
        await run.advance(50 * MINUTE)

    assert minutes(source) == [0, 42, 47]


async def test_what_cannot_be_read_at_all_is_handed_on_once_and_counts_as_a_failure(
    manual_clock: ManualClock,
) -> None:
    page, other = (Answer(refused=(refused(raw),)) for raw in (b"<html>", b"<html>2"))
    source = ScriptedSource("news", manual_clock, page, page, other, text(1))

    async with running(manual_clock, source) as run:
        down = run.status
        await run.advance(10 * MINUTE)

    assert (down.state, down.reason) == (SourceState.DOWN, "news: not JSON")
    assert run.delivered == [page, other, text(1)]
    assert run.status.state is SourceState.OK


async def test_an_answer_with_one_bad_row_is_an_answer(manual_clock: ManualClock) -> None:
    partly = replace(text(1), refused=(refused(b"{}"),))

    async with running(manual_clock, ScriptedSource("news", manual_clock, partly, partly)) as run:
        await run.advance(EVERY)

    assert run.status.state is SourceState.OK
    assert run.delivered == [partly, text(1)]


async def test_a_source_that_tells_nothing_new_is_stale(manual_clock: ManualClock) -> None:
    source = ScriptedSource("news", manual_clock, text(1, START - 30 * MINUTE))

    async with running(manual_clock, source) as run:
        await run.advance(29 * MINUTE)
        before = run.status
        await run.advance(MINUTE)
        after = run.status
        source.script.append(text(2, run.clock.now()))
        await run.advance(EVERY)

    assert before.state is SourceState.OK
    assert (after.state, after.since) == (SourceState.STALE, START + 30 * MINUTE)
    assert run.status.state is SourceState.OK


async def test_one_that_fails_leaves_the_others_alone(manual_clock: ManualClock) -> None:
    bad = ScriptedSource("bad", manual_clock, *9 * [DOWN])
    good = ScriptedSource("good", manual_clock, text(1), text(2), text(3))

    async with running(manual_clock, bad, good) as run:
        await run.advance(10 * MINUTE)

    assert [status.state for status in run.poller.statuses()] == [SourceState.DOWN, SourceState.OK]
    assert run.delivered == [text(1), text(2), text(3)]


async def test_answers_are_delivered_one_at_a_time(manual_clock: ManualClock) -> None:
    sources = [ScriptedSource(name, manual_clock, text(1)) for name in ("a", "b", "c")]
    inside: list[int] = []
    most = 0

    async def slowly(source: str, answer: Answer) -> None:
        del source
        nonlocal most
        inside.append(1)
        most = max(most, len(inside))
        await turns()
        inside.pop()

    poller = Poller(sources, clock=manual_clock, deliver=slowly)
    task = asyncio.create_task(poller.run())
    for _ in range(9):
        await turns()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert most == 1
    assert [len(source.asked) for source in sources] == [1, 1, 1]


async def test_an_adapter_that_stumbles_is_down_and_the_others_are_asked(
    manual_clock: ManualClock,
) -> None:
    broken = ScriptedSource("broken", manual_clock, ZeroDivisionError("of ours"))
    news = ScriptedSource("news", manual_clock, text(1))

    async with running(manual_clock, broken, news) as run:
        await run.advance(MINUTE)

        assert run.delivered == [text(1)]
        assert len(broken.asked) > 1


async def test_what_is_asked_more_rarely_is_stale_so_much_later(manual_clock: ManualClock) -> None:
    source = ScriptedSource("news", manual_clock, text(1))
    rare = Poller([source], clock=manual_clock, deliver=_drop, least=2 * EVERY)
    task = asyncio.create_task(rare.run())
    await turns()

    manual_clock.advance(STALE_AFTER)
    await turns()

    assert minutes(source) == [0, 60]
    assert rare.statuses()[0].state is SourceState.OK
    manual_clock.advance(EVERY)
    assert rare.statuses()[0].state is SourceState.STALE
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _drop(_: str, __: Answer) -> None:
    """Nobody keeps it."""
