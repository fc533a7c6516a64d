"""Liveness, readiness with freshness, metrics, and the documents that describe the API."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import getitem

import httpx
import orjson
import pytest
import yaml

from backend.api.schemas_system import StatusRow
from backend.api.server import PortTakenError, listen
from backend.api.state import ApiState
from backend.api.watch import look, look_at_tables
from backend.store import candle_sets
from domain.errors import StoreUnavailableError
from domain.market import rfc3339
from domain.troubles import Trouble
from tests.conftest import ROOT
from tests.doubles import START
from tests.served_market import MEMBERS, TICKS, ServedMarket

DEPLOY = ROOT / "deploy"


async def test_it_is_ready_when_every_watched_instrument_has_a_prediction(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    ready = await rest.get("/readyz")
    market.state.status.newest.popitem()
    starting = await rest.get("/readyz")

    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert (starting.status_code, starting.json()["code"]) == (503, "starting")
    assert (await rest.get("/healthz")).status_code == 200


async def test_it_says_of_two_sets_which_ends_at_the_next_start(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    async def notes() -> list[str]:
        await look(market.state)
        (status,) = (await rest.get("/v1/status")).json()["data"]
        said: list[str] = status["notes"]
        return said

    market.state.status.notes = ["a start's"] * 2  # of two panels
    market.state.status.feature_sets = ("few@1", "few@2")
    before = await notes()
    await candle_sets.retire(market.pool, "few@1", at=START)

    assert before == ["a start's", "few@2 is made beside few@1, until a model on it has won"]
    assert await notes() == ["a start's", "few@1 ends at the next start: few@2 takes its place"]


async def test_it_goes_red_a_timeframe_and_thirty_seconds_after_the_newest_prediction(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    market.clock.advance(timedelta(hours=1, seconds=30))
    green = await rest.get("/readyz")
    market.clock.advance(timedelta(milliseconds=1))
    red = await rest.get("/readyz")
    await market.tick(TICKS)
    again = await rest.get("/readyz")

    assert green.status_code == 200
    assert (red.status_code, red.json()["code"]) == (503, "stale")
    assert [each["symbol"] for each in red.json()["stale"]] == [each.symbol for each in MEMBERS]
    assert again.status_code == 200


async def test_it_is_red_while_the_database_takes_no_writes_and_says_since_when(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    since = datetime.now(UTC) - timedelta(minutes=5)
    troubles = [
        Trouble(about="broker", since=since, reason="no answer"),
        Trouble(about="database", since=since, reason="the disk is full", grave=True),
        Trouble(about="broker", since=since + timedelta(minutes=4), reason="nor another"),
    ]
    market.state.status.troubles.append(lambda: troubles)
    red = await rest.get("/readyz")
    (status,) = (await rest.get("/v1/status")).json()["data"]
    text = (await rest.get("/metrics")).text
    del troubles[1]
    green = await rest.get("/readyz")

    assert (red.status_code, red.json()["code"]) == (503, "unavailable")
    assert red.json()["detail"] == f"database: the disk is full (since {rfc3339(since)})"
    assert red.json()["since"] == rfc3339(since)
    assert green.status_code == 200
    assert status["notes"] == [
        f"{about}: {why} (since {rfc3339(since)})"
        for about, why in (("broker", "no answer"), ("database", "the disk is full"))
    ] + [f"broker: nor another (since {rfc3339(since + timedelta(minutes=4))})"]
    assert [one["about"] for one in status["troubles"] if one["grave"]] == ["database"]
    StatusRow.model_validate(status)
    found = re.findall(r'alphapulse_trouble_seconds\{about="(\w+)"\} (\S+)', text)
    assert [about for about, _ in found] == ["broker", "database"]
    assert all(300 <= float(seconds) < 400 for _, seconds in found)
    assert "alphapulse_ready 0.0" in text


async def test_what_the_database_lacks_is_said_until_it_is_back(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    async def said() -> list[str]:
        await look_at_tables(market.state)
        answer = await rest.get("/readyz")
        assert answer.status_code == 200
        lines: list[str] = answer.json()["troubles"]
        return lines

    await market.pool.execute("ALTER TABLE notifications RENAME TO away")
    await market.pool.execute("ALTER TABLE ingest_gaps RENAME attempts TO tries")
    first, second = await said(), await said()
    await market.pool.execute("ALTER TABLE away RENAME TO notifications")
    await market.pool.execute("ALTER TABLE ingest_gaps RENAME tries TO attempts")

    assert first == second
    (line,) = first
    assert line.startswith(
        "database: it lacks the column attempts of ingest_gaps, the table notifications: what was"
    )
    assert "`alphapulse restore`" in line
    assert await said() == []


@pytest.mark.parametrize("watch", [look, look_at_tables])
async def test_a_watch_that_meets_no_database_says_so_once(
    market: ServedMarket,
    watch: Callable[[ApiState], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailableError("no connection")

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr("backend.api.watch.lacking", away)
            patch.setattr("backend.api.watch._end_sockets", away)
            for _ in range(3):
                await watch(market.state)
        await watch(market.state)

    assert caplog.text.count("are looked at later") == 2


async def test_a_timeframe_is_as_short_as_the_clock_is_fast(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    market.state.status.speed = 3_600.0

    market.clock.advance(timedelta(hours=31))
    green = await rest.get("/readyz")
    market.clock.advance(timedelta(seconds=4))
    red = await rest.get("/readyz")

    assert (green.status_code, red.status_code) == (200, 503)


async def test_it_is_red_while_the_clock_is_behind_the_predictions(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    market.clock.advance(timedelta(hours=-1))
    green = await rest.get("/readyz")
    market.clock.advance(timedelta(minutes=-1))
    red = await rest.get("/readyz")
    text = (await rest.get("/metrics")).text

    assert green.status_code == 200
    assert (red.status_code, red.json()["code"]) == (503, "stale")
    assert "the clock is behind" in red.json()["detail"]
    assert 'alphapulse_prediction_age_seconds{timeframe="1h"} -3660.0' in text
    assert "alphapulse_ready 0.0" in text


async def test_metrics_tell_the_age_of_predictions(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    market.clock.advance(timedelta(seconds=90))

    text = (await rest.get("/metrics")).text

    assert 'alphapulse_prediction_age_seconds{timeframe="1h"} 90.0' in text
    assert "alphapulse_ready 1.0" in text


async def test_what_operators_look_at_is_told(rest: httpx.AsyncClient) -> None:
    told = set(re.findall(r"^# TYPE (\w+)", (await rest.get("/metrics")).text, re.MULTILINE))
    provisioned = DEPLOY / "grafana/provisioning"
    panels = orjson.loads((provisioned / "dashboards/alphapulse.json").read_bytes())["panels"]
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    asked += [rule["expr"] for rule in rules]
    named = {one for each in asked for one in re.findall(r"\b(?:alphapulse|process)_\w+", each)}

    assert len(named) > len(panels) / 2
    assert {one.removesuffix("_bucket") for one in named} <= told


async def test_the_documents_describe_what_is_served(rest: httpx.AsyncClient) -> None:
    openapi = (await rest.get("/openapi.json")).json()
    asyncapi = (await rest.get("/asyncapi.json")).json()
    docs = (await rest.get("/docs")).text

    for noun in ("candles", "features", "sentiment", "predictions", "signals", "models", "scores"):
        assert f"/v1/{noun}" in openapi["paths"]
        assert f"/v1/{noun}" in docs
    assert asyncapi["asyncapi"] == "3.0.0"
    assert set(asyncapi["channels"]["v1"]["messages"]) >= {"Subscribe", "Update", "Heartbeat"}
    addresses = {channel["address"] for channel in asyncapi["channels"].values()}
    assert addresses >= {"alphapulse.predictions.made.v1", "alphapulse.signals.latest.v1"}
    for reference in re.findall(r'"\$ref":"#/([^"]+)"', orjson.dumps(asyncapi).decode()):
        assert reduce(getitem, reference.split("/"), asyncapi), reference
    assert not re.search(
        r"(src|href|url)\s*[=(]\s*[\"']?\w+://", docs
    )  # nothing is fetched elsewhere


async def test_a_port_in_use_is_one_clear_line(market: ServedMarket) -> None:
    port = int(market.url.rpartition(":")[2])

    with pytest.raises(PortTakenError, match=f"port {port} on 127.0.0.1 is in use"):
        listen("127.0.0.1", port)
