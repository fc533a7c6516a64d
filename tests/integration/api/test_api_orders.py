"""Orders about models: who may give them, and what they are answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import asyncpg
import httpx
import pytest

from backend.orders import Orders
from backend.store.job_parts import Part
from backend.store.jobs import JobStore
from backend.store.registry import Registry
from backend.store.system_status import SYSTEM, Told
from backend.told_status import spelled
from domain.market import Instrument
from tests.doubles import START
from tests.errands import PANEL, Office
from tests.integration.test_store_registry import SEAT, decision, version
from tests.seats import NAME, Book, weights
from tests.served_market import ServedMarket

PATH = "/v1/models/rollback"


@pytest.fixture
async def book(market: ServedMarket) -> AsyncIterator[Book]:
    market.state.status.horizons = (4, 24)
    registry = Registry(market.pool)
    for horizon in (4, 24):
        seat = replace(SEAT, exchange="simulated", horizon=horizon)
        for _ in range(2):
            await registry.register(version(seat=seat))
        promoted = replace(decision(None, 2, "cold_start"), seat=seat)
        await registry.promote(promoted, effective_from=START)
    seats = Book()
    office = Office(market, {PANEL: {"rollback": seats}})
    office.open()
    yield seats
    await office.close()


async def test_a_place_where_a_model_is_not_is_told_apart_from_a_model_that_is_none(
    rest: httpx.AsyncClient, book: Book
) -> None:
    answer = await rest.post(PATH, json={"model": NAME, "exchange": "nosuch"})

    assert answer.status_code == 422
    assert (
        answer.json()["detail"] == f"{NAME} is not there; it is at simulated 1hx4, simulated 1hx24"
    )
    assert book.orders == []


async def test_an_order_with_a_letter_that_no_name_has_is_the_callers_mistake(
    rest: httpx.AsyncClient, book: Book
) -> None:
    answers = (
        await rest.post("/v1/instruments", json={"symbol": "a\0b"}),
        await rest.delete("/v1/instruments", params={"symbol": "a\0b"}),
    )

    assert [one.status_code for one in answers] == [422, 422]
    assert {one.json()["code"] for one in answers} == {"bad_request"}


async def test_a_version_leaves_and_the_answer_says_who_comes(
    rest: httpx.AsyncClient, book: Book
) -> None:
    answers = [
        await rest.post(PATH, json={"model": NAME, "timeframe": "1h", "horizon": horizon})
        for horizon in (4, 24)
    ]

    assert [one.status_code for one in answers] == [200, 200]
    rows = [one.json()["data"][0] for one in answers]
    assert [(row["version"], row["previous"]) for row in rows] == [(2, 1), (2, None)]
    assert [job.request["horizon"] for job in book.orders] == [4, 24]


async def test_a_mistake_is_said_and_moves_nothing(rest: httpx.AsyncClient, book: Book) -> None:
    typo = await rest.post(PATH, json={"model": "lightgbm.directon", "horizon": 4})
    bodies: list[dict[str, Any]] = [
        {},
        {"model": NAME},
        {"model": NAME, "horizon": 0},
        {"model": NAME, "horizon": 4, "timeframe": "7m"},
        {"model": NAME, "horizon": 4, "more": 1},
    ]
    wrong = [await rest.post(PATH, json=body) for body in bodies]

    assert NAME in typo.json()["suggestions"]
    assert {one.status_code for one in wrong} == {422}
    assert "simulated 1hx24" in wrong[1].json()["detail"]
    assert book.orders == []


@dataclass
class Losing(JobStore):
    """Whoever asks how far a job is loses the connection so many times."""

    pool: asyncpg.Pool
    losses: int

    def __post_init__(self) -> None:
        super().__init__(self.pool)

    async def parts(self, name: str) -> list[Part]:
        if self.losses:
            self.losses -= 1
            raise asyncpg.InternalClientError("the connection was closed")
        return await super().parts(name)


@pytest.mark.parametrize(("losses", "patience_s", "status"), [(2, 60.0, 200), (1_000, 0.1, 202)])
async def test_an_order_that_was_entered_is_answered_though_the_connection_is_lost_meanwhile(
    market: ServedMarket,
    rest: httpx.AsyncClient,
    book: Book,
    losses: int,
    patience_s: float,
    status: int,
) -> None:
    losing, registry = Losing(market.pool, losses), Registry(market.pool)
    heard = [Told(SYSTEM, spelled(market.state.status), START, 0.0)]
    office = Office(market, {PANEL: {"rollback": Book()}})
    office.open()
    market.state.orders = Orders(
        losing, registry, heard=lambda: heard, clock=market.clock, ring=office.bell.ring
    )
    market.state.patience_s = patience_s
    answer = await rest.post(PATH, json={"model": NAME, "horizon": 4})
    await office.close()

    assert answer.status_code == status
    assert answer.headers["location"].startswith("/v1/jobs/")


async def test_only_this_machine_and_no_other_page_may_order(
    market: ServedMarket, rest: httpx.AsyncClient, book: Book
) -> None:
    order = {"model": NAME, "horizon": 4}
    theirs = await rest.post(PATH, json=order, headers={"origin": "https://example.com"})
    market.state.orders = None
    early = await rest.post(PATH, json=order)

    assert (theirs.status_code, early.status_code) == (403, 503)
    assert book.orders == []


async def test_weights_are_those_of_the_running_pools(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    market.state.weights = weights
    answer = await rest.get("/v1/models/pool")

    assert answer.json()["data"] == [asdict(one) for one in weights()]


async def test_a_panel_that_is_away_does_it_when_it_comes_back(
    market: ServedMarket, rest: httpx.AsyncClient, book: Book
) -> None:
    market.state.patience_s = 0.01
    market.state.status.instruments += (Instrument("gone", "BTC/USDT"),)
    seat = replace(SEAT, exchange="gone")
    registry = Registry(market.pool)
    await registry.register(version(seat=seat))
    promoted = replace(decision(None, 1, "cold_start"), seat=seat)
    await registry.promote(promoted, effective_from=START)
    order = {"model": NAME, "exchange": "gone"}
    named = {"Idempotency-Key": "once"}
    answers = [await rest.post(PATH, json=order, headers=named) for _ in range(2)]
    seats = Book()
    office = Office(market, {"panel gone|1h": {"rollback": seats}})
    office.open()
    market.state.patience_s = 60.0
    done = await rest.post(PATH, json=order, headers=named)
    await office.close()

    assert [one.status_code for one in answers] == [202, 202]
    assert len({one.headers["location"] for one in answers}) == 1
    assert answers[0].json()["data"][0]["state"] == "queued"
    assert (done.status_code, done.json()["data"][0]["version"]) == (200, 1)
    assert len(seats.orders) == 1
