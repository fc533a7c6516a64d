"""The charting library's feed: what it asks, and what it would do with the answers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.served_market import TICKS, ServedMarket

BTC, ETH = "simulated:BTC/USDT", "simulated:ETH/USDT"
HOUR = 3_600


async def ask(rest: httpx.AsyncClient, path: str, **params: Any) -> Any:
    answer = await rest.get(f"/udf/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def opens(market: ServedMarket) -> list[int]:
    return [
        int((batch.as_of - batch.timeframe.duration).timestamp())
        for batch in market.batches[:TICKS]
    ]


async def test_the_feed_says_what_it_offers(rest: httpx.AsyncClient) -> None:
    config = await ask(rest, "config")
    symbol = await ask(rest, "symbols", symbol=BTC)

    assert config["supported_resolutions"] == symbol["supported_resolutions"] == ["60"]
    assert (config["supports_search"], config["supports_group_request"]) == (True, False)
    assert (symbol["session"], symbol["timezone"], symbol["type"]) == ("24x7", "Etc/UTC", "crypto")
    assert symbol["ticker"] == BTC
    assert await ask(rest, "symbols", symbol="BTC/USDT") == symbol
    assert (await rest.get("/udf/time")).text.isdigit()


async def test_a_search_finds_parts_of_names(rest: httpx.AsyncClient) -> None:
    found = await ask(rest, "search", query="btc", type="crypto", exchange="", limit=10)
    none = await ask(rest, "search", query="btc", type="", exchange="kraken", limit=10)
    limited = await ask(rest, "search", query="", limit=2)

    assert [one["ticker"] for one in found] == [BTC]
    assert (none, len(limited)) == ([], 2)


async def test_bars_are_those_from_and_before(
    rest: httpx.AsyncClient, market: ServedMarket
) -> None:
    times = opens(market)
    asked = {"symbol": BTC, "resolution": "60", "from": times[4], "to": times[9]}

    bars = await ask(rest, "history", **asked)

    assert (bars["s"], bars["t"]) == ("ok", times[4:9])
    assert bars["c"] == [batch.close[0] for batch in market.batches[4:9]]
    assert {len(bars[letter]) for letter in "tohlcv"} == {5}


async def test_so_many_bars_as_are_counted_back_whatever_from_says(
    rest: httpx.AsyncClient, market: ServedMarket
) -> None:
    times = opens(market)
    asked = {"symbol": BTC, "resolution": "60", "to": times[9]}

    narrow = await ask(rest, "history", **asked, **{"from": times[8]}, countback=5)
    wide = await ask(rest, "history", **asked, **{"from": 0}, countback=5)
    beyond = await ask(rest, "history", **asked, **{"from": times[8]}, countback=500)

    assert narrow["t"] == wide["t"] == times[4:9]
    assert beyond["t"] == times[:9]


async def test_a_chart_that_scrolls_back_ends(
    rest: httpx.AsyncClient, market: ServedMarket
) -> None:
    """As the library does it: from nextTime on, until there is no data and no time."""
    times, seen = opens(market), list[int]()
    to, answer = times[-1] + 100 * HOUR, {}
    for _ in range(20):
        asked = {"symbol": BTC, "resolution": "60", "from": to - 7 * HOUR, "to": to}
        answer = await ask(rest, "history", **asked)
        if answer["s"] == "ok":
            seen = answer["t"] + seen
            to -= 7 * HOUR
        elif "nextTime" in answer:
            assert answer["nextTime"] < asked["from"]
            to = answer["nextTime"] + HOUR
        else:
            break

    assert answer == {"s": "no_data"}
    assert seen == times


async def test_a_hole_is_no_data_with_the_bar_before_it_and_counting_back_goes_over_it(
    rest: httpx.AsyncClient, market: ServedMarket
) -> None:
    times = opens(market)
    await market.pool.execute(
        "DELETE FROM candles WHERE open_time >= to_timestamp($1) AND open_time < to_timestamp($2)",
        times[10],
        times[20],
    )
    asked = {"symbol": BTC, "resolution": "60", "from": times[12], "to": times[18]}

    hole = await ask(rest, "history", **asked)
    counted = await ask(rest, "history", **asked, countback=3)
    before = {**asked, "from": times[0] - 10 * HOUR, "to": times[0], "countback": 3}
    first = await ask(rest, "history", **before)

    assert hole == {"s": "no_data", "nextTime": times[9]}
    assert counted["t"] == times[7:10]
    assert first == {"s": "no_data"}


async def test_signals_are_marks_on_the_bars_that_they_were_made_at(
    rest: httpx.AsyncClient, market: ServedMarket
) -> None:
    times = opens(market)
    asked = {"resolution": "60", "from": times[3], "to": times[8]}

    marks = await ask(rest, "marks", symbol=ETH, **asked)
    flat = await ask(rest, "marks", symbol=BTC, **asked)

    assert sorted(marks["time"]) == times[3:9]
    assert set(marks["label"]) == {"L"}
    assert {len(each) for each in marks.values()} == {6}
    assert flat["id"] == []


async def test_decisions_are_marks_on_the_time_scale(
    rest: httpx.AsyncClient, market: ServedMarket
) -> None:
    at = market.batches[5].as_of + timedelta(minutes=5)
    await market.pool.execute(
        "INSERT INTO promotion_decisions (exchange, timeframe, horizon, target, name, verdict,"
        " trigger, decided_at, evidence) VALUES"
        " ('simulated', '1h', 4, 'direction', 'xgboost.direction', 'promoted', 'clock', $1, $2)",
        at,
        '{"words": "better at 0.01"}',
    )
    times = opens(market)

    (mark,) = await ask(
        rest, "timescale_marks", symbol=ETH, resolution="60", **{"from": times[0], "to": times[-1]}
    )

    assert mark["time"] == int(at.timestamp())
    assert mark["tooltip"] == ["xgboost.direction ×4: promoted", "better at 0.01"]


@pytest.mark.parametrize(
    ("path", "asked", "said"),
    [
        ("symbols", {"symbol": "BTC/USD"}, "BTC/USDT"),
        ("history", {"symbol": "kraken:X/Y"}, "unknown symbol"),
        ("history", {"resolution": "45"}, "unknown timeframe"),
        ("marks", {"resolution": "1W"}, "unknown timeframe"),
    ],
)
async def test_a_mistake_is_said_in_the_words_of_the_feed(
    rest: httpx.AsyncClient, path: str, asked: dict[str, str], said: str
) -> None:
    params: dict[str, Any] = {"symbol": BTC, "resolution": "60", "from": 0, "to": 10, **asked}
    if path == "symbols":
        params = {**asked}

    answer = await ask(rest, path, **params)

    assert answer["s"] == "error"
    assert said in answer["errmsg"]


async def test_what_is_no_request_of_the_feed_is_a_problem(rest: httpx.AsyncClient) -> None:
    answer = await rest.get("/udf/history", params={"symbol": BTC, "resolution": "60", "from": -1})

    assert (answer.status_code, answer.json()["code"]) == (422, "bad_request")
