"""Notifications over REST: what channels are told, what became of it, and how much waits."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from backend.api.state import Unsent
from backend.store.outbox import Outbox
from tests.full_market import warn
from tests.served_market import ServedMarket


async def get(rest: httpx.AsyncClient, **parameters: Any) -> dict[str, Any]:
    answer = await rest.get("/v1/notifications", params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture(autouse=True)
async def _told(market: ServedMarket) -> None:
    await warn(market)


async def test_the_newest_come_first_with_what_is_sent(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await Outbox(market.pool).sent(1, at=market.clock.now())

    found = await get(rest)

    third, second, first = found["data"]
    assert [row["state"] for row in (first, second, third)] == ["sent", "pending", "pending"]
    assert first["sent_at"] == "2024-01-01T00:00:00.000Z"
    assert (first["next_attempt_at"], first["error"], first["attempts"]) == (None, None, 1)
    assert second["next_attempt_at"] == "2024-01-01T00:00:00.000Z"
    assert first["body"]["id"] == first["id"]
    assert first["body"]["data"]["symbol"] == "ETH/USDT"
    assert (first["event"], first["subject"]) == ("signal.opened", "simulated:ETH/USDT")


async def test_they_are_paged_and_chosen(market: ServedMarket, rest: httpx.AsyncClient) -> None:
    outbox = Outbox(market.pool)
    await outbox.failed(2, "HTTP 500", again=market.clock.now(), dead=True)
    whole = (await get(rest))["data"]

    paged: list[dict[str, Any]] = []
    following = None
    while not paged or following:
        page = await get(rest, limit=1, **({"cursor": following} if following else {}))
        paged, following = paged + page["data"], page["next"]

    assert paged == whole
    assert (await get(rest, order="asc"))["data"] == whole[::-1]
    (dead,) = (await get(rest, state="dead"))["data"]
    assert (dead["error"], dead["next_attempt_at"]) == ("HTTP 500", None)
    assert len((await get(rest, event="signal.opened", channel="ops"))["data"]) == 3
    assert (await get(rest, channel="phone"))["data"] == []
    assert (await get(rest, start="2024-01-02"))["data"] == []


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"state": "lost"}, "unknown state 'lost'"),
        ({"event": "signal.open"}, "unknown event 'signal.open'"),
        ({"cursor": "WyIiLDAsOTk5OTk5OTk5OTk5OTk5OTk5OTldCg"}, "cursor"),
        ({"limt": 1}, "limit"),
    ],
)
async def test_what_cannot_be_asked_is_refused(
    rest: httpx.AsyncClient, parameters: dict[str, Any], said: str
) -> None:
    answer = await rest.get("/v1/notifications", params=parameters)

    assert answer.status_code == 422
    assert said in answer.text


async def test_metrics_say_how_much_waits_and_since_when(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    market.state.unsent = lambda: [
        Unsent(channel="ops", state="pending", count=3, age_s=90.0),
        Unsent(channel="ops", state="dead", count=1, age_s=9_000.0),
    ]

    told = (await rest.get("/metrics")).text.splitlines()

    assert 'alphapulse_notifications_unsent{channel="ops",state="pending"} 3.0' in told
    assert 'alphapulse_notifications_unsent{channel="ops",state="dead"} 1.0' in told
    assert 'alphapulse_notification_age_seconds{channel="ops"} 90.0' in told
    assert not [one for one in told if "9000" in one]
