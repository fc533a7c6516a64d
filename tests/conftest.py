"""Fixtures that every test may ask for: a clock, a database, recorded data."""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from backend import damaged
from tests.doubles import ManualClock

ROOT = Path(__file__).parent.parent

# Tests that share one long-lived fixture: with several workers one of them runs the whole folder.
# They are long, so they come first: no worker is left with one at the end.
TOGETHER = ("tests/scenarios", "tests/integration/system", "tests/kafka", "tests/timescale")

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own in it
ROOM_BYTES = 2**31  # a worker's server has a quarter of it at most, but for tests of these marks
LARGE = ("soak", "canaries", "benchmark")
FORGETFUL = {"fsync": "off", "max_wal_size": "128MB"}  # nothing is to survive a power cut

# A shared machine is slow now and then; no test of ours asserts a time. CI draws the same cases.
settings.register_profile("ours", deadline=None, max_examples=50, derandomize="CI" in os.environ)
settings.load_profile("ours")


def unit_of(nodeid: str) -> str:
    """The folder of `TOGETHER`, else the file, that a test is in."""
    file = nodeid.partition("::")[0]
    return next((one for one in TOGETHER if file.startswith(one)), file)


class ByUnit(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives a worker a whole unit at a time, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByUnit:
    config.option.loadscopereorder = False
    return ByUnit(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: unit_of(item.nodeid) not in TOGETHER)


@pytest.fixture(autouse=True)
def nothing_damaged() -> Iterator[None]:
    """What a test damaged is of its own database."""
    yield
    damaged._met.clear()


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock at 2024-01-01 that only the test moves."""
    return ManualClock()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded market data (with `ohlcv/` in it)."""
    folder = Path(os.environ.get("ALPHAPULSE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "ohlcv").is_dir():
        pytest.skip(f"no recorded data in {folder} (set ALPHAPULSE_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def server_url(plain_server: str) -> str:
    """The server that a test's databases are on."""
    return plain_server


@pytest.fixture(scope="session")
def plain_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A real PostgreSQL for the session: ALPHAPULSE_TEST_DATABASE_URL, or one of our own."""
    url = os.environ.get("ALPHAPULSE_TEST_DATABASE_URL")
    if url:
        yield url
        return
    from backend.store.embedded import EmbeddedPostgres  # noqa: PLC0415 - most tests need none

    place = None if request.config.getoption("markexpr") in LARGE else in_memory()
    with (
        TemporaryDirectory(prefix="alphapulse-", dir=place) as folder,
        EmbeddedPostgres(Path(folder), settings=FORGETFUL) as url,
    ):
        yield asyncio.run(as_any_role(url))


async def as_any_role(url: str) -> str:
    """The server's URL as of a role that may make databases and nothing else: not its owner's."""
    from asyncpg import connect  # noqa: PLC0415 - most tests need none

    owner, name, password = await connect(url), "tests", uuid.uuid4().hex
    try:
        await owner.execute(f"CREATE ROLE {name} LOGIN CREATEDB PASSWORD '{password}'")
    finally:
        await owner.close()
    place = urlsplit(url)
    server = place.netloc.rpartition("@")[2]
    return place._replace(netloc=f"{name}:{password}@{server}").geturl()


def in_memory() -> Path | None:
    """Where files are kept in memory, if there is room: a database per test is hundreds of them."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES
    return MEMORY if roomy and os.access(MEMORY, os.W_OK) else None


@pytest.fixture(scope="session")
def timescale_server() -> str:
    """A server whose databases may have TimescaleDB's columnstore: ALPHAPULSE_TEST_TIMESCALE."""
    url = os.environ.get("ALPHAPULSE_TEST_TIMESCALE")
    if not url:
        pytest.skip("no server with TimescaleDB (set ALPHAPULSE_TEST_TIMESCALE)")
    return url


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real broker for the session: ALPHAPULSE_TEST_KAFKA, or one of our own."""
    if address := os.environ.get("ALPHAPULSE_TEST_KAFKA"):
        yield address
        return
    from tests.kafka.broker import running  # noqa: PLC0415 - most tests need none

    with running(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.address


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template(server_url: str) -> AsyncIterator[str]:
    """The name of a database with the newest schema, to copy from."""
    from backend.store import database, migrate  # noqa: PLC0415

    name = f"test_template_{uuid.uuid4().hex[:12]}"
    url = await database.create_database(server_url, name)
    await asyncio.to_thread(migrate.upgrade, url)
    yield name
    await database.drop_database(server_url, name)


@pytest.fixture
async def database_url(server_url: str, template: str) -> AsyncIterator[str]:
    """A database of the test's own with the newest schema, empty."""
    from backend.store import database  # noqa: PLC0415

    name = f"test_{uuid.uuid4().hex[:12]}"
    yield await database.create_database(server_url, name, template=template)
    await database.drop_database(server_url, name)
