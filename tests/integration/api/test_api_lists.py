"""REST lists: their fields, order and paging, and what was known at a point in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import numpy as np

from domain.market import rfc3339
from tests.doubles import START
from tests.served_market import MEMBERS, TICKS, ServedMarket, prediction, signals

HOUR = timedelta(hours=1)


async def get(rest: httpx.AsyncClient, path: str, **parameters: Any) -> dict[str, Any]:
    answer = await rest.get(path, params=parameters)

    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert set(found) == {"data", "meta", "next"}
    assert set(found["meta"]) == {"as_of", "watermark", "coverage", "revision"}
    return found


async def test_predictions_have_the_promised_fields_in_their_order(rest: httpx.AsyncClient) -> None:
    found = await get(rest, "/v1/predictions", limit=1)

    assert " ".join(found["data"][0]) == (
        "exchange symbol timeframe horizon as_of revision made_at origin role target model version"
        " members p_down p_flat p_up q10 q50 q90 volatility degraded dissimilarity"
    )


async def test_signals_have_the_promised_fields_in_their_order(rest: httpx.AsyncClient) -> None:
    found = await get(rest, "/v1/signals", limit=1)

    assert " ".join(found["data"][0]) == (
        "exchange symbol timeframe horizon as_of revision side strength gate size_fraction"
        " entry_price stop take expires_at status closed_at exit_price realized_return"
        " model version expected_edge_bps votes"
    )


async def test_rows_are_those_of_the_streams(market: ServedMarket, rest: httpx.AsyncClient) -> None:

    for channel in ("candles", "predictions", "signals"):
        told = await market.told(f"{channel}.1h.simulated.ETH/USDT")

        found = await get(rest, f"/v1/{channel}", symbol="ETH/USDT", order="asc")

        assert len(told) == TICKS
        assert found["data"] == told


async def test_lists_are_newest_first_and_from_start_on_oldest_first(
    rest: httpx.AsyncClient,
) -> None:
    newest = await get(rest, "/v1/candles", symbol="BTC/USDT", limit=2)
    oldest = await get(rest, "/v1/candles", symbol="BTC/USDT", limit=2, start="2023-12-31")

    assert [row["open_time"] for row in newest["data"]] == [
        "2023-12-31T23:00:00.000Z",
        "2023-12-31T22:00:00.000Z",
    ]
    assert [row["open_time"] for row in oldest["data"]] == [
        "2023-12-31T00:00:00.000Z",
        "2023-12-31T01:00:00.000Z",
    ]


async def test_start_is_inside_and_end_is_outside(rest: httpx.AsyncClient) -> None:
    epoch_ms = int((START - 3 * HOUR).timestamp() * 1_000)

    found = await get(
        rest, "/v1/predictions", symbol="BTC/USDT", start=epoch_ms, end="2023-12-31T23:00:00Z"
    )

    assert [row["as_of"] for row in found["data"]] == [
        "2023-12-31T21:00:00.000Z",
        "2023-12-31T22:00:00.000Z",
    ]


async def pages(rest: httpx.AsyncClient, path: str, **parameters: Any) -> list[list[Any]]:
    found, cursor = [], None
    while True:
        page = await get(rest, path, **parameters, **({"cursor": cursor} if cursor else {}))
        found.append(page["data"])
        cursor = page["next"]
        if cursor is None:
            return found


async def test_pages_together_are_the_whole_list(rest: httpx.AsyncClient) -> None:
    for order in ("asc", "desc"):
        whole = await get(rest, "/v1/predictions", limit=5_000, order=order)

        parts = await pages(rest, "/v1/predictions", limit=7, order=order)

        assert [row for part in parts for row in part] == whole["data"]
        assert len(whole["data"]) == TICKS * len(MEMBERS)


async def test_a_page_does_not_move_when_rows_are_added(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    before = await pages(rest, "/v1/predictions", limit=7)
    first = await get(rest, "/v1/predictions", limit=7)

    await market.tick(TICKS)
    second = await get(rest, "/v1/predictions", limit=7, cursor=first["next"])

    assert second["data"] == before[1]


async def test_roles_other_than_the_champion_are_given_only_when_named(
    rest: httpx.AsyncClient,
) -> None:
    served = await get(rest, "/v1/predictions")
    members = await get(rest, "/v1/predictions", role="member")

    assert {row["role"] for row in served["data"]} == {"champion"}
    assert {row["model"] for row in members["data"]} == {"class_prior.direction"}
    assert members["data"][0]["q10"] is None
    assert served["data"][0]["members"] == {"class_prior.direction": "1"}


async def test_latest_is_the_newest_row_of_each_series(rest: httpx.AsyncClient) -> None:
    found = await get(rest, "/v1/predictions/latest")

    assert [row["symbol"] for row in found["data"]] == ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
    assert {row["as_of"] for row in found["data"]} == {rfc3339(START)}
    assert [row["degraded"] for row in found["data"]] == [
        ["no_skill.direction"],
        [],
        ["gap", "no_skill.direction"],
    ]
    assert found["meta"]["coverage"] == {"expected": 3, "present": 3, "gaps": []}


async def test_an_answer_is_of_no_moment_that_is_yet_to_come(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    ahead = rfc3339(market.clock.now() + timedelta(days=1))

    for route in ("/v1/candles", "/v1/predictions/latest", "/v1/scores", "/v1/models", "/v1/gaps"):
        found = await get(rest, route, as_of=ahead)
        assert found["meta"]["as_of"] == rfc3339(market.clock.now()), route


async def test_an_earlier_point_in_time_shows_the_revision_of_then(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    revised = prediction(
        market.batches[TICKS - 1],
        revision=2,
        made_at=START + timedelta(minutes=30),
        volatility=np.full(3, 0.05),
    )
    await market.recorder.commit_tick([revised], published_at=START + timedelta(minutes=30))
    then = rfc3339(START + timedelta(minutes=29))

    now_row = (await get(rest, "/v1/predictions", symbol="BTC/USDT", limit=1))["data"][0]
    then_row = (await get(rest, "/v1/predictions", symbol="BTC/USDT", limit=1, as_of=then))["data"][
        0
    ]
    latest = (await get(rest, "/v1/predictions/latest", symbol="BTC/USDT", as_of=then))["data"][0]

    assert (now_row["revision"], now_row["volatility"]) == (2, 0.05)
    assert (then_row["revision"], then_row["volatility"]) == (1, 0.012)
    assert latest == then_row


async def test_a_prediction_is_not_there_before_it_was_made(rest: httpx.AsyncClient) -> None:
    just_before = rfc3339(START + timedelta(milliseconds=119))

    found = await get(rest, "/v1/predictions", symbol="BTC/USDT", limit=1, as_of=just_before)

    assert found["data"][0]["as_of"] == rfc3339(START - HOUR)


async def test_a_revised_candle_is_what_it_was_before(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    told = market.batches[TICKS - 1]
    later = replace(
        told, high=told.high * 2, volume=told.volume + 1, known_at=START + timedelta(minutes=5)
    )
    await market.recorder.commit_tick([later], published_at=START + timedelta(minutes=5))

    new = (await get(rest, "/v1/candles", symbol="SOL/USDT", limit=1))["data"][0]
    old = (await get(rest, "/v1/candles", symbol="SOL/USDT", limit=1, as_of=rfc3339(START)))["data"]

    assert old[0]["high"] == float(told.high[2])
    assert new["high"] == float(told.high[2]) * 2


async def test_a_signal_at_a_point_in_time_hides_what_the_market_answered_later(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    opened_at = START - 4 * HOUR
    closed = signals(
        market.batches[TICKS - 5],
        event="closed",
        status="take_profit",
        entry_price=100.0,
        stop=98.0,
        take=103.0,
        closed_ms=int((START - HOUR).timestamp() * 1_000),
        exit_price=103.0,
        realized_return=0.02,
    )
    await market.recorder.commit_tick([closed], published_at=START)
    of_then = {"symbol": "ETH/USDT", "start": rfc3339(opened_at), "limit": 1}

    now = (await get(rest, "/v1/signals", **of_then))["data"][0]
    running = (await get(rest, "/v1/signals", **of_then, as_of=rfc3339(START - 2 * HOUR)))["data"][
        0
    ]
    fresh = (await get(rest, "/v1/signals", **of_then, as_of=rfc3339(opened_at + HOUR / 2)))[
        "data"
    ][0]

    assert (now["status"], now["realized_return"]) == ("take_profit", 0.02)
    assert (running["status"], running["entry_price"]) == ("active", 100.0)
    assert (running["closed_at"], running["realized_return"]) == (None, None)
    assert (fresh["status"], fresh["entry_price"]) == ("pending", None)


async def test_features_are_named_and_unknown_values_are_null(rest: httpx.AsyncClient) -> None:
    found = await get(rest, "/v1/features", symbol="BTC/USDT", limit=1)

    assert found["data"][0]["feature_set"] == "few@1"
    assert found["data"][0]["values"]["rsi"] is None
    assert isinstance(found["data"][0]["values"]["close"], float)


async def test_coverage_counts_the_candles_that_are_missing(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    whole = await get(rest, "/v1/candles", limit=5_000)
    await market.pool.execute(
        "DELETE FROM candles WHERE open_time = $1 AND instrument_id ="
        " (SELECT instrument_id FROM instruments WHERE symbol = 'ETH/USDT')",
        START - 3 * HOUR,
    )
    await market.pool.execute(
        "INSERT INTO ingest_gaps SELECT instrument_id, '1h', $1, $2, 'test', 'open', $3, NULL"
        " FROM instruments WHERE symbol = 'ETH/USDT'",
        START - 3 * HOUR, START - 2 * HOUR, START,
    )  # fmt: skip

    holed = await get(rest, "/v1/candles", limit=5_000)

    total = TICKS * len(MEMBERS)
    assert whole["meta"]["coverage"] == {"expected": total, "present": total, "gaps": []}
    assert holed["meta"]["coverage"]["present"] == total - 1
    assert holed["meta"]["coverage"]["gaps"][0]["symbol"] == "ETH/USDT"
    assert holed["meta"]["watermark"] == rfc3339(START)
    assert (await get(rest, "/v1/gaps"))["data"][0]["state"] == "open"


async def test_streams_tell_their_heads(rest: httpx.AsyncClient) -> None:
    found = await get(rest, "/v1/streams")

    heads = {row["stream"]: row["offset"] for row in found["data"]}
    assert heads["signals.1h.simulated.SOL/USDT"] == TICKS
    assert (len(heads), heads["gaps"], heads["models"]) == (11, 0, 0)


async def test_a_signal_filter_judges_the_newest_revision(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    batch = signals(market.batches[TICKS - 1])
    flat = tuple(
        replace(row, revision=2, side="flat", gate="stale", status="flat") for row in batch.signals
    )
    await market.recorder.commit_tick([replace(batch, signals=flat)], published_at=START)

    found = await get(rest, "/v1/signals", side="long", limit=1)

    assert found["data"][0]["as_of"] == rfc3339(START - HOUR)
