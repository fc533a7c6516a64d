"""Models, the track record, and panels that the base tables reproduce."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from backend.store import ledger, panels
from domain.account import Terms
from tests.doubles import START
from tests.full_market import MODELS, SEATED
from tests.served_market import HORIZON, TICKS, ServedMarket, outcomes


async def score(market: ServedMarket, ticks: int) -> None:
    for batch in market.batches[:ticks]:
        scored_at = batch.as_of + HORIZON * batch.timeframe.duration
        await market.recorder.commit_learning(outcomes(batch, scored_at), published_at=scored_at)


async def test_the_track_record_compares_with_the_baseline(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await score(market, 20)

    found = (await rest.get("/v1/scores", params={"role": "champion"})).json()["data"]

    (row,) = found
    assert (row["model"], row["target"], row["origin"]) == ("served", "direction", "live")
    assert (row["count"], row["effective_count"]) == (60, 15.0)
    assert row["baseline"] == "class_prior.direction"
    assert row["baseline_loss"] == 1.0
    assert row["skill"] == pytest.approx(1.0 - row["loss"])
    assert row["skill_interval95"] is None  # two days are too few blocks


async def test_outcomes_scored_later_are_not_in_an_earlier_record(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await score(market, 20)
    as_of = (START - timedelta(hours=TICKS - 5)).isoformat()

    found = (await rest.get("/v1/scores", params={"role": "champion", "as_of": as_of})).json()

    assert found["data"][0]["count"] == 3


async def test_models_carry_the_role_of_their_rows(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await market.pool.execute(MODELS)
    await market.pool.execute(SEATED)

    found = (await rest.get("/v1/models")).json()["data"]

    assert [(row["model"], row["version"], row["role"]) for row in found] == [
        ("lightgbm.direction", 2, None),
        ("lightgbm.direction", 1, "member"),
    ]
    assert found[1]["metrics"] == {"loss": 0.9}


async def test_rebuilding_the_panels_changes_nothing(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await score(market, 20)
    async with market.pool.acquire() as connection:
        assert await ledger.fold(connection, lambda _: Terms(), closes=TICKS) == TICKS
        first = await panels.rebuild(connection, START + timedelta(seconds=1))
        before = (await rest.get("/v1/dashboard")).json()["data"]

        again = await panels.rebuild(connection)
        await market.pool.execute("UPDATE dashboard_data SET payload = '[]' WHERE panel <> 'x'")
        mended = await panels.rebuild(connection)
        after = (await rest.get("/v1/dashboard")).json()["data"]

    assert (first, again, mended) == (list(panels.PANELS), [], list(panels.PANELS))
    assert [(row["panel"], row["payload"]) for row in before] == [
        (row["panel"], row["payload"]) for row in after
    ]
    assert {row["version"] for row in before} == {1}
    assert {row["version"] for row in after} == {2}


async def test_panels_say_what_the_tables_say(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await score(market, 20)
    async with market.pool.acquire() as connection:
        await panels.rebuild(connection, START + timedelta(seconds=1))

    found = {
        row["panel"]: row["payload"] for row in (await rest.get("/v1/dashboard")).json()["data"]
    }

    newest = (await rest.get("/v1/predictions/latest")).json()["data"]
    assert [row["p_up"] for row in found["latest_predictions"]] == [row["p_up"] for row in newest]
    assert [row["gate"] for row in found["latest_predictions"]] == [
        "no_skill.direction",
        "",
        "no_skill.direction",
    ]
    assert len(found["active_signals"]) == TICKS
    assert found["active_signals"][0]["status"] == "pending"
    assert {row["expected"] - row["present"] for row in found["coverage"]} == {0}
    assert [row["stage"] for row in found["latency"]] == ["features", "predictions"]
    assert found["latency"][0]["p50_us"] == 114.0
    assert found["freshness"][0]["prediction_as_of"] == "2024-01-01T00:00:00.000Z"


class Overtaken:
    """A connection on which a tick is committed between two statements."""

    def __init__(self, connection: asyncpg.Connection, market: ServedMarket) -> None:
        self.connection, self.market = connection, market
        self.ticks = [TICKS]

    async def fetch(self, *asked: Any) -> list[asyncpg.Record]:
        found: list[asyncpg.Record] = await self.connection.fetch(*asked)
        while self.ticks:
            await self.market.commit(self.ticks.pop())
        return found


async def test_no_more_candles_are_present_than_expected_while_more_come(
    market: ServedMarket,
) -> None:
    async with market.pool.acquire() as connection:
        overtaken = Overtaken(connection, market)
        rows = await panels.coverage(overtaken, START + timedelta(hours=2))

    assert [row["newest"]["present"] for row in rows] == [TICKS] * 3
    assert [row["newest"]["expected"] for row in rows] == [TICKS] * 3
