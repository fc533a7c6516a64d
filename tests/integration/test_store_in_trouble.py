"""A database that cannot take what is written: it waits, says so, and is written once."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from backend.clock import SystemClock
from backend.store import database, migrate
from backend.store.chain import verify
from backend.store.embedded import EmbeddedPostgres
from backend.store.instruments import Instruments
from backend.store.postmaster import Server
from backend.store.programs import find_account
from backend.store.pulse import SLOW, Pulse
from backend.store.recorder import Recorder
from backend.store.stream_log import StreamEvent
from domain.errors import StoreUnavailableError
from domain.troubles import Trouble
from tests.doubles import Impatient, ManualClock
from tests.integration.store_samples import INSTRUMENTS, at, candles, features, predictions, signals
from tests.processes import WITHIN_S
from tests.tcp_proxy import TcpProxy

LOOK_EVERY_S = 0.02
EVENTS = 3 * len(INSTRUMENTS)  # of a tick
# What each server error is raised as, by its code.
PASSING = {
    "53100": "the disk is full",
    "53200": "out of memory",
    "53300": "too many connections",
    "25006": "read only",
    "57014": "cancelled",
    "57P01": "stopped by hand",
    "57P03": "starting",
    "55P03": "a lock is taken",
    "40P01": "a deadlock",
    "40001": "not serializable",
    "58030": "input or output",
    "25P03": "idle for too long",
}
REFUSE = """
CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{code}'; END $$;
CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON trading_signals FOR EACH STATEMENT
EXECUTE FUNCTION refuse()
"""
COUNTS = """SELECT (SELECT count(*) FROM candles), (SELECT count(*) FROM ml_features_ohlcv),
    (SELECT count(*) FROM ml_predictions), (SELECT count(*) FROM trading_signals),
    (SELECT count(*) / 3 FROM stream_events)"""


@dataclass(slots=True)
class Writer:
    """A system's writer, whose ticks wait."""

    pool: asyncpg.Pool
    recorder: Recorder

    def tick(self, number: int) -> asyncio.Task[list[StreamEvent]]:
        """Commit a tick, however long that takes."""
        events: list[object] = [make(number) for make in (candles, features, predictions, signals)]
        commit = partial(self.recorder.commit_tick, events, published_at=at(number))
        return asyncio.ensure_future(database.patiently(commit, Impatient()))

    async def note(self, number: int) -> None:
        """A small write."""
        await self.pool.execute("UPDATE stream_heads SET block = block WHERE $1 = 0", number)


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[Writer]:
    async with writing(database_url) as found:
        yield found


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[Writer]:
    pool = await database.connect_pool(url, size=2)
    try:
        yield Writer(pool, Recorder(pool, Instruments(pool)))
    finally:
        pool.terminate()


async def until_it_waits(task: asyncio.Task[list[StreamEvent]]) -> Trouble:
    """What is told of a commit that is tried again."""
    async with asyncio.timeout(WITHIN_S):
        while not (found := Pulse(SystemClock()).troubles()):
            assert not task.done(), await task
            await asyncio.sleep(LOOK_EVERY_S)
    return found[0]


async def whole(url: str, ticks: int) -> None:
    """Each tick is there once, in one chain."""
    connection = await database.connect(url)
    try:
        assert {*await connection.fetchrow(COUNTS)} == {ticks * len(INSTRUMENTS)}
        assert await verify(connection) is None
    finally:
        await connection.close()


@pytest.mark.parametrize("code", PASSING)
async def test_what_passes_is_waited_for_and_written_once(
    code: str, writer: Writer, database_url: str
) -> None:
    await writer.tick(1)
    await writer.pool.execute(REFUSE.format(code=code))
    began = SystemClock().now()
    task = writer.tick(2)
    trouble = await until_it_waits(task)
    await writer.pool.execute("DROP TRIGGER refuse ON trading_signals")

    assert len(await task) == EVENTS
    assert (trouble.about, trouble.grave) == ("database", True)
    assert "not now" in trouble.reason
    assert trouble.since >= began
    assert database.waits() == []
    await whole(database_url, 2)


