"""Texts, scores and measurements in a real PostgreSQL: told once, versions kept, read as of."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import numpy as np
import pytest

from backend.store import database
from backend.store.instruments import Instruments
from backend.store.quarantine import refuse_answers
from backend.store.sources import SourceStore
from domain.market import Instrument, from_ms, to_ms
from domain.sources import (
    MARKET,
    Dating,
    Measurement,
    Metric,
    Refused,
    SourceState,
    SourceStatus,
    TextItem,
    TextKind,
)
from services.sentiment.items import ScoredItems
from services.sentiment.lexicon import Lexicon
from services.sentiment.reader import Reader
from tests.doubles import START

HOUR = timedelta(hours=1)
TEN = START + 10 * HOUR
BTC = Instrument("binanceusdm", "BTC/USDT:USDT")
LEXICON = Lexicon().name


@dataclass
class Store:
    """The store, a reader in front of it, and what lies in the tables."""

    pool: asyncpg.Pool
    sources: SourceStore
    reader: Reader

    async def tell(self, *items: TextItem) -> int:
        """What a live system does with an answer; how many of the items were news."""
        news = await self.sources.news(items)
        await self.sources.write(news, self.reader.on_texts(news), scored_at=TEN)
        return len(news)

    async def scored(self, as_of: datetime, scorer: str = LEXICON) -> ScoredItems:
        return await self.sources.scored(START - 99 * HOUR, as_of, scorer=scorer)

    async def count(self, table: str) -> int:
        found: int = await self.pool.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608
        return found


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    pool = await database.connect_pool(database_url)
    try:
        yield Store(pool, SourceStore(pool, Instruments(pool)), Reader(Lexicon()))
    finally:
        await pool.close()


def text(item_id: str = "1", *, known: datetime = TEN, **changes: Any) -> TextItem:
    item = TextItem(
        source="coindesk",
        item_id=item_id,
        published_ms=to_ms(known - HOUR),
        known_ms=to_ms(known),
        title="Bitcoin rallies and Ethereum crashes",
        body="A great day, a terrible day",
        url="https://news.example/1",
    )
    return replace(item, **changes)


def measured(value: float, *, known: datetime, event: datetime = START) -> Measurement:
    return Measurement(
        instrument=BTC,
        metric=Metric.FUNDING_RATE,
        event_ms=to_ms(event),
        known_ms=to_ms(known),
        value=value,
    )


async def test_what_was_read_of_texts_is_read_back_to_the_bit(store: Store) -> None:
    items = [text("1", engagement=7.0), text("2", title="qqqzzz", body="", dating=Dating.CLAMPED)]
    items += [text("3", kind=TextKind.SOCIAL, title="Bitcoin is a scam")]
    said = Reader(Lexicon()).on_texts(items)

    await store.tell(*items)

    back = await store.scored(TEN)
    assert len(back) == len(said) > 3
    assert np.isnan(back.polarity).any()
    for name, values in said.columns().items():
        np.testing.assert_array_equal(back.columns()[name], values, err_msg=name)


async def test_a_repetition_tells_nothing(store: Store) -> None:
    assert await store.tell(text("1"), text("2")) == 2
    before = await store.count("sentiment_scores")

    again = [text(name, known=TEN + HOUR) for name in ("2", "1")]

    assert await store.tell(*again) == 0
    assert await store.count("sentiment_items") == 2
    assert await store.count("sentiment_scores") == before


async def test_writing_the_same_twice_changes_nothing(store: Store) -> None:
    said = store.reader.on_texts([text()])
    for scored_at in (TEN, TEN + HOUR):
        await store.sources.write([text()], said, scored_at=scored_at)

    assert await store.count("sentiment_items") == 1
    assert await store.pool.fetchval("SELECT max(scored_at) FROM sentiment_scores") == TEN


async def test_a_changed_text_is_a_new_version_and_the_old_one_stays(store: Store) -> None:
    await store.tell(text(title="Exchange hacked"))

    assert await store.tell(text(known=TEN + HOUR, title="Exchange not hacked")) == 1
    rows = await store.pool.fetch("SELECT known_at, title FROM sentiment_items ORDER BY known_at")
    assert [tuple(row) for row in rows] == [
        (TEN, "Exchange hacked"),
        (TEN + HOUR, "Exchange not hacked"),
    ]
    assert set((await store.scored(TEN)).known_ms) == {to_ms(TEN)}
    assert set((await store.scored(TEN + HOUR)).known_ms) == {to_ms(TEN), to_ms(TEN + HOUR)}


async def test_engagement_is_told_anew_when_it_has_doubled(store: Store) -> None:
    votes = [float("nan"), 0.0, 2.0, 3.0, 4.0, 7.0, 8.0]

    told = [
        await store.tell(text(known=TEN + number * HOUR, engagement=count))
        for number, count in enumerate(votes)
    ]

    assert told == [1, 1, 1, 0, 1, 0, 1]


async def test_an_article_that_was_fetched_after_a_close_is_not_in_its_row(store: Store) -> None:
    in_time = text("1", known=TEN - timedelta(minutes=10))
    late = text("2", known=TEN + timedelta(minutes=7))
    late = replace(late, published_ms=to_ms(TEN - timedelta(minutes=5)))
    await store.tell(in_time, late)

    assert set((await store.scored(TEN)).item_id) == {"1"}
    assert set((await store.scored(TEN + HOUR)).item_id) == {"1", "2"}


async def test_another_scorer_adds_rows_and_changes_none(store: Store) -> None:
    await store.tell(text())
    before = await store.scored(TEN)
    renamed = replace(before, scorer=np.full(len(before), "other@1"), polarity=-before.polarity)

    await store.sources.write([], renamed, scored_at=TEN + HOUR)

    again = await store.scored(TEN)
    np.testing.assert_array_equal(again.polarity, before.polarity)
    np.testing.assert_array_equal((await store.scored(TEN, "other@1")).polarity, -before.polarity)


async def test_texts_are_forgotten_and_what_they_scored_is_not(store: Store) -> None:
    post = text("1", kind=TextKind.SOCIAL)
    await store.tell(post, text("2"), text("3", kind=TextKind.SOCIAL, known=TEN + HOUR))
    before = await store.scored(TEN + HOUR)

    forgotten = await store.sources.forget_texts(TextKind.SOCIAL, before=TEN + HOUR)

    rows = await store.pool.fetch(
        "SELECT item_id, coalesce(title, body, url) IS NULL FROM sentiment_items ORDER BY item_id"
    )
    assert forgotten == 1
    assert [tuple(row) for row in rows] == [("1", True), ("2", False), ("3", False)]
    np.testing.assert_array_equal((await store.scored(TEN + HOUR)).polarity, before.polarity)
    assert await store.tell(post) == 0


async def test_a_measurement_is_stored_once_and_a_correction_beside_it(store: Store) -> None:
    told = [measured(0.1, known=START), measured(0.1, known=START + HOUR)]

    counts = [await store.sources.measure([one]) for one in (*told, told[0])]
    counts.append(await store.sources.measure([measured(0.2, known=START + 2 * HOUR)]))

    assert counts == [1, 0, 0, 1]
    key = (BTC, Metric.FUNDING_RATE)
    for hours, value in ((0, 0.1), (1, 0.1), (2, 0.2)):
        found = await store.sources.latest(START + hours * HOUR, since=START - HOUR)
        assert found[key].value == value


async def test_the_newest_fact_is_the_one_of_the_latest_event_that_was_known(store: Store) -> None:
    late = measured(0.3, event=START + HOUR, known=START + 3 * HOUR)
    index = Measurement(
        instrument=MARKET,
        metric=Metric.FEAR_GREED,
        event_ms=to_ms(START),
        known_ms=to_ms(START),
        value=47.0,
    )
    await store.sources.measure([measured(0.1, known=START), late, index])

    at = [await store.sources.latest(START + n * HOUR, since=START - HOUR) for n in (2, 3)]
    expired = await store.sources.latest(START + 3 * HOUR, since=START)

    assert [one[BTC, Metric.FUNDING_RATE].value for one in at] == [0.1, 0.3]
    assert at[1][MARKET, Metric.FEAR_GREED] == index
    assert expired == {(BTC, Metric.FUNDING_RATE): late}


async def test_nothing_is_nothing(store: Store) -> None:
    assert await store.tell() == 0
    assert await store.sources.measure([]) == 0
    assert await store.sources.latest(TEN, since=START) == {}
    assert len(await store.scored(TEN)) == 0


async def test_what_could_not_be_read_is_kept_with_its_source_and_bytes(store: Store) -> None:
    sent = (b"<html>", b"\xff\0")
    refused = [Refused(source="gdelt", reason="not JSON", raw=raw, size=99) for raw in sent]

    await refuse_answers(store.pool, refused, received_at=TEN)

    rows = await store.pool.fetch(
        "SELECT source, reason, detail, received_at, payload ->> 'source' AS name,"
        " payload ->> 'bytes' AS bytes, payload ->> 'raw' AS raw,"
        " payload ->> 'raw_base64' AS base64 FROM quarantine ORDER BY id"
    )
    assert {tuple(row)[:6] for row in rows} == {
        ("sources", "unreadable", "not JSON", TEN, "gdelt", "99")
    }
    assert (rows[0]["raw"].encode(), b64decode(rows[1]["base64"])) == sent


NO_SOURCE = {
    "instrument_id": 1,
    "timeframe": "1h",
    "feature_set": "sentiment@1",
    "as_of": TEN,
    "revision": 1,
    "known_at": TEN,
    "source_status": '{"coindesk": "down"}',
    "row_hash": b"\0",
}


async def insert_features(pool: asyncpg.Pool, values: list[float | None]) -> None:
    row = {**NO_SOURCE, "values": values}
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    names = ", ".join(f'"{name}"' for name in row)
    await pool.execute(
        f"INSERT INTO ml_features_sentiment ({names}) VALUES ({places})",  # noqa: S608
        *row.values(),
    )


async def test_a_row_of_features_without_any_source_has_a_status_and_no_value(store: Store) -> None:
    await insert_features(store.pool, [None, None])

    row = dict(await store.pool.fetchrow("SELECT * FROM ml_features_sentiment"))
    assert row["source_status"] == '{"coindesk": "down"}'
    assert row["values"] == [None, None]


@pytest.mark.parametrize("impossible", [float("nan"), float("inf"), float("-inf")])
async def test_a_feature_that_cannot_be_is_refused(store: Store, impossible: float) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await insert_features(store.pool, [0.5, impossible])


async def test_items_and_their_scores_are_stored_together_or_not_at_all(store: Store) -> None:
    said = store.reader.on_texts([text()])
    impossible = replace(said, polarity=np.full(len(said), 2.0))

    with pytest.raises(asyncpg.CheckViolationError):
        await store.sources.write([text()], impossible, scored_at=TEN)

    assert await store.count("sentiment_items") == 0


def state(kind: SourceState, since: datetime, reason: str = "") -> SourceStatus:
    return SourceStatus(source="coindesk", state=kind, since=since, reason=reason)


async def test_the_state_of_a_source_is_told_as_it_had_been_seen(store: Store) -> None:
    down, ok = state(SourceState.DOWN, START, "HTTP 503"), state(SourceState.OK, TEN)
    await store.sources.change([down], known_at=START)
    await store.sources.change([down], known_at=START + HOUR)
    await store.sources.change([ok], known_at=TEN)

    assert await store.sources.states(START - HOUR) == {}
    assert await store.sources.states(TEN - HOUR) == {"coindesk": down}
    assert await store.sources.states(TEN) == {"coindesk": ok}
    assert await store.count("source_states") == 2


async def test_an_item_from_the_future_is_refused(store: Store) -> None:
    ahead = text(published_ms=to_ms(TEN) + 1)

    with pytest.raises(asyncpg.CheckViolationError):
        await store.tell(ahead)

    assert await store.count("sentiment_scores") == 0
    assert from_ms(ahead.published_ms) > TEN
