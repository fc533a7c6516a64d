"""Texts and their sources as users see them: pages, filters, points in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from backend.store import panels
from backend.store.instruments import Instruments
from backend.store.sources import SourceStore
from domain.market import rfc3339, to_ms
from domain.sources import (
    MARKET,
    Measurement,
    Metric,
    SourceState,
    SourceStatus,
    TextItem,
)
from services.sentiment.lexicon import Lexicon
from services.sentiment.reader import Reader
from tests.doubles import START
from tests.served_market import ServedMarket

HOUR = timedelta(hours=1)
TITLES = ("Bitcoin rallies", "Ethereum crashes", "$SOL and $BTC gain", "Nobody knows anything")


@pytest.fixture(autouse=True)
async def told(market: ServedMarket) -> SourceStore:
    """Four articles in four hours up to START, the first told again in the third with a change."""
    store, reader = SourceStore(market.pool, Instruments(market.pool)), Reader(Lexicon())
    items = [article(number, title) for number, title in enumerate(TITLES)]
    items.append(article(2, "Bitcoin rallies on", source="coindesk", item_id="0"))
    await store.write(items, reader.on_texts(items), scored_at=START)
    for at, state, reason in (
        (START - 4 * HOUR, SourceState.OK, ""),
        (START - HOUR, SourceState.DOWN, "coindesk: HTTP 503"),
    ):
        one = SourceStatus(source="coindesk", state=state, since=at, reason=reason)
        await store.change([one], known_at=at)
    return store


def article(number: int, title: str, **changes: Any) -> TextItem:
    known = START - (3 - number) * HOUR
    told = TextItem(
        source="decrypt" if number % 2 else "coindesk",
        item_id=str(number),
        url=f"https://news.example/{number}",
        title=title,
        published_ms=to_ms(known - HOUR),
        known_ms=to_ms(known),
    )
    return replace(told, **changes)


async def get(rest: httpx.AsyncClient, **parameters: Any) -> dict[str, Any]:
    answer = await rest.get("/v1/sentiment", params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert set(found) == {"data", "meta", "next"}
    assert set(found["meta"]) == {"as_of", "watermark", "coverage", "revision"}
    return found


def named(found: dict[str, Any]) -> list[str]:
    return [row["item_id"] for row in found["data"]]


async def test_texts_are_told_with_what_they_score_newest_first(rest: httpx.AsyncClient) -> None:
    found = await get(rest)

    assert " ".join(found["data"][0]) == (
        "source item_id known_at published_at dating kind title url language cluster engagement"
        " scores"
    )
    assert named(found) == ["3", "2", "0", "1", "0"]
    (score,) = found["data"][-1]["scores"]
    assert (score["asset"], score["scorer"], score["relevance"]) == ("BTC", Lexicon().name, 1.0)
    assert 0 < score["polarity"] <= 1
    assert [one["asset"] for one in found["data"][1]["scores"]] == ["BTC", "SOL"]
    assert [one["asset"] for one in found["data"][0]["scores"]] == [None]


async def test_texts_are_chosen_by_source_asset_and_time(rest: httpx.AsyncClient) -> None:
    assert named(await get(rest, source="decrypt")) == ["3", "1"]
    assert named(await get(rest, asset="SOL,ETH", order="asc")) == ["1", "2"]
    between = {"start": rfc3339(START - 2 * HOUR), "end": rfc3339(START - HOUR)}
    assert named(await get(rest, **between)) == ["1"]
    assert named(await get(rest, asset="DOGE")) == []


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_of_texts_together_are_the_whole_list(
    rest: httpx.AsyncClient, order: str
) -> None:
    whole = await get(rest, order=order)

    page = await get(rest, order=order, limit=2)
    parts = page["data"]
    while page["next"]:
        page = await get(rest, order=order, limit=2, cursor=page["next"])
        parts += page["data"]

    assert parts == whole["data"]
    assert len(parts) == 5


async def test_at_a_point_in_time_there_are_the_texts_and_states_that_were_known(
    rest: httpx.AsyncClient,
) -> None:
    before = await get(rest, as_of=rfc3339(START - 2 * HOUR))
    now = await get(rest)

    assert named(before) == ["1", "0"]
    assert before["data"][1]["title"] == "Bitcoin rallies"
    assert [(one["source"], one["state"]) for one in before["meta"]["coverage"]["sources"]] == [
        ("coindesk", "ok")
    ]
    assert now["meta"]["coverage"] == {
        "sources": [
            {
                "source": "coindesk",
                "state": "down",
                "since": rfc3339(START - HOUR),
                "reason": "coindesk: HTTP 503",
            }
        ]
    }


async def test_texts_of_a_range_are_told_as_of_its_end(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    end = rfc3339(START - 2 * HOUR)
    before = await get(rest, end=end)
    market.clock.advance(HOUR)

    assert await get(rest, end=end) == before
    assert before["meta"]["as_of"] == end
    assert [one["state"] for one in before["meta"]["coverage"]["sources"]] == ["ok"]


async def test_a_source_that_nobody_asked_is_a_problem_with_suggestions(
    rest: httpx.AsyncClient,
) -> None:
    answer = await rest.get("/v1/sentiment?source=coindsk")
    strange = await rest.get("/v1/sentiment?timeframe=1h")
    cursor = (await get(rest, limit=1))["next"]
    other = await rest.get("/v1/sentiment", params={"cursor": cursor, "limit": 1, "asset": "BTC"})

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_source")
    assert answer.json()["suggestions"] == ["coindesk"]
    assert strange.status_code == 422
    assert (other.status_code, other.json()["code"]) == (422, "bad_cursor")


async def test_the_panel_tells_the_newest_texts_the_index_and_the_states(
    market: ServedMarket, told: SourceStore
) -> None:
    measured = Measurement(
        instrument=MARKET,
        metric=Metric.FEAR_GREED,
        event_ms=to_ms(START - 9 * HOUR),
        known_ms=to_ms(START - 2 * HOUR),
        value=47.0,
    )
    await told.measure([measured])

    async with market.pool.acquire() as connection:
        early = await panels.sentiment(connection, START - 3 * HOUR)
        panel = await panels.sentiment(connection, START)

    assert early["fear_greed"] is None
    assert [row["title"] for row in early["texts"]] == ["Bitcoin rallies"]
    assert panel["fear_greed"]["value"] == 47.0
    assert [one["state"] for one in panel["sources"]] == ["down"]
    assert [row["assets"] for row in panel["texts"]][:2] == [None, ["BTC"]]
