"""Orders about models: who may give them, and what they are answered."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import httpx
import pytest

from tests.seats import NAME, Book
from tests.served_market import ServedMarket

PATH = "/v1/models/rollback"


@pytest.fixture
def book(market: ServedMarket) -> Book:
    seats = Book()
    market.state.seats = seats
    return seats


async def test_a_version_leaves_and_the_answer_says_who_comes(
    rest: httpx.AsyncClient, book: Book
) -> None:
    answers = [
        await rest.post(PATH, json={"model": NAME, "timeframe": "1h", "horizon": horizon})
        for horizon in (4, 24)
    ]

    assert [one.status_code for one in answers] == [200, 200]
    rows = [one.json()["data"][0] for one in answers]
    assert [(row["version"], row["previous"]) for row in rows] == [(3, 2), (3, None)]
    assert book.orders == [(NAME, 4), (NAME, 24)]


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


async def test_only_this_machine_and_no_other_page_may_order(
    market: ServedMarket, rest: httpx.AsyncClient, book: Book
) -> None:
    order = {"model": NAME, "horizon": 4}
    theirs = await rest.post(PATH, json=order, headers={"origin": "https://example.com"})
    market.state.seats = None
    early = await rest.post(PATH, json=order)

    assert (theirs.status_code, early.status_code) == (403, 503)
    assert book.orders == []


async def test_weights_are_those_of_the_running_pools(rest: httpx.AsyncClient, book: Book) -> None:
    answer = await rest.get("/v1/models/pool")

    assert answer.json()["data"] == [asdict(one) for one in book.weights()]
