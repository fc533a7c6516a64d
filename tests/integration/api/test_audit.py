"""Quotas that are kept, and an audit log that has every change and counts every refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from backend.api.trail import MOST_A_MINUTE, Trail
from backend.api.watch import look
from backend.store.audit import Act, AuditLog, Refusals
from domain.keys import ApiKey, KeyScope
from tests.doubles import START, ManualClock
from tests.keyed import KeyedMarket, keyed

ORDER = {"symbol": "SOL/USDT"}
HERE = "127.0.0.1"


@pytest.fixture
async def doors(market_url: str) -> AsyncIterator[KeyedMarket]:
    async with keyed(market_url, quota=3) as served:
        yield served


async def told(doors: KeyedMarket) -> list[dict[str, Any]]:
    """The audit log, once it has been told of everything."""
    await look(doors.market.state)
    pool = doors.market.pool
    async with asyncio.timeout(60):
        while await pool.fetchval(_GOING_ON):  # noqa: ASYNC110 - the answer comes before the entry
            await asyncio.sleep(0.005)
    return [dict(row) for row in await pool.fetch(_LOG)]


_GOING_ON = "SELECT count(*) FROM audit_log WHERE outcome IS NULL"
_LOG = """
SELECT caller, address, action, path, outcome, request_id, count FROM audit_log ORDER BY id
"""


async def test_a_key_may_ask_as_often_as_its_quota_says(doors: KeyedMarket) -> None:
    async with (
        doors.client(await doors.key(quota=2)) as mine,
        doors.client(await doors.key(quota=2)) as theirs,
    ):
        answers = [await mine.get("/v1/status") for _ in range(3)]
        other = await theirs.get("/v1/status")
        page = await mine.get("/healthz")
        doors.wall.advance(timedelta(seconds=30))
        later = await mine.get("/v1/candles")

    assert [one.headers["ratelimit"] for one in answers] == [
        '"default";r=1;t=30', '"default";r=0;t=60', '"default";r=0;t=60',
    ]  # fmt: skip
    assert {one.headers["ratelimit-policy"] for one in answers} == {'"default";q=2;w=60'}
    refused = answers[2]
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert (refused.headers["retry-after"], refused.json()["retry_after_ms"]) == ("30", 30_000)
    assert other.status_code == page.status_code == later.status_code == 200
    assert "ratelimit" not in page.headers


async def test_who_shows_no_key_is_refused_ever_more_cheaply(doors: KeyedMarket) -> None:
    async with doors.client() as client, doors.client(await doors.key()) as known:
        answers = [await client.get("/v1/status") for _ in range(4)]
        mine = await known.get("/v1/status")

    assert [one.status_code for one in answers] == [401, 401, 401, 429]
    assert answers[3].headers["retry-after"] == "20"
    assert mine.status_code == 200


async def test_the_operator_is_not_limited(market_url: str) -> None:
    async with (
        keyed(market_url, require_keys=False, quota=1) as doors,
        doors.client() as client,
        doors.client(None, **{"X-Forwarded-For": "10.0.0.8"}) as forwarded,
    ):
        answers = [await client.get("/v1/status") for _ in range(3)]
        others = [await forwarded.get("/v1/status") for _ in range(2)]

    assert {one.status_code for one in answers} == {200}
    assert not any("ratelimit" in one.headers for one in answers)
    assert [one.status_code for one in others] == [401, 429]


async def test_where_keys_are_waived_an_address_has_a_quota(market_url: str) -> None:
    async with (
        keyed(market_url, allow_no_keys=True, quota=1) as doors,
        doors.client() as client,
        doors.client(None, **{"X-Forwarded-For": "10.0.0.8"}) as another,
    ):
        answers = [await client.get("/v1/status") for _ in range(2)]
        other = await another.post("/v1/instruments", json=ORDER)

    assert [one.status_code for one in answers] == [200, 429]
    assert (other.status_code, other.json()["code"]) == (403, "forbidden")


async def test_every_change_is_in_the_log_with_who_asked_for_it(doors: KeyedMarket) -> None:
    key = await doors.key(scopes=[KeyScope.OPERATE])
    async with doors.client(key, **{"X-Request-Id": "mine-1"}) as client:
        early = await client.post("/v1/instruments", json=ORDER)
        wrong = await client.post("/v1/models/rollback", json={}, headers={"X-Request-Id": "a b"})

    first, second = await told(doors)
    assert (early.status_code, early.headers["x-request-id"]) == (503, "mine-1")
    assert first == {
        "caller": key.id,
        "address": HERE,
        "action": "POST",
        "path": "/v1/instruments",
        "outcome": 503,
        "request_id": "mine-1",
        "count": 1,
    }
    assert (second["path"], second["outcome"]) == ("/v1/models/rollback", 422)
    assert second["request_id"] == wrong.headers["x-request-id"] != "a b"


async def test_a_change_that_cannot_be_entered_is_not_made(doors: KeyedMarket) -> None:
    await doors.market.pool.execute("ALTER TABLE audit_log RENAME TO elsewhere")
    async with doors.client(await doors.key(scopes=[KeyScope.OPERATE])) as client:
        answer = await client.post("/v1/instruments", json=ORDER)

    assert (answer.status_code, answer.json()["code"]) == (500, "incomplete")


async def test_refused_requests_are_counted_by_who_where_and_how(doors: KeyedMarket) -> None:
    revoked, reader = await doors.key(), await doors.key(scopes=[KeyScope.READ], quota=2)
    await doors.keys.revoke(revoked.id, at=START)
    async with doors.client() as nobody, doors.client(revoked) as ended, doors.client(reader) as r:
        await ended.get("/v1/status")
        for path in ("/v1/status?token=x", "/v1/candles"):
            await nobody.get(path)
        await nobody.get("/v1/nothing")  # beyond the quota of the address
        assert (await r.post("/v1/instruments", json=ORDER)).status_code == 403
        await r.get("/v1/status")
        await r.get("/v1/status")

    rows = await told(doors)
    assert [(row["caller"], row["path"], row["outcome"], row["count"]) for row in rows] == [
        (revoked.id, "/v1/status", 401, 1),
        ("unknown", "/v1/status", 401, 2),
        ("unknown", "/v1/nothing", 429, 1),
        (reader.id, "/v1/instruments", 403, 1),
        (reader.id, "/v1/status", 429, 1),
    ]
    assert not any(key.secret in str(rows) for key in (revoked, reader))


async def test_a_minute_goes_on_where_it_was_and_the_next_begins_anew(doors: KeyedMarket) -> None:
    async with doors.client() as client:
        for seconds in (0, 10, 20, 60):
            doors.wall.advance(timedelta(seconds=seconds))
            await client.get(f"/v1/{ApiKey.fresh().spelt()}")
            await look(doors.market.state)

    rows = await told(doors)
    assert [row["count"] for row in rows] == [3, 1]
    assert rows[0]["path"].endswith("_***")


async def test_a_refused_handshake_is_in_the_log(doors: KeyedMarket) -> None:
    reader = await doors.key(scopes=[KeyScope.READ])
    headers = {"Authorization": f"Bearer {reader.spelt()}"}
    for shown in ({}, headers):
        async with doors.market.connect(additional_headers=shown) as socket:
            if not shown:
                await socket.send("{}")
            await socket.wait_closed()

    rows = await told(doors)
    assert [(row["caller"], row["action"], row["path"], row["outcome"]) for row in rows] == [
        ("unknown", "CONNECT", "/ws", 4401),
        (reader.id, "CONNECT", "/ws", 4403),
    ]


def refusal(number: int) -> Act:
    return Act(
        caller="unknown", address=f"10.0.{number >> 8}.{number & 255}", action="GET", path="/"
    )


async def test_a_flood_makes_a_bounded_number_of_rows_and_loses_no_count(
    doors: KeyedMarket,
) -> None:
    trail = doors.market.state.access.trail
    for number in range(3_000):
        trail.refused(refusal(number), 401)
    await look(doors.market.state)
    for number in range(3_000):
        trail.refused(refusal(number), 401)

    rows = await told(doors)
    assert len(rows) == MOST_A_MINUTE + 1
    assert sum(row["count"] for row in rows) == 6_000
    assert (rows[-1]["caller"], rows[-1]["address"]) == ("*", "*")


class Away(AuditLog):
    """A log whose database is away for a while."""

    away = True

    async def refused(self, refusals: Any) -> None:
        held: list[Refusals] = list(refusals)
        if self.away:
            raise asyncpg.InterfaceError("away")
        await super().refused(held)


async def test_what_could_not_be_entered_is_entered_later(doors: KeyedMarket) -> None:
    clock = ManualClock(START)
    trail, store = Trail(clock), Away(doors.market.pool)
    trail.log = store
    for minute in range(200):
        clock.advance(timedelta(minutes=1))
        for number in range(MOST_A_MINUTE + 20):
            trail.refused(refusal(number), 401)
        if minute in (3, 190):
            with pytest.raises(asyncpg.InterfaceError):
                await trail.flush()
    store.away = False
    await trail.flush()

    rows = await told(doors)
    assert sum(row["count"] for row in rows) == 200 * (MOST_A_MINUTE + 20)
    assert len(rows) < 10_100
