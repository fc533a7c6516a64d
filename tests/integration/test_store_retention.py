"""Events that were dropped: readers, proofs and the account know where the log begins now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from backend.retention import LOOK_EVERY, Retention
from backend.setting_tables import RetentionSettings
from backend.store import database, kept_heads, retention
from backend.store.chain import size, verify
from backend.store.instruments import Instruments
from backend.store.kept_heads import KeptHead
from backend.store.log_tail import LogTail
from backend.store.published import compare
from backend.store.recorder import Recorder
from backend.store.relayed import Untaken
from backend.store.stream_log import StreamEvent, event_hash
from backend.store.stream_reads import find_places, offsets_at, read_log
from backend.store.tables import ml_predictions
from tests.doubles import ManualClock
from tests.integration.store_samples import at, candles, features, predictions, signal, signals

TICKS = 6
KEPT = 3  # the last tick whose events are dropped
LOG = "predictions.1h.binance"
BTC = f"{LOG}.BTC/USDT"


def tick(number: int) -> list[object]:
    opened = signals(number, signal(number))
    return [candles(number), features(number), predictions(number), opened]


class Reader:
    """A system that wrote some ticks, and what of them it lets go."""

    def __init__(self, pool: asyncpg.Pool, connection: asyncpg.Connection) -> None:
        self.pool, self.connection = pool, connection
        self.told: list[StreamEvent] = []

    async def write(self, *numbers: int) -> None:
        recorder = Recorder(self.pool, Instruments(self.pool))
        for number in numbers:
            self.told += await recorder.commit_tick(tick(number), published_at=at(number))

    def of(self, stream: str) -> list[StreamEvent]:
        return [event for event in self.told if event.stream == stream]

    async def drop(self, *, relayed: tuple[str, ...] = ()) -> None:
        clock = ManualClock(at(KEPT) + timedelta(days=1, hours=1))
        await Retention(
            about=RetentionSettings(events_days=1),
            relayed=relayed,
            pool=self.pool,
            clock=clock,
            wall=clock,
            free=_at_once,
        ).sweep()

    async def blocks(self, log: str) -> list[int]:
        sought = "SELECT block FROM stream_blocks WHERE log = $1 ORDER BY block"
        return [row["block"] for row in await self.connection.fetch(sought, log)]


async def _at_once() -> None:
    return


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[Reader]:
    pool = await database.connect_pool(database_url, size=2)
    async with pool.acquire() as connection:
        written = Reader(pool, connection)
        await written.write(*range(1, TICKS + 1))
        yield written
    await pool.close()


async def test_what_was_published_before_is_dropped_and_the_rest_is_whole(reader: Reader) -> None:
    before = await size(reader.connection)
    await reader.drop()

    assert await reader.blocks(LOG) == [4, 5, 6]
    assert await verify(reader.connection) is None
    assert await compare(reader.connection) == []
    streams, kept, dropped = await size(reader.connection)
    assert (streams, kept + dropped) == before[:2]
    assert dropped == sum(event.published_at < at(KEPT + 1) for event in reader.told)


async def test_the_log_goes_on_behind_what_was_dropped(reader: Reader) -> None:
    await reader.drop()
    await reader.write(TICKS + 1)

    assert await verify(reader.connection) is None
    assert reader.of(BTC)[-1].offset == TICKS + 1
    assert reader.of(BTC)[-1].previous_hash == reader.of(BTC)[-2].hash


async def test_the_newest_event_stays_however_old_it_is(reader: Reader) -> None:
    for extent in await retention.extents(reader.connection, ()):
        await retention.drop_events(reader.connection, extent, before=at(1_000))

    assert await reader.blocks(LOG) == [TICKS]
    assert await verify(reader.connection) is None


async def test_dropping_in_pieces_is_dropping_at_once(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BLOCKS", 1)
    await reader.drop()

    log = await read_log(reader.connection, LOG)
    assert log is not None
    assert log.base.behind(BTC)[:2] == (KEPT, reader.of(BTC)[KEPT - 1].hash)
    assert await verify(reader.connection) is None


@pytest.mark.parametrize(
    ("deed", "offset"),
    [
        ("UPDATE stream_blocks SET event = 'x' WHERE block = 4 AND log = $1", 4),
        ("DELETE FROM stream_blocks WHERE block = 4 AND log = $1", 4),
        ("UPDATE stream_bases SET hashes = sha256('') || hashes WHERE log = $1", 4),
        ("DELETE FROM stream_bases WHERE log = $1", 1),
    ],
)
async def test_what_is_altered_behind_it_is_named(reader: Reader, deed: str, offset: int) -> None:
    await reader.drop()
    await reader.connection.execute(deed, LOG)

    found = await verify(reader.connection, BTC)

    assert found is not None
    assert found.offset == offset


async def test_a_row_of_a_kept_event_that_is_missing_is_named(reader: Reader) -> None:
    await reader.drop()
    await reader.connection.execute("DELETE FROM ml_predictions WHERE as_of = $1", at(5))
    await reader.connection.execute("DELETE FROM ml_predictions WHERE as_of = $1", at(2))

    found = await compare(reader.connection)

    assert {one.reason for one in found} == {"was published and is missing"}
    assert {"2024-01-01T05:00:00Z" in one.row for one in found} == {True}


async def test_a_row_that_was_never_published_is_named_beside_late_ones_that_were(
    reader: Reader,
) -> None:
    await reader.drop()
    await reader.write(0)
    late = await compare(reader.connection)
    columns = ", ".join(one.name for one in ml_predictions.columns if one.name != "as_of")
    await reader.connection.execute(
        f"INSERT INTO ml_predictions (as_of, {columns}) SELECT $1, {columns} FROM ml_predictions"  # noqa: S608 - names of ours
        " WHERE as_of = $2 LIMIT 1",
        at(20), at(5),
    )  # fmt: skip

    found = await compare(reader.connection)

    assert late == []
    assert [one.reason for one in found] == ["was never published"]


async def test_a_reader_is_placed_behind_what_was_dropped_and_not_before(reader: Reader) -> None:
    await reader.drop()
    log = await read_log(reader.connection, LOG)
    assert log is not None

    places = {
        offset: (await find_places(reader.connection, log, {BTC: offset})).get(BTC)
        for offset in (0, KEPT - 1, KEPT, KEPT + 1)
    }

    hashes = {offset: place and place.hash for offset, place in places.items()}
    behind = {event.offset: event.hash for event in reader.of(BTC)[KEPT - 1 : KEPT + 1]}
    assert hashes == {0: None, KEPT - 1: None, **behind}
    assert await offsets_at(reader.connection, log, [BTC], at(0)) == {BTC: KEPT}
    assert await offsets_at(reader.connection, log, [BTC], at(6)) == {BTC: 5}


@pytest.mark.parametrize(("read", "left"), [(0, 1), (2, 3), (TICKS, KEPT + 1)])
async def test_notifications_are_not_overtaken(reader: Reader, read: int, left: int) -> None:
    rows = [("predictions", 0), *([(LOG, read)] if read else [])]
    await reader.connection.executemany("INSERT INTO notification_cursors VALUES ($1, $2)", rows)

    await reader.drop()

    assert (await reader.blocks(LOG))[0] == left
    assert (await reader.blocks("candles.1h.binance"))[0] == KEPT + 1
    held = await retention.held(reader.connection, (), before=at(KEPT + 1))
    assert held == ([LOG] if read < KEPT else [])


@pytest.mark.parametrize(("taken", "left"), [((), 1), ((2, 5), 3), ((TICKS,), KEPT + 1)])
async def test_no_broker_is_overtaken(reader: Reader, taken: tuple[int, ...], left: int) -> None:
    rows = [(f"cluster {block}", LOG, block) for block in taken]
    await reader.connection.executemany("INSERT INTO relay_cursors VALUES ($1, $2, $3)", rows)

    await reader.drop(relayed=("predictions", "signals"))

    assert (await reader.blocks(LOG))[0] == left


@pytest.mark.parametrize("taken", [0, 1, KEPT + 1])
async def test_a_broker_gets_what_is_kept_and_can_prove_it(reader: Reader, taken: int) -> None:
    await reader.drop()
    await reader.connection.execute("INSERT INTO relay_cursors VALUES ('x', $1, $2)", LOG, taken)
    untaken = Untaken(reader.pool, ManualClock(), topics="x", channels=["predictions"])

    events = [event async for page in untaken.pages() for event in page]

    first = max(taken, KEPT) + 1
    assert [one.offset for one in events if one.stream == BTC] == [*range(first, TICKS + 1)]
    assert [event.hash for event in events] == [event_hash(event) for event in events]


async def test_who_follows_a_log_that_is_new_to_it_begins_where_it_begins(reader: Reader) -> None:
    await reader.drop()

    events = [event async for some in LogTail().news(reader.connection) for event in some]

    assert [one.offset for one in events if one.stream == BTC] == [4, 5, 6]
    assert [event.hash for event in events] == [event_hash(event) for event in events]


@pytest.mark.parametrize(
    ("offset", "fault", "unjudged"), [(KEPT - 1, 0, 1), (KEPT, 1, 0), (KEPT + 1, 1, 0)]
)
async def test_a_head_kept_elsewhere_is_judged_as_far_as_there_is_something_to_judge_by(
    reader: Reader, offset: int, fault: int, unjudged: int
) -> None:
    await reader.drop()
    event = reader.of(BTC)[offset - 1]
    right = KeptHead(stream=BTC, epoch=event.epoch, offset=offset, hash=event.hash.hex())
    wrong = KeptHead(stream=BTC, epoch=event.epoch, offset=offset, hash="00" * 32)

    found = await kept_heads.breaks(reader.connection, [right, wrong])

    assert len(found) == fault
    assert await kept_heads.unjudged(reader.connection, [right]) == unjudged


async def test_what_was_told_before_is_not_told_again(reader: Reader) -> None:
    await reader.drop()
    recorder = Recorder(reader.pool, Instruments(reader.pool))

    again = [
        await recorder.commit_tick(tick(number), versions=versions, published_at=at(9))
        for number in (1, KEPT, KEPT + 1)
        for versions in ((), None)
    ]

    assert again == [[]] * 6


async def _rests(wall: ManualClock) -> None:
    while not wall.sleepers:  # noqa: ASYNC110 - the clock has no event
        await asyncio.sleep(0)


async def test_what_the_server_refuses_is_done_later(reader: Reader) -> None:
    market, wall = ManualClock(at(KEPT) + timedelta(days=1, hours=1)), ManualClock()
    about = RetentionSettings(events_days=1)
    dropping = Retention(
        about=about, relayed=(), pool=reader.pool, clock=market, wall=wall, free=_at_once
    )
    await reader.connection.execute("ALTER TABLE stream_bases RENAME TO away")

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(dropping.run())
        await _rests(wall)
        assert await reader.blocks(LOG) == [*range(1, TICKS + 1)]
        await reader.connection.execute("ALTER TABLE away RENAME TO stream_bases")
        wall.advance(LOOK_EVERY)
        await _rests(wall)
        running.cancel()

    assert await reader.blocks(LOG) == [4, 5, 6]


async def test_nothing_is_dropped_unasked(reader: Reader) -> None:
    assert RetentionSettings().drops == {}


async def test_rows_that_were_set_aside_are_dropped(reader: Reader) -> None:
    await reader.connection.execute("""
        INSERT INTO quarantine (source, received_at, reason, detail, payload)
        SELECT 'ws', timestamptz '2024-01-01Z' + n * interval '1 day', 'x', '', '{}'
        FROM generate_series(0, 9) AS n
    """)
    clock = ManualClock(at(24 * 10))

    await Retention(
        about=RetentionSettings(quarantine_days=3),
        relayed=(),
        pool=reader.pool,
        clock=clock,
        wall=clock,
        free=_at_once,
    ).sweep()

    assert await reader.connection.fetchval("SELECT count(*) FROM quarantine") == 3
    assert await reader.blocks(LOG) == [*range(1, TICKS + 1)]
