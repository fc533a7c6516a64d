"""What is watched, by exchange, symbol and timeframe."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from backend.store.instruments import Instruments
from domain.market import Timeframe, rfc3339
from tests.doubles import START
from tests.factories import BTC, ETH, SOL
from tests.full_market import watch
from tests.served_market import HORIZON, TICKS, ServedMarket

FIRST = rfc3339(START - timedelta(hours=TICKS))
NEWEST = rfc3339(START)


@pytest.fixture(autouse=True)
async def _watched(market: ServedMarket) -> None:
    await watch(market)


async def get(rest: httpx.AsyncClient, path: str, **parameters: Any) -> list[dict[str, Any]]:
    answer = await rest.get(f"/v1/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def leave(market: ServedMarket) -> None:
    """SOL is watched no more."""
    store = Instruments(market.pool)
    await store.unwatch(SOL, until=START + timedelta(hours=1))
    status = market.state.status
    status.instruments = tuple(one for one in status.instruments if one != SOL)


async def test_a_symbol_has_its_sizes_and_its_candles(rest: httpx.AsyncClient) -> None:
    first, second, third = await get(rest, "symbols")

    assert first == {
        "exchange": BTC.exchange,
        "symbol": BTC.symbol,
        "kind": "spot",
        "base": "BTC",
        "quote": "USDT",
        "tick_size": 0.01,
        "lot_size": 1e-5,
        "min_notional": None,
        "watched_from": NEWEST,
        "watched_until": None,
        "state": "watched",
        "timeframes": [{"timeframe": "1h", "from": FIRST, "to": NEWEST}],
    }
    assert (second["symbol"], second["tick_size"]) == (ETH.symbol, None)
    assert third["symbol"] == SOL.symbol


async def test_an_exchange_sums_up_what_is_watched_of_it(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await leave(market)
    market.state.status.away = lambda: {"simulated": "simulated: it does not answer"}

    assert await get(rest, "exchanges") == [
        {
            "exchange": "simulated",
            "kinds": ["spot"],
            "instruments": 2,
            "timeframes": ["1h"],
            "watched_from": NEWEST,
            "watched_until": None,
            "away": "simulated: it does not answer",
        }
    ]
    (gone,) = await get(rest, "exchanges", symbol=SOL.symbol)
    assert (gone["instruments"], gone["watched_until"]) == (0, rfc3339(START + timedelta(hours=1)))


async def test_a_timeframe_has_its_horizons_and_who_has_candles_of_it(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    market.state.status.timeframes = (Timeframe.M5, Timeframe.H1)

    five, hour = await get(rest, "timeframes")

    assert hour == {
        "timeframe": "1h",
        "seconds": 3_600,
        "watched": True,
        "horizons": [HORIZON],
        "exchanges": ["simulated"],
        "instruments": 3,
        "from": FIRST,
        "to": NEWEST,
    }
    assert (five["timeframe"], five["instruments"], five["from"]) == ("5m", 0, None)


async def test_what_was_watched_is_told_as_left_with_the_candles_that_there_are(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await leave(market)
    market.state.status.timeframes = (Timeframe.M5,)
    (row,) = await get(rest, "symbols", symbol=SOL.symbol)
    market.state.status.timeframes = ()
    (hour,) = await get(rest, "timeframes")

    assert (row["state"], row["watched_until"]) == ("left", rfc3339(START + timedelta(hours=1)))
    assert [one["timeframe"] for one in row["timeframes"]] == ["1h"]
    assert (hour["watched"], hour["horizons"], hour["instruments"]) == (False, [], 3)


async def test_meta_says_what_every_followed_series_has_reached(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    async def watermarks() -> set[str | None]:
        lists = ("exchanges", "symbols", "timeframes")
        return {(await rest.get(f"/v1/{one}")).json()["meta"]["watermark"] for one in lists}

    reached = await watermarks()
    market.state.status.timeframes = (Timeframe.H1, Timeframe.M5)

    assert reached == {NEWEST}
    assert await watermarks() == {None}  # of five minutes there is no candle yet


async def test_filters_are_those_of_other_lists(rest: httpx.AsyncClient) -> None:
    assert [row["symbol"] for row in await get(rest, "symbols", symbols="SOL/USDT,BTC/USDT")] == [
        BTC.symbol,
        SOL.symbol,
    ]
    assert await get(rest, "symbols", timeframe="4h") == []
    for path in ("exchanges", "symbols", "timeframes"):
        strange = await rest.get(f"/v1/{path}?symbol=BTC/USD")
        assert (strange.status_code, strange.json()["suggestions"][0]) == (404, "BTC/USDT"), path
        told = await rest.get(f"/v1/{path}?as_of=2024-01-01")
        assert told.json()["errors"] == [
            {"parameter": "as_of", "detail": "no parameter of this list"}
        ]
        assert (await rest.get(f"/v1/{path}?format=csv")).text.startswith('"')
