"""Replays of whole scenarios, each in a database of its own, over the same worker processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from backend.executor import ProcessExecutor
from backend.store.database import create_database, drop_database
from backend.wiring import open_store
from tests.scenarios.judging import rows
from tests.scenarios.market import (
    OF_DIRECTION,
    Scenario,
    head,
    noise,
    planted,
    replayed,
    settings,
    shocked,
)

BARS = 1_500
SEEN = 600  # candles before the future that is taken away or changed


@dataclass(frozen=True, slots=True)
class Run:
    """A replay's database and its report."""

    url: str
    report: dict[str, Any]

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        return asyncio.run(rows(self.url, query, *arguments))


Replays = Callable[[Mapping[str, Scenario]], dict[str, Run]]


@pytest.fixture(scope="session")
def replay(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replays]:
    """Replays several scenarios side by side; their databases end with the session."""
    workers = ProcessExecutor(workers=2, nice=0)
    made: list[str] = []

    async def all_of(scenarios: Mapping[str, Scenario]) -> dict[str, Run]:
        async with AsyncExitStack() as stack:
            urls, stores = [], []
            for name in scenarios:  # in turn: migrations cannot run side by side in one process
                made.append(f"canary_{name}")
                urls.append(await create_database(server_url, made[-1]))
                folder = tmp_path_factory.mktemp(name)
                opened = open_store(urls[-1], folder, durable=False)
                stores.append(await stack.enter_async_context(opened))
            passes = zip(stores, scenarios.values(), strict=True)
            reports = await asyncio.gather(*(replayed(*one, workers) for one in passes))
        named = zip(scenarios, urls, reports, strict=True)
        return {name: Run(url, report) for name, url, report in named}

    yield lambda scenarios: asyncio.run(all_of(scenarios))
    workers.close()
    for name in made:
        asyncio.run(drop_database(server_url, name))


@pytest.fixture(scope="session")
def runs(replay: Replays) -> dict[str, Run]:
    """What the everyday canaries look at; `planted` is the reference of the last two."""
    future = planted(BARS)
    return replay(
        {
            "planted": Scenario(series=future, settings=settings()),
            "noise": Scenario(series=noise(BARS), settings=OF_DIRECTION),
            "truncated": Scenario(series=head(future, SEEN), settings=settings()),
            # Of the dearer future a few candles suffice.
            "shocked": Scenario(series=shocked(head(future, SEEN + 24), SEEN), settings=settings()),
        }
    )
