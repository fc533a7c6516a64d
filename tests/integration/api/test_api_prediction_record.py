"""One prediction and all that it can be held to."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from backend.api.described import Answer
from backend.api.schemas_prediction import PredictionRecord
from domain.market import rfc3339
from tests.doubles import START
from tests.factories import BTC, ETH
from tests.keyed import keyed
from tests.served_market import ServedMarket, outcomes, prediction

TICK = 20


def name(market: ServedMarket, symbol: str = BTC.symbol, *, revision: int = 1) -> str:
    return f"1h.4.simulated.{rfc3339(market.batches[TICK].as_of)}.{revision}.{symbol}"


async def record(rest: httpx.AsyncClient, wanted: str) -> dict[str, Any]:
    answer = await rest.get(f"/v1/predictions/{wanted}")
    assert answer.status_code == 200, answer.text
    Answer[PredictionRecord].model_validate_json(answer.content)
    (row,) = answer.json()["data"]
    return dict(row)


async def test_a_prediction_is_told_with_its_event_and_later_with_its_label_and_score(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    before = await record(rest, name(market))
    made = outcomes(market.batches[TICK], START)
    await market.recorder.commit_learning(made, published_at=START)
    after = await record(rest, name(market))
    query: dict[str, Any] = {
        "symbol": BTC.symbol,
        "end": rfc3339(market.batches[TICK + 1].as_of),
        "limit": 1,
    }
    (listed,) = (await rest.get("/v1/predictions", params=query)).json()["data"]

    assert (before["label"], before["score"]) == (None, None)
    assert after["id"] == name(market)
    assert after["prediction"] == before["prediction"] == listed
    assert (after["feature_set"], after["feature_revision"]) == ("few@1", 1)
    assert (after["label"]["outcome"], after["label"]["log_return"]) == (1, 0.01)
    assert after["score"]["log_loss"] == pytest.approx(0.9, abs=0.3)
    assert after["score"]["scored_at"] == after["label"]["known_at"] == rfc3339(START)


async def test_the_event_is_the_one_of_the_stream_that_told_of_it(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    corrected = prediction(market.batches[TICK], revision=2, made_at=START)
    await market.recorder.commit_tick([corrected], published_at=START)
    for revision in (1, 2):
        place = (await record(rest, name(market, revision=revision)))["published"]
        path = f"/v1/streams/{place['stream']}/events"
        asked = {"since": place["offset"] - 1, "limit": 1}
        (event,) = (await rest.get(path, params=asked)).json()["data"]

        assert {one: event[one] for one in place} == place
        assert event["data"]["as_of"] == rfc3339(market.batches[TICK].as_of)
        assert event["data"]["revision"] == revision


async def test_what_was_not_said_or_is_another_s_is_not_found(market_url: str) -> None:
    async with keyed(market_url) as doors:
        some = doors.client(await doors.key(instruments=(f"simulated:{ETH.symbol}",)))
        async with some:
            hidden = await some.get(f"/v1/predictions/{name(doors.market)}")
            none = await some.get(f"/v1/predictions/{name(doors.market, ETH.symbol, revision=7)}")
            strange = await some.get("/v1/predictions/yesterday")

    assert (hidden.status_code, hidden.json()["code"]) == (404, "not_found")
    assert (none.status_code, none.json()["code"]) == (404, "not_found")
    assert (strange.status_code, strange.json()["code"]) == (422, "bad_request")


async def test_a_path_of_its_own_is_no_prediction(rest: httpx.AsyncClient) -> None:
    answer = await rest.get("/v1/predictions/query")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
