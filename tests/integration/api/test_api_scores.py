"""The record day by day, and whether what was said came as often as it was said."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from tests.doubles import START
from tests.keyed import keyed
from tests.served_market import HORIZON, ServedMarket, outcomes

SCORED = 20  # ticks: five hours of one day, fifteen of the next


async def score(market: ServedMarket) -> None:
    for batch in market.batches[:SCORED]:
        scored_at = batch.as_of + HORIZON * batch.timeframe.duration
        await market.recorder.commit_learning(outcomes(batch, scored_at), published_at=scored_at)


async def test_days_are_what_the_record_is_the_mean_of(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await score(market)

    days = (await rest.get("/v1/scores/days", params={"role": "champion"})).json()["data"]
    (record,) = (await rest.get("/v1/scores", params={"role": "champion"})).json()["data"]

    assert [day["day"][:10] for day in days] == ["2023-12-30", "2023-12-31"]
    assert [day["count"] for day in days] == [15, 45]
    assert sum(day["loss"] for day in days) / 2 == pytest.approx(record["loss"])
    assert {day["baseline"] for day in days} == {record["baseline"]}
    assert {day["target"] for day in days} == {"direction"}


async def test_days_are_of_a_target_and_of_a_time(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await score(market)

    other = await rest.get("/v1/scores/days", params={"target": "volatility"})
    later = await rest.get("/v1/scores/days", params={"start": "2023-12-31"})
    early = {"as_of": (START - timedelta(hours=22)).isoformat()}
    known = (await rest.get("/v1/scores/days", params=early)).json()["data"]

    assert other.json()["data"] == []
    assert {day["day"][:10] for day in later.json()["data"]} == {"2023-12-31"}
    assert sum(day["count"] for day in known if day["role"] == "champion") == 12


async def test_calibration_lays_what_was_said_beside_what_came(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await score(market)  # up, each time

    found = (await rest.get("/v1/scores/calibration")).json()["data"]

    assert {row["model"] for row in found} == {"served"}
    up = [row for row in found if row["class"] == "up"]
    assert [(row["bin"], row["count"], row["happened"]) for row in up] == [
        (3, SCORED, 1.0), (4, SCORED, 1.0), (5, SCORED, 1.0),
    ]  # fmt: skip
    assert [row["said"] for row in up] == pytest.approx([0.3, 0.4, 0.5])
    assert sum(row["count"] for row in found if row["class"] == "down") == 3 * SCORED
    assert {row["happened"] for row in found if row["class"] != "up"} == {0.0}
    first = market.batches[0].as_of
    await market.pool.execute(
        "UPDATE ml_prediction_outcomes SET origin = 'late' WHERE as_of = $1", first
    )
    live = (await rest.get("/v1/scores/calibration")).json()["data"]
    assert sum(row["count"] for row in live) == 9 * (SCORED - 1)  # three rows of three classes
    late = {"as_of": (START - timedelta(days=3)).isoformat()}
    assert (await rest.get("/v1/scores/calibration", params=late)).json()["data"] == []


async def test_a_key_is_told_of_its_instruments_alone(market_url: str) -> None:
    async with keyed(market_url) as doors:
        await score(doors.market)
        key = await doors.key(instruments=("simulated:BTC/USDT",))
        async with doors.client(key) as some:
            days = (await some.get("/v1/scores/days?role=champion")).json()["data"]
            bins = (await some.get("/v1/scores/calibration")).json()["data"]

    assert sum(day["count"] for day in days) == SCORED
    assert sum(row["count"] for row in bins) == 3 * SCORED  # a row has three classes
