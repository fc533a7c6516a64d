"""A market of thirty hours behind a real server, and a client for it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from backend.store import database
from services.models.artifacts import ArtifactStore
from tests.browser import BROWSER, Screen, chromium, window
from tests.doubles import ManualClock
from tests.seats import weights
from tests.served_market import TICKS, ServedMarket, record, serving
from tests.tcp_proxy import TcpProxy, proxied


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def recorded(server_url: str, template: str) -> AsyncIterator[str]:
    """The name of a database with the market in it, to copy from."""
    name = f"test_market_{uuid.uuid4().hex[:12]}"
    await record(await database.create_database(server_url, name, template=template), TICKS)
    yield name
    await database.drop_database(server_url, name)


@pytest.fixture
def proxy(database_url: str) -> Iterator[TcpProxy]:
    """Before the test's own database."""
    with proxied(database_url) as found:
        yield found


@pytest.fixture
async def market_url(server_url: str, recorded: str) -> AsyncIterator[str]:
    """A copy of the market's database of the test's own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield await database.create_database(server_url, name, template=recorded)
    await database.drop_database(server_url, name)


@pytest.fixture
async def market(market_url: str, manual_clock: ManualClock) -> AsyncIterator[ServedMarket]:
    async with serving(market_url, manual_clock) as served:
        yield served


@pytest.fixture
async def rest(market: ServedMarket) -> AsyncIterator[httpx.AsyncClient]:
    async with market.client() as client:
        yield client


@pytest.fixture(scope="session")
def browser_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    with chromium(tmp_path_factory.mktemp("chromium")) as url:
        yield url


@pytest.fixture
async def screen(market: ServedMarket, browser_url: str, tmp_path: Path) -> AsyncIterator[Screen]:
    market.state.artifacts, market.state.weights = ArtifactStore(tmp_path), weights
    async with window(browser_url, market.url) as seen:
        yield seen
