"""Lists of a real server: all rows over all pages, as objects and as frames."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import httpx
import orjson
import pandas as pd
import polars as pl
import pytest

from alphapulse_client import (
    Backoff,
    CandleRow,
    Client,
    PredictionRow,
    ProblemError,
    SignalRow,
    join_predictions,
)
from alphapulse_client.address import Address
from alphapulse_client.frames import ACCEPTED
from alphapulse_client.lists import PAGE, PAGED, Lists
from alphapulse_client.rest import JSON, Rest
from backend.api.app import create_app
from backend.api.parameters import MAX_LIMIT
from domain.events import Origin
from domain.keys import KeyScope
from tests.doubles import START
from tests.full_market import fill
from tests.keyed import keyed
from tests.served_market import TICKS, ServedMarket, prediction

LIBRARIES: list[Literal["pandas", "polars"]] = ["pandas", "polars"]
HERE = "streams/signals.1h.simulated.BTC/USDT/events"
FILLED = sorted(PAGED - {"jobs"})
LISTS: dict[str, dict[str, Any]] = {
    **{name: {} for name in FILLED},
    "predictions": {"role": ["champion", "member"]},
    "predictions/latest": {},
    "scores": {},
    "labels/mood": {},
    "exchanges": {},
    "streams": {},
    HERE: {},
}


def spelt(value: object) -> object:
    """A value of a row as Arrow has it: words joined, what else is nested as JSON."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ",".join(value)
    if isinstance(value, list | Mapping):
        return orjson.dumps(value).decode()
    return value


def flat(row: Mapping[str, Any]) -> dict[str, object]:
    values = row.get("values") or {}
    others = {name: spelt(value) for name, value in row.items() if name != "values"}
    return others | {f"values.{name}": value for name, value in values.items()}


