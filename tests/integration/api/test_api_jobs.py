"""Jobs over REST: asked for once however often it is sent, and seen by who asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest

from backend.api.described import Answer
from backend.api.schemas_jobs import JobRow
from backend.jobs import MOST_ATTEMPTS
from backend.store.jobs import MOST_OPEN, JobStore
from domain.keys import KeyScope
from tests.doubles import Impatient
from tests.errands import BUGGY, COLLECTORS, GONE, RESULT, Errand, Office, errands
from tests.keyed import KeyedMarket, keyed
from tests.served_market import ServedMarket

BTC = {"exchange": "simulated", "symbol": "BTC/USDT"}


@pytest.fixture
def errand() -> Errand:
    return Errand()


@pytest.fixture
async def office(market: ServedMarket, errand: Errand) -> AsyncIterator[Office]:
    office = Office(market, errands(errand))
    yield office
    await office.close()


async def ended(rest: httpx.AsyncClient, place: str, state: str) -> dict[str, Any]:
    """The job once it is in a state; one that runs has noted how far it is."""
    async with asyncio.timeout(60):
        while True:
            row: dict[str, Any] = (await rest.get(place)).json()["data"][0]
            if row["state"] == state and (row["progress"] or state != "running"):
                return row
            await asyncio.sleep(0.01)


async def asked_for(
    market: ServedMarket, rest: httpx.AsyncClient, orders: Sequence[tuple[str, dict[str, Any]]]
) -> list[str]:
    """The places of jobs, one a second."""
    places = []
    for path, body in orders:
        places.append((await rest.post(path, json=body)).headers["location"])
        market.clock.advance(timedelta(seconds=1))
    return places


async def test_a_job_is_answered_at_once_and_told_at_its_place(
    rest: httpx.AsyncClient, office: Office, errand: Errand
) -> None:
    asked = await rest.post("/v1/backfills", json={**BTC, "start": "2024-01-01", "end": None})
    office.open()
    place = asked.headers["location"]
    running = await ended(rest, place, "running")
    errand.may_end.set()
    done = await ended(rest, place, "done")

    assert asked.status_code == 202
    assert "idempotency-replayed" not in asked.headers
    (row,) = asked.json()["data"]
    assert (row["kind"], row["state"], row["caller"]) == ("backfill", "queued", "loopback")
    assert row["request"] == {**BTC, "start": "2024-01-01T00:00:00Z"}
    assert (running["result"], running["ended_at"]) == (None, None)
    assert running["progress"] == {"done": 0, "total": 3}
    assert (done["result"], done["detail"]) == (RESULT, "half of it")
    assert done["ended_at"] >= done["started_at"] >= done["created_at"]


async def test_the_same_key_is_the_same_job_and_no_key_another(
    rest: httpx.AsyncClient, office: Office, errand: Errand
) -> None:
    named = {"Idempotency-Key": "monday"}
    first = await rest.post("/v1/retrains", json={"horizon": 4}, headers=named)
    again = await rest.post("/v1/retrains", json={"horizon": 4, "exchange": None}, headers=named)
    others = [await rest.post("/v1/retrains", json={"horizon": 4}) for _ in range(2)]
    changed = await rest.post("/v1/retrains", json={"horizon": 8}, headers=named)
    elsewhere = await rest.post("/v1/backfills", json=BTC, headers=named)
    office.open()
    errand.may_end.set()
    await ended(rest, first.headers["location"], "done")
    later = await rest.post("/v1/retrains", json={"horizon": 4}, headers=named)

    assert (first.status_code, again.status_code, later.status_code) == (202, 202, 200)
    assert again.headers["idempotency-replayed"] == later.headers["idempotency-replayed"] == "true"
    names = [one.json()["data"][0]["id"] for one in (first, again, later, *others)]
    assert len(set(names)) == len({names[0], *names[3:]}) == 3
    for wrong in (changed, elsewhere):
        assert (wrong.status_code, wrong.json()["code"]) == (422, "idempotency_key_reused")


async def test_twenty_at_once_under_one_key_are_one_job(
    rest: httpx.AsyncClient, market: ServedMarket, office: Office, errand: Errand
) -> None:
    named = {"Idempotency-Key": "once"}
    answers = await asyncio.gather(
        *(rest.post("/v1/backfills", json=BTC, headers=named) for _ in range(20))
    )

    assert {one.status_code for one in answers} == {202}
    assert len({one.headers["location"] for one in answers}) == 1
    assert sum("idempotency-replayed" not in one.headers for one in answers) == 1
    assert await market.pool.fetchval("SELECT count(*) FROM jobs") == 1


async def test_a_job_that_was_cut_short_is_taken_up_first_and_knows_how_far_it_was(
    market: ServedMarket, rest: httpx.AsyncClient, office: Office, errand: Errand
) -> None:
    places = await asked_for(market, rest, [("/v1/backfills", BTC)] * 2)
    office.open()
    await ended(rest, places[0], "running")
    await office.close()

    later = Errand()
    later.may_end.set()
    after = Office(market, errands(later))
    after.open()
    rows = [await ended(rest, place, "done") for place in places]
    await after.close()

    assert [job.id for job in later.taken] == [row["id"] for row in rows]
    assert [job.progress for job in later.taken] == [{"done": 0, "total": 3}, {}]


async def test_a_kind_does_not_wait_for_the_other_and_each_goes_in_turn(
    market: ServedMarket, rest: httpx.AsyncClient, office: Office, errand: Errand
) -> None:
    orders: list[tuple[str, dict[str, Any]]]
    orders = [("/v1/retrains", {}), ("/v1/retrains", {"horizon": 4}), ("/v1/backfills", BTC)]
    places = await asked_for(market, rest, orders)
    office.open()
    for place in (places[0], places[2]):
        await ended(rest, place, "running")

    states = [(await rest.get(place)).json()["data"][0]["state"] for place in places]
    assert states == ["running", "queued", "running"]


async def test_a_job_that_cannot_be_done_says_why_and_the_next_is_done(
    rest: httpx.AsyncClient, office: Office, errand: Errand
) -> None:
    errand.may_end.set()
    office.open()
    gone = await rest.post("/v1/backfills", json={**BTC, "symbol": GONE})
    well = await rest.post("/v1/backfills", json=BTC)
    failed = await ended(rest, gone.headers["location"], "failed")
    await ended(rest, well.headers["location"], "done")

    assert (failed["result"], failed["detail"]) == (None, f"{GONE} left before all was known")


async def test_a_job_that_nobody_foresaw_to_fail_is_given_up_and_the_next_is_done(
    rest: httpx.AsyncClient, office: Office, errand: Errand
) -> None:
    errand.may_end.set()
    errand.bugs = MOST_ATTEMPTS
    office.open()
    broken = await rest.post("/v1/backfills", json={**BTC, "symbol": BUGGY})
    failed = await ended(rest, broken.headers["location"], "failed")
    well = await rest.post("/v1/backfills", json=BTC)
    done = await ended(rest, well.headers["location"], "done")
    errand.bugs = 1
    again = await rest.post("/v1/backfills", json={**BTC, "symbol": BUGGY})
    mended = await ended(rest, again.headers["location"], "done")

    reason = f"given up after {MOST_ATTEMPTS} attempts: KeyError: 'a bug'"
    assert (failed["detail"], failed["attempts"], failed["result"]) == (reason, MOST_ATTEMPTS, None)
    assert failed["ended_at"] is not None
    assert (done["attempts"], mended["attempts"], mended["detail"]) == (1, 2, "half of it")


async def test_a_job_whose_connections_are_lost_goes_on_from_what_it_has_noted(
    rest: httpx.AsyncClient, office: Office, errand: Errand, caplog: pytest.LogCaptureFixture
) -> None:
    errand.may_end.set()
    errand.lost = MOST_ATTEMPTS + 1
    office.open()
    asked = await rest.post("/v1/backfills", json=BTC)
    done = await ended(rest, asked.headers["location"], "done")

    assert (done["attempts"], done["detail"]) == (1, "half of it")
    assert [dict(one.progress) for one in errand.taken] == [{}] + [{"done": 0, "total": 3}] * 4
    assert not [one for one in caplog.records if one.exc_info]


async def test_a_job_that_takes_the_system_along_is_given_up_and_a_stop_is_no_attempt(
    market: ServedMarket, rest: httpx.AsyncClient, office: Office, errand: Errand
) -> None:
    asked = await rest.post("/v1/backfills", json=BTC)
    place = asked.headers["location"]
    for _ in range(MOST_ATTEMPTS + 1):
        office.open()
        await ended(rest, place, "running")
        await office.close()
        await market.pool.execute("UPDATE jobs SET progress = NULL")
    stopped = (await rest.get(place)).json()["data"][0]
    store = JobStore(market.pool)
    for _ in range(MOST_ATTEMPTS):  # as many lives, which end before they can say why
        await store.next(COLLECTORS, "backfill", at=market.clock.now(), wall=Impatient())
    office.open()
    row = await ended(rest, place, "failed")

    assert (stopped["state"], stopped["attempts"]) == ("running", 0)
    assert row["detail"] == f"given up after {MOST_ATTEMPTS} attempts: the system ended each time"


async def test_a_mistake_is_said_and_makes_no_job(
    market: ServedMarket, rest: httpx.AsyncClient, office: Office, errand: Errand
) -> None:
    bodies: list[tuple[str, dict[str, Any], dict[str, str]]] = [
        ("/v1/retrains", {"horizon": 0}, {}),
        ("/v1/retrains", {"timeframe": "7m"}, {}),
        ("/v1/retrains", {"model": "all"}, {}),
        ("/v1/backfills", {"exchange": "simulated"}, {}),
        ("/v1/backfills", {**BTC, "start": "2024-01-02", "end": "2024-01-01"}, {}),
        ("/v1/backfills", {**BTC, "start": "yesterday"}, {}),
        ("/v1/backfills", {**BTC, "start": "2099-01-01"}, {}),
        ("/v1/backfills", BTC, {"Idempotency-Key": "x" * 129}),
        ("/v1/backfills", BTC, {"Idempotency-Key": "two words"}),
        ("/v1/backfills", BTC, {"Idempotency-Key": ""}),
    ]
    wrong = [await rest.post(path, json=body, headers=more) for path, body, more in bodies]
    unknown = await rest.post("/v1/retrains", json={"exchange": "simulate"})
    market.state.orders = None
    early = await rest.post("/v1/retrains", json={})

    assert [one.status_code for one in wrong] == [422] * len(bodies)
    assert (unknown.status_code, unknown.json()["suggestions"]) == (404, ["simulated"])
    assert early.status_code == 503
    assert await market.pool.fetchval("SELECT count(*) FROM jobs") == 0


async def test_only_so_many_jobs_of_a_caller_may_wait(
    market: ServedMarket, rest: httpx.AsyncClient, office: Office, errand: Errand
) -> None:
    await rest.post("/v1/retrains", json={}, headers={"Idempotency-Key": "first"})
    await market.pool.execute(
        "INSERT INTO jobs (id, kind, request, caller, request_sha256, state, created_at, attempts)"
        " SELECT n, kind, request, caller, request_sha256, state, created_at, attempts"
        " FROM jobs, generate_series(2, $1) AS n",
        MOST_OPEN,
    )
    refused = await rest.post("/v1/retrains", json={})
    known = await rest.post("/v1/retrains", json={}, headers={"Idempotency-Key": "first"})

    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_jobs")
    assert refused.headers["retry-after"] == "60"
    assert known.status_code == 202


async def test_jobs_are_listed_page_by_page_the_newest_first(
    market: ServedMarket, rest: httpx.AsyncClient, office: Office, errand: Errand
) -> None:
    orders: list[tuple[str, dict[str, Any]]]
    orders = [("/v1/retrains", {}), ("/v1/backfills", BTC)]
    await asked_for(market, rest, [orders[number % 2] for number in range(1, 6)])
    names: list[str] = []
    cursor = None
    while cursor or not names:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = await rest.get("/v1/jobs", params=query)
        Answer[JobRow].model_validate_json(page.content)
        names += [row["created_at"] for row in page.json()["data"]]
        cursor = page.json()["next"]
    retrains = (await rest.get("/v1/jobs", params={"kind": "retrain", "state": "queued"})).json()
    none = (await rest.get("/v1/jobs", params={"state": "done"})).json()
    wrong = await rest.get("/v1/jobs", params={"kind": "import"})

    assert len(names) == 5
    assert names == sorted(names, reverse=True)
    assert Counter(row["kind"] for row in retrains["data"]) == {"retrain": 2}
    assert none["data"] == []
    assert wrong.status_code == 422


async def test_a_key_sees_its_own_jobs_and_the_operator_all(market_url: str) -> None:
    async with keyed(market_url, require_keys=False) as doors:
        Office(doors.market, {})
        mine, theirs = [await operating(doors) for _ in range(2)]
        reader = doors.client(await doors.key(scopes=[KeyScope.READ]))
        async with mine, theirs, reader, doors.client() as operator:
            named = {"Idempotency-Key": "monday"}
            asked = [
                await one.post("/v1/retrains", json={}, headers=named) for one in (mine, theirs)
            ]
            refused = await reader.post("/v1/retrains", json={})
            place = asked[0].headers["location"]
            seen = [(await one.get(place)).status_code for one in (mine, theirs, reader, operator)]
            lists = [
                len((await one.get("/v1/jobs")).json()["data"])
                for one in (mine, theirs, reader, operator)
            ]
            hidden, none = (await theirs.get(place)).json(), (await theirs.get("/v1/jobs/x")).json()

    assert [one.status_code for one in asked] == [202, 202]
    assert asked[1].headers["location"] != place
    assert refused.status_code == 403
    assert seen == [200, 404, 404, 200]
    assert lists == [1, 1, 0, 2]
    assert (hidden["code"], hidden["title"]) == (none["code"], none["title"])


async def operating(doors: KeyedMarket) -> httpx.AsyncClient:
    return doors.client(await doors.key(scopes=[KeyScope.READ, KeyScope.OPERATE]))


async def test_an_order_that_nobody_has_begun_is_cancelled_and_one_that_runs_is_not(
    market: ServedMarket, rest: httpx.AsyncClient, office: Office, errand: Errand
) -> None:
    running, waiting = await asked_for(market, rest, [("/v1/backfills", BTC)] * 2)
    office.open()
    await ended(rest, running, "running")
    cancelled = await rest.delete(waiting)
    again = await rest.delete(waiting)
    refused = await rest.delete(running)
    unknown = await rest.delete("/v1/jobs/nobody")
    errand.may_end.set()
    await ended(rest, running, "done")

    (row,) = cancelled.json()["data"]
    Answer[JobRow].model_validate(cancelled.json())
    assert (cancelled.status_code, row["state"]) == (200, "failed")
    assert (row["detail"], row["started_at"]) == ("cancelled by loopback", None)
    assert row == (await rest.get(waiting)).json()["data"][0]
    for answer, state in ((again, "failed"), (refused, "running")):
        assert (answer.status_code, answer.json()["code"]) == (409, "not_as_it_was")
        assert answer.json()["detail"].endswith(f"waits to be begun: it is {state}")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert len(errand.taken) == 1


async def test_a_job_that_waits_for_nobody_says_who_is_missing(
    market: ServedMarket, rest: httpx.AsyncClient, office: Office
) -> None:
    """It is entered, and no process ever spoke as its owner."""
    (place,) = await asked_for(market, rest, [("/v1/backfills", BTC)])
    (row,) = (await rest.get(place)).json()["data"]
    (listed,) = (await rest.get("/v1/jobs")).json()["data"]

    words = f"waits for {COLLECTORS}: no process has it, none spoke within an hour"
    assert (row["state"], row["detail"]) == ("queued", words)
    assert listed == row