async def test_what_never_passes_is_raised(writer: Writer) -> None:
    await writer.pool.execute(REFUSE.format(code="42501"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await writer.tick(1)


async def test_a_session_that_was_opened_while_nothing_could_be_written_is_not_kept(
    database_url: str,
) -> None:
    admin = await database.connect(database_url)
    name = await admin.fetchval("SELECT quote_ident(current_database())")
    await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with writing(database_url) as writer:
        task = writer.tick(1)
        trouble = await until_it_waits(task)
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        assert len(await task) == EVENTS
    await admin.close()

    assert "read only" in trouble.reason
    await whole(database_url, 1)


async def test_a_standby_is_waited_for_until_it_is_promoted(tmp_path: Path) -> None:
    embedded = EmbeddedPostgres(tmp_path)
    url = embedded.start()
    await asyncio.to_thread(migrate.upgrade, url)
    embedded.stop()
    (tmp_path / "postgres" / "standby.signal").touch()
    shutil.chown(tmp_path / "postgres" / "standby.signal", (tmp_path / "postgres").stat().st_uid)
    server = Server(embedded._command(find_account(tmp_path), port_of(url)), tmp_path / "log")
    try:
        reader = await database.patiently(partial(database.connect, url), Impatient())
        async with writing(url) as writer:
            task = writer.tick(1)
            trouble = await until_it_waits(task)
            assert await reader.fetchval("SELECT pg_promote()")
            assert len(await task) == EVENTS
        await reader.close()
        await whole(url, 1)
    finally:
        await asyncio.to_thread(server.stop)

    assert "standby" in trouble.reason


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


async def test_a_schema_that_cannot_be_written_now_is_one_line_and_no_refusal(
    server_url: str,
) -> None:
    name = f"test_{uuid.uuid4().hex[:12]}"
    url = await database.create_database(server_url, name)
    admin = await database.connect(server_url)
    await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await admin.close()
    try:
        with pytest.raises(
            StoreUnavailableError, match=r"cannot be migrated: .* read-only"
        ) as said:
            await asyncio.to_thread(migrate.upgrade, url)
    finally:
        await database.drop_database(server_url, name)

    assert "\n" not in str(said.value)


async def test_a_commit_whose_answer_is_lost_is_told_once(
    proxy: TcpProxy, database_url: str
) -> None:
    async with writing(proxy.url) as writer:
        await writer.tick(1)
        proxy.cut_after = b"COMMIT;"
        told = await writer.tick(2)
        later = await writer.tick(3)

    assert proxy.cuts == 1
    assert [len(told), len(later)] == [EVENTS, EVENTS]
    assert {one.offset for one in told} == {2}
    assert {one.offset for one in later} == {3}
    await whole(database_url, 3)


async def test_a_connection_that_is_lost_before_the_commit_is_told_once(
    proxy: TcpProxy, database_url: str
) -> None:
    async with writing(proxy.url) as writer:
        await writer.tick(1)
        proxy.cut_after = b"COPY "
        told = await writer.tick(2)

    assert proxy.cuts == 1
    assert {one.offset for one in told} == {2}
    await whole(database_url, 2)


async def test_a_write_that_takes_long_is_told_while_it_lasts(
    proxy: TcpProxy, manual_clock: ManualClock
) -> None:
    async with writing(proxy.url) as writer:
        pulse, began = Pulse(manual_clock), manual_clock.now()
        await pulse.beat(partial(writer.note, 1))
        proxy.held = True
        beat = asyncio.ensure_future(pulse.beat(partial(writer.note, 2)))
        await asyncio.sleep(0)
        at_first = pulse.troubles()
        manual_clock.advance(SLOW)
        (held,) = pulse.troubles()
        proxy.held = False
        await beat
        (slow,) = pulse.troubles()
        await pulse.beat(partial(writer.note, 3))

    assert at_first == []
    assert held == slow
    assert (slow.since, slow.grave) == (began, True)
    assert slow.reason == "a row has taken 3 s to be written"
    assert pulse.troubles() == []


async def test_a_write_that_fails_is_told_until_one_succeeds(
    manual_clock: ManualClock, writer: Writer
) -> None:
    pulse, began = Pulse(manual_clock), manual_clock.now()
    await writer.pool.execute(REFUSE.format(code="53100"))

    async def write() -> None:
        await writer.pool.execute("INSERT INTO trading_signals DEFAULT VALUES")

    await pulse.beat(write)
    manual_clock.advance(SLOW)
    await pulse.beat(write)
    (trouble,) = pulse.troubles()
    await pulse.beat(partial(writer.note, 1))

    assert (trouble.since, trouble.reason) == (began, "not now")
    assert pulse.troubles() == []
