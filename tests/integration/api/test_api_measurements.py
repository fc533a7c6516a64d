"""Measurements as users see them: pages, filters, points in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from backend.store.instruments import Instruments
from backend.store.sources import SourceStore
from domain.market import rfc3339, to_ms
from domain.sources import MARKET, Measurement, Metric, SourceState, SourceStatus
from tests.doubles import START
from tests.factories import BTC, ETH
from tests.keyed import keyed
from tests.served_market import ServedMarket

HOUR = timedelta(hours=1)
PATH = "/v1/measurements"


@pytest.fixture
async def measured(market: ServedMarket) -> SourceStore:
    """Six hours of two metrics of two instruments, and an index; one rate was told again."""
    store = SourceStore(market.pool, Instruments(market.pool))
    await store.measure(list(facts()))
    for source in ("simulated.funding_rate", "coindesk"):
        one = SourceStatus(source=source, state=SourceState.OK, since=START - HOUR)
        await store.change([one], known_at=START - HOUR)
    return store


def facts() -> Iterator[Measurement]:
    for hour in range(6):
        for instrument in (BTC, ETH):
            for metric in (Metric.FUNDING_RATE, Metric.OPEN_INTEREST):
                yield fact(instrument, metric, hour, value=hour / 10)
    yield fact(MARKET, Metric.FEAR_GREED, 5, value=71.0)
    yield fact(BTC, Metric.FUNDING_RATE, 5, value=-0.5, late=timedelta(minutes=30))


def fact(
    instrument: Any, metric: Metric, hour: int, *, value: float, late: timedelta = timedelta()
) -> Measurement:
    """What was so `5 - hour` hours before START, known a second later."""
    at = START - (5 - hour) * HOUR
    return Measurement(
        instrument=instrument,
        metric=metric,
        event_ms=to_ms(at),
        known_ms=to_ms(at + late) + 1_000,
        value=value,
    )


async def get(rest: httpx.AsyncClient, **parameters: Any) -> dict[str, Any]:
    answer = await rest.get(PATH, params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_each_fact_is_there_once_as_it_was_last_told(
    rest: httpx.AsyncClient, measured: SourceStore
) -> None:
    every = (await get(rest))["data"]
    (corrected,) = (await get(rest, symbol=BTC.symbol, metric="funding_rate", limit=1))["data"]
    before = START + timedelta(minutes=10)
    (known,) = (
        await get(rest, symbol=BTC.symbol, metric="funding_rate", limit=1, as_of=rfc3339(before))
    )["data"]

    assert len(every) == 6 * 4 + 1
    assert " ".join(corrected) == "exchange symbol metric event_time known_at value"
    assert (corrected["value"], known["value"]) == (-0.5, 0.5)
    assert corrected["event_time"] == known["event_time"] == rfc3339(START)
    assert corrected["known_at"] > known["known_at"]


async def test_measurements_are_chosen_by_name_and_time(
    rest: httpx.AsyncClient, measured: SourceStore
) -> None:
    rates = (await get(rest, metric="funding_rate", start=rfc3339(START - 2 * HOUR)))["data"]
    index = (await get(rest, metric="fear_greed"))["data"]
    of_one = (await get(rest, symbol=ETH.symbol, end=rfc3339(START - 4 * HOUR)))["data"]
    wrong = await rest.get(PATH, params={"metric": "mood"})

    assert [row["event_time"] for row in rates] == sorted(row["event_time"] for row in rates)
    assert len(rates) == 3 * 2
    assert [(row["exchange"], row["symbol"], row["value"]) for row in index] == [
        ("market", "crypto", 71.0)
    ]
    assert {(row["symbol"], row["metric"]) for row in of_one} == {
        (ETH.symbol, "funding_rate"),
        (ETH.symbol, "open_interest"),
    }
    assert (wrong.status_code, wrong.json()["code"]) == (422, "bad_request")


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_together_are_the_whole_list(
    rest: httpx.AsyncClient, measured: SourceStore, order: str
) -> None:
    whole = (await get(rest, order=order))["data"]
    paged, cursor = [], ""
    while True:
        page = await get(rest, order=order, limit=4, **({"cursor": cursor} if cursor else {}))
        paged += page["data"]
        if (cursor := page["next"]) is None:
            break

    assert paged == whole
    times = [row["event_time"] for row in whole]
    assert times == sorted(times, reverse=order == "desc")


async def test_meta_says_how_far_they_reach_and_how_the_sources_were(
    rest: httpx.AsyncClient, measured: SourceStore
) -> None:
    meta = (await get(rest))["meta"]
    then = (await get(rest, as_of=rfc3339(START - 2 * HOUR), metric="funding_rate"))["meta"]
    none = (await get(rest, metric="long_short_ratio"))["meta"]

    assert (meta["as_of"], meta["watermark"]) == (rfc3339(START), rfc3339(START))
    assert [one["source"] for one in meta["coverage"]["sources"]] == ["simulated.funding_rate"]
    assert then["watermark"] == rfc3339(START - 3 * HOUR)  # the newest is known a second later
    assert then["coverage"]["sources"] == []
    assert none["watermark"] is None


async def test_a_key_sees_its_instruments_and_what_is_of_none(market_url: str) -> None:
    async with keyed(market_url) as doors:
        store = SourceStore(doors.market.pool, Instruments(doors.market.pool))
        await store.measure(list(facts()))
        key = await doors.key(instruments=(f"simulated:{ETH.symbol}",))
        async with doors.client(key) as client:
            seen = (await get(client))["data"]
            hidden = await client.get(PATH, params={"symbol": BTC.symbol})

    assert {row["symbol"] for row in seen} == {ETH.symbol, MARKET.symbol}
    assert hidden.status_code == 404
