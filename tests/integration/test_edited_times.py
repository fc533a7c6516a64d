"""A time that was edited to what no clock tells: who reads it goes on, and later rows are dated."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from backend.store import retention, tail
from backend.store.database import connect_pool
from backend.store.history import History
from backend.store.instruments import Instruments
from backend.store.recorder import Recorder
from backend.store.stream_reads import read_log
from tests.integration.store_samples import at, candles

LOG = "candles.1h.binance"
TIMES = ("infinity", "20000-01-01")
STATE = """
INSERT INTO source_states (source, state, since, reason, known_at)
VALUES ($1, 'down', $2::text::timestamptz, 'why', $3::text::timestamptz)
"""


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Of a database with three ticks."""
    pool = await connect_pool(database_url, size=2)
    recorder = Recorder(pool, Instruments(pool))
    for number in (1, 2, 3):
        await recorder.commit_tick([candles(number)], published_at=at(number))
    yield pool
    await pool.close()


@pytest.mark.parametrize("time", [*TIMES, "-infinity", "0044-03-15 BC"])
async def test_no_later_event_is_dated_by_it(pool: asyncpg.Pool, time: str) -> None:
    await pool.execute(f"UPDATE stream_blocks SET published_at = '{time}' WHERE block = 3")  # noqa: S608

    told = await Recorder(pool, Instruments(pool)).commit_tick([candles(4)], published_at=at(4))
    reached = await History(pool, Instruments(pool)).reached("binance")

    assert {one.published_at for one in told} == {at(4)}
    assert reached == candles(4).known_at


@pytest.mark.parametrize("time", TIMES)
async def test_a_system_starts_where_it_was(pool: asyncpg.Pool, time: str) -> None:
    await pool.execute(f"UPDATE stream_blocks SET published_at = '{time}' WHERE block = 3")  # noqa: S608

    assert await History(pool, Instruments(pool)).reached("binance") == candles(3).known_at


@pytest.mark.parametrize("time", TIMES)
async def test_a_log_is_read_whose_dropped_events_have_it(pool: asyncpg.Pool, time: str) -> None:
    async with pool.acquire() as connection:
        (extent,) = await retention.extents(connection, ())
        await retention.drop_events(connection, extent, before=at(2))
        await connection.execute(
            f"UPDATE stream_bases SET published_at = '{time}', last_as_of = '{time}'"  # noqa: S608
        )
        log = await read_log(connection, LOG)

    assert log is not None
    assert (log.block, log.base.block) == (3, 1)


@pytest.mark.parametrize("time", TIMES)
async def test_doctor_counts_what_is_held(pool: asyncpg.Pool, time: str) -> None:
    await pool.execute("INSERT INTO notification_cursors VALUES ('candles', 0), ($1, 0)", LOG)
    before = await retention.held(pool, (), before=at(9))
    await pool.execute(f"UPDATE stream_blocks SET published_at = '{time}' WHERE block = 1")  # noqa: S608

    assert before == [LOG]
    assert await retention.held(pool, (), before=at(9)) == []


@pytest.mark.parametrize("time", TIMES)
async def test_the_states_of_sources_go_on_behind_it(pool: asyncpg.Pool, time: str) -> None:
    await pool.execute(STATE, "reddit", str(at(1)), str(at(1)))
    begun = (await tail.heads(pool, [tail.SOURCES]))[tail.SOURCES]
    await pool.execute(STATE, "edited", str(at(1)), time)
    await pool.execute(STATE, "news", "-infinity", str(at(2)))

    changes = await tail.changes(pool, begun)

    assert (await tail.heads(pool, [tail.SOURCES]))[tail.SOURCES] == changes[-1][0]
    assert [status.source for _, status in changes] == ["news"]
    assert {one.source for one in await tail.states(pool, changes[-1][0])} == {"reddit", "news"}