def read_back(frame: pd.DataFrame | pl.DataFrame) -> list[dict[str, object]]:
    """The rows of a frame, null as None."""
    if isinstance(frame, pl.DataFrame):
        return frame.to_dicts()
    rows = frame.to_dict("records")
    return [{str(name): _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    return value if isinstance(value, list | dict) or pd.notna(value) else None


async def small_pages(market: ServedMarket, name: str, **filters: Any) -> list[Any]:
    async with Rest(Address(market.url), Backoff()) as rest:
        return [row async for row in Lists(rest, page=7).rows(name, **filters)]


async def test_rows_are_those_of_all_pages(market: ServedMarket, rest: httpx.AsyncClient) -> None:
    await fill(market)

    def shown(row: Any) -> str:
        said = row if isinstance(row, Mapping) else asdict(row)
        return orjson.dumps({one.rstrip("_"): value for one, value in said.items()}).decode()

    def read(row: Mapping[str, Any]) -> str:
        return orjson.dumps({one: _time(value) for one, value in row.items()}).decode()

    for name in FILLED:
        whole = (await rest.get(f"/v1/{name}?limit={MAX_LIMIT}")).json()["data"]
        rows = await small_pages(market, name)

        assert [shown(row) for row in rows] == [read(row) for row in whole], name
        assert rows, name


def _time(value: Any) -> Any:
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (TypeError, ValueError):
        return value


async def test_rows_have_types_and_times(market: ServedMarket) -> None:
    close = market.batches[3].as_of
    async with Client(market.url) as client:
        of: dict[str, Any] = {
            "symbol": "ETH/USDT",
            "start": close,
            "end": close + timedelta(hours=1),
        }
        (said,) = [row async for row in client.rows("predictions", **of)]
        (signal,) = [row async for row in client.rows("signals", side="long", **of)]
        (candle,) = [row async for row in client.rows("candles", **of)]

    assert isinstance(said, PredictionRow)
    assert (said.as_of, said.made_at) == (close, close + timedelta(milliseconds=120))
    assert isinstance(signal, SignalRow)
    assert (signal.votes, signal.closed_at) == ({"logistic.direction": 0.4}, None)
    assert isinstance(candle, CandleRow)
    assert candle.open_time == close


@pytest.mark.parametrize("limit", [1, 7, 10, 1_000])
async def test_a_limit_is_of_rows_and_not_of_pages(market: ServedMarket, limit: int) -> None:
    rows = await small_pages(market, "candles", limit=limit, start=market.batches[0].as_of)
    async with Rest(Address(market.url), Backoff()) as rest:
        lists = Lists(rest, page=7)
        frame = await lists.frame("candles", limit=limit, start=market.batches[0].as_of)

    # The first candle opened before the close at which the selection begins.
    assert len(rows) == len(frame) == min(limit, 3 * (TICKS - 1))
    assert [row.open_time for row in rows] == list(frame["open_time"])
    assert rows[0].open_time == market.batches[0].as_of


async def test_a_frame_says_what_the_rows_say(market: ServedMarket) -> None:
    """In Arrow what is nested is text; a list that the server tells in JSON alone keeps it."""
    await fill(market)
    async with Client(market.url) as client, Rest(Address(market.url), Backoff()) as rest:
        spellings = set[bool]()
        for name, filters in LISTS.items():
            told = [row async for row in client.rows(name, **filters)]
            rows = [row if isinstance(row, dict) else asdict(row) for row in told]
            answer = await rest.get(f"/v1/{name}", filters, ACCEPTED)
            nested = answer.headers["content-type"] == JSON
            expected = [
                row if nested else flat({one.rstrip("_"): value for one, value in row.items()})
                for row in rows
            ]
            pages = Lists(rest, page=7)
            assert read_back(await pages.frame(name, "pandas", **filters)) == expected, name
            assert read_back(await pages.frame(name, "polars", **filters)) == expected, name
            assert expected, name
            spellings.add(nested)
    assert spellings == {True, False}


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_frame_without_rows_has_its_columns(
    market: ServedMarket, library: Literal["pandas", "polars"]
) -> None:
    async with Client(market.url) as client:
        whole = await client.frame("predictions", library)
        empty = await client.frame("predictions", library, start=START + timedelta(days=9))

    assert (len(empty), list(empty.columns)) == (0, list(whole.columns))
    assert list(empty.dtypes) == list(whole.dtypes)


async def test_what_was_told_first_is_joined_from_the_stream(market: ServedMarket) -> None:
    """A list has the newest revision alone, its stream all of them."""
    batch = market.batches[20]
    made = batch.as_of + timedelta(minutes=90)
    again = prediction(batch, revision=2, made_at=made, origin=Origin.LATE)
    await market.recorder.commit_tick([again], published_at=made)
    async with Client(market.url) as client:
        events = client.rows("streams/predictions.1h.simulated.BTC/USDT/events")
        told = pd.DataFrame([event["data"] async for event in events])
        candles = await client.frame("candles", symbol="BTC/USDT")
        listed = await client.frame("predictions", symbol="BTC/USDT")

    def at(hours: int, said: pd.DataFrame) -> Any:
        joined = join_predictions(candles, said).set_index("open_time")
        return joined.loc[pd.Timestamp(batch.as_of + timedelta(hours=hours))]

    assert len(told) == len(listed) + 1
    assert (at(1, told)["as_of"], at(1, told)["prediction_revision"]) == (batch.as_of, 1)
    assert pd.isna(at(1, listed)["as_of"])
    assert at(2, told)["as_of"] == at(2, listed)["as_of"] == batch.as_of + timedelta(hours=1)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_frames_are_joined_as_they_come(
    market: ServedMarket, library: Literal["pandas", "polars"]
) -> None:
    """A prediction is made 120 ms behind a close, when the next candle has opened already."""
    async with Client(market.url) as client:
        candles: Any = await client.frame("candles", library, start=market.batches[0].as_of)
        predictions: Any = await client.frame("predictions", library)

    joined: Any = join_predictions(candles, predictions)

    rows = list(zip(joined["open_time"], joined["as_of"], joined["p_up"], strict=True))
    first = market.batches[0].as_of
    assert len(rows) == 3 * (TICKS - 1)
    for opens, as_of, p_up in rows:
        if opens == first:  # the prediction of the close before it is none of the record
            assert _plain(as_of) is None
        else:
            assert opens - as_of == timedelta(hours=1)
            assert 0 < p_up < 1


async def test_a_limit_holds_where_the_server_says_how_long_a_page_is(
    market: ServedMarket,
) -> None:
    async with Client(market.url) as client:
        whole = [row async for row in client.rows("streams")]
        rows = [row async for row in client.rows("streams", limit=2)]
        frame = await client.frame("streams", limit=2)

    assert len(whole) > 2
    assert rows == whole[:2]
    assert list(frame["stream"]) == [row["stream"] for row in rows]


async def test_events_of_a_stream_are_a_list_too(market: ServedMarket) -> None:
    async with Client(market.url) as client:
        events = [event async for event in client.rows(HERE)]
        few = [event async for event in client.rows(HERE, limit=3)]

    assert [event["offset"] for event in events] == list(range(1, TICKS + 1))
    assert few == events[:3]
    assert await small_pages(market, HERE) == events
    assert events[0]["ts"] == market.batches[0].as_of + timedelta(milliseconds=150)


async def test_what_is_refused_says_why(market: ServedMarket) -> None:
    async with Client(market.url) as client:
        with pytest.raises(ProblemError, match="did you mean BTC/USDT") as unknown:
            await anext(client.rows("candles", symbol="BTC/USD"))
        with pytest.raises(ProblemError, match="sides: ") as strange:
            await client.frame("signals", sides="long")
        with pytest.raises(ProblemError, match="not_found"):
            await anext(client.rows("candels"))
        with pytest.raises(ValueError, match="limit"):
            await anext(client.rows("candles", limit=0))

    assert (unknown.value.code, unknown.value.status) == ("unknown_symbol", 404)
    assert (strange.value.code, strange.value.temporary) == ("bad_request", False)
    assert unknown.value.request_id


async def test_a_library_that_is_not_there_is_named(
    market: ServedMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    async with Client(market.url) as client:
        with pytest.raises(ImportError, match=r"alphapulse-client\[polars\]"):
            await client.frame("candles", "polars")
        with pytest.raises(ValueError, match="neither pandas nor polars"):
            await client.frame("candles", "dask")  # type: ignore[call-overload]


async def test_a_used_up_quota_is_waited_for_and_not_run_into(
    market_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 3 requests a minute one comes back every 20 s."""
    caplog.set_level(logging.INFO, "alphapulse_client")
    slept: list[float] = []
    async with keyed(market_url) as doors:

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            doors.wall.advance(timedelta(seconds=seconds))

        key = await doors.key(quota=3, scopes=(KeyScope.READ,))
        backoff = Backoff(draw=lambda: 0.0, sleep=sleep)
        async with Rest(Address(doors.market.url, key.spelt()), backoff) as rest:
            rows = [row async for row in Lists(rest, page=18).rows("candles")]
        waited, refused = slept.copy(), caplog.text
        async with doors.client(key) as other:
            while (await other.get("/v1/candles?limit=1")).status_code == 200:
                pass
        async with Client(doors.market.url, key.spelt(), backoff=backoff) as client:
            (row,) = [row async for row in client.rows("candles", limit=1)]

    assert len(rows) == 3 * TICKS
    assert (waited, refused) == ([20.0, 20.0], "")
    assert slept[2:] == [20.0]  # what `retry_after_ms` asked for
    assert "rate_limited" in caplog.text
    assert isinstance(row, CandleRow)


def test_the_lists_with_pages_are_the_servers(market: ServedMarket) -> None:
    described = create_app(market.state).openapi()["paths"]

    paged = {
        path.removeprefix("/v1/")
        for path, methods in described.items()
        if path.startswith("/v1/")
        and any(one["name"] == "limit" for one in methods.get("get", {}).get("parameters", ()))
        and path.count("/") == 2
    }

    assert paged >= PAGED  # of a new list a client takes pages of the server's length
    assert PAGE == MAX_LIMIT
