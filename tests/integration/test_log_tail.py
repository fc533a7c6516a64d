"""New events of the log are told once and in order, to whoever reads beside its writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import asyncpg
import pytest

from backend.store import stream_reads
from backend.store.database import connect
from backend.store.log_tail import LogTail
from backend.store.stream_log import Drafts, StreamEvent, StreamLog
from tests.doubles import START
from tests.served_market import TICKS, ServedMarket

NEW = "signals.1m.simulated.BTC/USDT"


@pytest.fixture
async def reader(market_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(market_url)
    yield connection
    await connection.close()


async def news(tail: LogTail, connection: asyncpg.Connection) -> list[StreamEvent]:
    return [event async for events in tail.news(connection) for event in events]


def by_stream(events: list[StreamEvent]) -> dict[str, list[StreamEvent]]:
    told: dict[str, list[StreamEvent]] = {}
    for event in events:
        told.setdefault(event.stream, []).append(event)
    return told


async def append(connection: asyncpg.Connection, log: StreamLog, *streams: str) -> None:
    await log.open(connection, [streams])
    extension = log.extend(START)
    extension.add(Drafts("opened", START, streams, [b"{}"] * len(streams)))
    async with connection.transaction():
        await extension.write(connection)
    log.remember(extension)


async def test_what_is_committed_is_told_once_as_it_was_published(
    market: ServedMarket, reader: asyncpg.Connection
) -> None:
    tail = LogTail()
    await tail.begin(reader)
    published = await market.commit(TICKS)
    first = await news(tail, reader)
    published += await market.commit(TICKS + 1)
    published += await market.commit(TICKS + 2)
    rest = await news(tail, reader)

    assert by_stream(first + rest) == by_stream(published)
    assert await news(tail, reader) == []


async def test_the_heads_at_which_it_begins_are_those_of_the_log(
    market: ServedMarket, reader: asyncpg.Connection
) -> None:
    logs = await LogTail().begin(reader)
    heads = {
        stream: offset
        for log in logs.values()
        for stream, offset in zip(log.places, log.offsets, strict=True)
    }

    said = 'SELECT stream, max("offset") AS last FROM stream_events GROUP BY stream'
    assert heads == {row["stream"]: row["last"] for row in await market.pool.fetch(said)}


async def test_logs_and_streams_that_come_to_be_are_told_from_their_first_event(
    market_url: str, reader: asyncpg.Connection
) -> None:
    tail, log = LogTail(), StreamLog()
    await tail.begin(reader)
    writer = await connect(market_url)
    try:
        await append(writer, log, NEW)
        first = await news(tail, reader)
        await append(writer, log, NEW, NEW.replace("BTC", "ETH"))
        second = await news(tail, reader)
    finally:
        await writer.close()

    assert [(one.stream, one.offset) for one in first] == [(NEW, 1)]
    assert {one.stream: one.offset for one in second} == {NEW: 2, NEW.replace("BTC", "ETH"): 1}
    assert by_stream(second)[NEW][0].previous_hash == first[0].hash


async def test_a_read_that_fails_is_made_again_and_nothing_is_told_twice(
    market: ServedMarket, reader: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_reads, "PAGE_EVENTS", 1)
    tail, told = LogTail(), list[StreamEvent]()
    await tail.begin(reader)
    published = [event for tick in range(3) for event in await market.commit(TICKS + tick)]
    calls, page = 0, stream_reads.Reader.page

    async def failing(
        self: stream_reads.Reader, connection: asyncpg.Connection
    ) -> list[StreamEvent]:
        nonlocal calls
        calls += 1
        if calls % 4 == 0:
            raise asyncpg.InterfaceError("the connection was lost")
        return await page(self, connection)

    monkeypatch.setattr(stream_reads.Reader, "page", failing)
    for _ in range(20):
        try:
            async with aclosing(tail.news(reader)) as logs:
                async for events in logs:
                    told += events
        except asyncpg.InterfaceError:
            continue

    assert calls > len(by_stream(published))
    assert by_stream(told) == by_stream(published)


async def test_with_writers_beside_it_what_it_tells_is_the_log(
    market_url: str, reader: asyncpg.Connection
) -> None:
    tail, told = LogTail(), list[StreamEvent]()
    await tail.begin(reader)
    streams = [[f"signals.{n}m.simulated.{one}/USDT" for one in ("A", "B", "C")] for n in (1, 5)]
    writers = [await connect(market_url) for _ in streams]

    async def write(number: int) -> None:
        log = StreamLog()
        for tick in range(30):
            await append(writers[number], log, *streams[number][tick % 3 :])

    writing = asyncio.gather(*(write(number) for number in range(len(writers))))
    while not writing.done():
        told += await news(tail, reader)
    await writing
    told += await news(tail, reader)
    rows = await reader.fetch(
        "SELECT stream, \"offset\", hash FROM stream_events WHERE log LIKE 'signals._m.%'"
        ' ORDER BY stream, "offset"'
    )
    for writer in writers:
        await writer.close()

    log = [(row["stream"], row["offset"], row["hash"]) for row in rows]
    by_offset = sorted(told, key=lambda one: (one.stream, one.offset))
    assert [(one.stream, one.offset, one.hash) for one in by_offset] == log
    for events in by_stream(told).values():
        assert [one.offset for one in events] == list(range(1, len(events) + 1))
