"""From sources to the tables: known from when it is stored, nothing lost, every state told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from backend import background
from backend.asked import Asked
from backend.sources import Collection
from backend.store.database import RETRY_EVERY
from backend.store.sources import Dated, SourceStore
from backend.wiring import Store, open_store
from domain.errors import SourceUnavailableError
from domain.market import Instrument, to_ms
from domain.ports import Clock
from domain.sources import (
    MARKET,
    Answer,
    Measurement,
    Metric,
    Refused,
    SourceState,
    TextItem,
    TextKind,
)
from tests.doubles import START, ManualClock

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
BTC = Instrument("binance", "BTC/USDT:USDT")


class ToldSource:
    """A source that tells what a test lays down, and is down while there is an error."""

    every = MINUTE
    stale_after = timedelta(hours=1)
    name = "coindesk"

    def __init__(self) -> None:
        self.says: Answer | Exception = Answer()

    async def poll(self) -> Answer:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Setting:
    """A collection, its source, its clocks, and the tables."""

    collection: Collection
    source: ToldSource
    clock: ManualClock
    wall: ManualClock
    store: Store

    async def waits(self) -> bool:
        """Whether somebody waits for the database."""
        return self.wall.sleepers == 1

    async def rows(self, table: str) -> list[asyncpg.Record]:
        return list(await self.store.writers.fetch(f"SELECT * FROM {table} ORDER BY known_at"))  # noqa: S608


@pytest.fixture
async def tables(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as store:
        yield store


@pytest.fixture
async def setting(tables: Store) -> Setting:
    source, clock, wall = ToldSource(), ManualClock(), ManualClock()
    asked = Asked(sources=[source], off={"reddit": "no key"})
    collection = Collection(asked, store=tables, clock=clock, wall=wall)
    await collection.begin()
    return Setting(collection, source, clock, wall, tables)


@asynccontextmanager
async def running(setting: Setting) -> AsyncIterator[None]:
    task = asyncio.create_task(setting.collection.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 - a database has no event for us
            await asyncio.sleep(0.01)


def article(item_id: str = "1", **changes: object) -> TextItem:
    item = TextItem(
        source="coindesk",
        item_id=item_id,
        published_ms=to_ms(START - 5 * MINUTE),
        known_ms=to_ms(START),
        title="Bitcoin rallies to a new high as traders cheer",
    )
    return replace(item, **changes)  # type: ignore[arg-type]


def funding(value: float = 0.0001) -> Measurement:
    return Measurement(
        instrument=BTC,
        metric=Metric.FUNDING_RATE,
        event_ms=to_ms(START - MINUTE),
        known_ms=to_ms(START),
        value=value,
    )


async def test_an_article_published_before_a_close_and_fetched_after_it_is_known_after_it(
    setting: Setting,
) -> None:
    close = START + 10 * MINUTE
    setting.clock.advance(17 * MINUTE)
    fetched = replace(article(), published_ms=to_ms(close - 5 * MINUTE), known_ms=to_ms(close))

    await setting.collection.keep(
        ToldSource.name, Answer(items=(fetched,), measurements=(funding(),))
    )

    sources, since = setting.store.sources, START - 9 * MINUTE
    assert len(await sources.scored(since, close, scorer="blend@1")) == 0
    assert await sources.latest(close, since=since) == {}
    later = await sources.scored(since, close + 7 * MINUTE, scorer="blend@1")
    assert (later.asset.tolist(), later.polarity.tolist()[0] > 0) == (["BTC"], True)
    assert list(await sources.latest(close + 7 * MINUTE, since=since)) == [
        (BTC, Metric.FUNDING_RATE)
    ]


CUT = """
CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
CREATE TRIGGER cut BEFORE INSERT ON sentiment_scores EXECUTE FUNCTION cut()
"""


async def test_what_comes_while_the_database_is_away_is_stored_when_it_is_back(
    setting: Setting,
) -> None:
    await setting.store.writers.execute(CUT)
    refused = Refused(source="coindesk", reason="no title", raw=b"{}", size=2)
    answer = Answer(items=(article(),), measurements=(funding(),), refused=(refused,))

    keeping = asyncio.create_task(setting.collection.keep(ToldSource.name, answer))
    await until(setting.waits)
    assert await setting.rows("sentiment_items") == []
    await setting.store.writers.execute("DROP TRIGGER cut ON sentiment_scores")
    setting.clock.advance(3 * MINUTE)
    setting.wall.advance(RETRY_EVERY)
    await keeping

    (item,), (score,) = [await setting.rows(f"sentiment_{name}") for name in ("items", "scores")]
    (metric,) = await setting.rows("market_metrics")
    assert item["known_at"] == score["known_at"] == metric["known_at"] == START + 3 * MINUTE
    assert await setting.store.writers.fetchval("SELECT count(*) FROM quarantine") == 1


class LosesItsAnswer(SourceStore):
    """Commits, and the connection breaks before it is said."""

    @asynccontextmanager
    async def dated(self, clock: Clock, *, least_ms: int = 0) -> AsyncIterator[Dated]:
        async with super().dated(clock, least_ms=least_ms) as dated:
            yield dated
        if not self.lost:
            self.lost = True
            raise ConnectionResetError

    lost = False


async def test_what_was_stored_although_nobody_said_so_is_not_stored_twice(
    tables: Store,
) -> None:
    store = replace(tables, sources=LosesItsAnswer(tables.writers, tables.instruments))
    clock, wall = ManualClock(), ManualClock()
    setting = Setting(
        Collection(Asked(), store=store, clock=clock, wall=wall), ToldSource(), clock, wall, store
    )
    await setting.collection.begin()

    answer = Answer(items=(article(),), measurements=(funding(),))
    keeping = asyncio.create_task(setting.collection.keep(ToldSource.name, answer))
    await until(setting.waits)
    clock.advance(MINUTE)
    wall.advance(RETRY_EVERY)
    await keeping

    for table in ("sentiment_items", "sentiment_scores", "market_metrics"):
        assert [row["known_at"] for row in await setting.rows(table)] == [START], table


async def test_a_source_whose_facts_are_kept_ends_no_trouble_with_those_of_another(
    setting: Setting,
) -> None:
    """Both sources are asked side by side; of one an answer cannot be kept."""
    broken = Answer(items=(article(known_ms=None),))
    await setting.collection.keep("decrypt", broken)
    (first,) = background.troubles()
    await setting.collection.keep(ToldSource.name, Answer(items=(article(),)))
    others = background.troubles()
    await setting.collection.close()

    assert first.reason.startswith("the record of what decrypt tells failed (TypeError)")
    assert others == [first]
    assert background.troubles() == []


async def test_a_source_that_is_down_has_a_state_and_tells_nothing(setting: Setting) -> None:
    setting.source.says = SourceUnavailableError("coindesk: HTTP 503")

    async def both_are_stored() -> bool:
        states = await setting.store.sources.states(START + SECOND)
        return [one.reason for one in states.values()] == ["coindesk: HTTP 503", "no key"]

    async with running(setting):
        await until(both_are_stored)

    states = await setting.store.sources.states(START + SECOND)
    assert {name: (one.state, one.reason) for name, one in states.items()} == {
        "coindesk": (SourceState.DOWN, "coindesk: HTTP 503"),
        "reddit": (SourceState.OFF, "no key"),
    }
    for table in ("sentiment_items", "sentiment_scores", "market_metrics"):
        assert await setting.rows(table) == []

    setting.clock.advance(MINUTE)
    await setting.collection.close()
    after = await setting.store.sources.states(START + MINUTE)
    assert after["coindesk"].state is SourceState.OFF
    assert (await setting.store.sources.states(START + SECOND))[
        "coindesk"
    ].state is SourceState.DOWN


async def test_a_source_that_is_no_longer_asked_is_off_from_the_start(setting: Setting) -> None:
    known = [replace(one, source="decrypt") for one in setting.collection.statuses()[:1]]
    await setting.store.sources.change(known, known_at=START)

    setting.clock.advance(MINUTE)
    await setting.collection.begin()

    assert (await setting.store.sources.states(START + MINUTE))["decrypt"].state is SourceState.OFF


async def test_a_story_goes_on_after_a_restart(setting: Setting) -> None:
    await setting.collection.keep(ToldSource.name, Answer(items=(article(),)))
    again = Collection(Asked(), store=setting.store, clock=setting.clock, wall=setting.wall)
    await again.begin()

    setting.clock.advance(MINUTE)
    await again.keep(ToldSource.name, Answer(items=(article(source="decrypt"),)))

    clusters = {row["source"]: row["cluster"] for row in await setting.rows("sentiment_items")}
    assert clusters == dict.fromkeys(("coindesk", "decrypt"), "coindesk:1")


async def test_the_texts_of_posts_are_forgotten_and_those_of_news_are_not(
    setting: Setting,
) -> None:
    post = article("2", source="reddit", kind=TextKind.SOCIAL)
    await setting.collection.keep(ToldSource.name, Answer(items=(article(), post)))
    setting.clock.advance(timedelta(hours=49))

    async def forgotten() -> bool:
        return None in [row["title"] for row in await setting.rows("sentiment_items")]

    async with running(setting):
        await until(forgotten)

    titles = {row["source"]: row["title"] is None for row in await setting.rows("sentiment_items")}
    assert titles == {"coindesk": False, "reddit": True}
    assert len(await setting.rows("sentiment_scores")) == 2


async def test_an_answer_that_the_tables_refuse_is_set_aside_and_the_next_is_kept(
    setting: Setting,
) -> None:
    ahead = article(published_ms=to_ms(START + timedelta(days=9)))

    await setting.collection.keep(ToldSource.name, Answer(items=(ahead,)))
    await setting.collection.keep(
        ToldSource.name, Answer(measurements=(replace(funding(30.0), instrument=MARKET),))
    )

    assert await setting.rows("sentiment_items") == []
    assert len(await setting.rows("market_metrics")) == 1
    reason = await setting.store.writers.fetchval("SELECT detail FROM quarantine")
    assert reason.startswith("not stored: ")
