"""REST: what is said of class labels; and that it is stored as it was said."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import numpy as np

from backend.api import schemas
from backend.api.described import Answer
from backend.store.class_record import class_record
from domain.classes import VOID, ClassLabelBatch, ClassPredictionBatch
from domain.events import Origin
from domain.market import Horizon, Timeframe, rfc3339, to_ms
from tests.factories import BTC, ETH
from tests.served_market import ServedMarket

HOUR = timedelta(hours=1)
NAMES = ("calm", "wild")
SPAN = Horizon(Timeframe.H1, 4)


def said(market: ServedMarket, back: int, *, model: str = "class_prior.mood") -> Any:
    """Of BTC and ETH, so many closes ago; of ETH not served where a model says it."""
    batch = market.batches[-1 - back]
    return ClassPredictionBatch(
        exchange=batch.exchange,
        timeframe=batch.timeframe,
        as_of=batch.as_of,
        instruments=(BTC, ETH),
        horizon=4,
        kind="mood@2",
        model=model,
        version="1",
        made_at=batch.as_of,
        origin=Origin.LIVE,
        revision=np.array([1, 1]),
        served=np.array([model == "class_prior.mood"] * 2),
        names=NAMES,
        probabilities=np.array([[0.25, 0.75], [0.5, 0.5]]),
        degraded=("no_skill", "no_skill") if model == "class_prior.mood" else ("", ""),
    )


def came(market: ServedMarket, back: int, *classes: int, revision: int = 1) -> ClassLabelBatch:
    as_of_ms = to_ms(market.batches[-1 - back].as_of)
    return ClassLabelBatch(
        exchange=BTC.exchange,
        timeframe=Timeframe.H1,
        horizon=4,
        kind="mood@2",
        instruments=(BTC, ETH),
        as_of_ms=np.full(2, as_of_ms),
        revision=np.full(2, revision),
        known_ms=np.full(2, as_of_ms + SPAN.duration // timedelta(milliseconds=1)),
        names=NAMES,
        classes=np.array(classes),
    )


async def commit(market: ServedMarket, *events: object) -> None:
    await market.recorder.commit_learning(events, published_at=market.clock.now())


async def get(rest: httpx.AsyncClient, kind: str, **parameters: Any) -> httpx.Response:
    return await rest.get(f"/v1/labels/{kind}", params=parameters)


async def test_the_newest_served_row_of_each_series_is_answered(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    earlier = replace(said(market, 1), kind="mood@1")
    other = said(market, 0, model="lightgbm.mood")
    await commit(market, earlier, said(market, 1), said(market, 0), other)

    answer = await get(rest, "mood")
    rows = answer.json()["data"]
    before = (await get(rest, "mood", as_of=rfc3339(market.batches[-2].as_of))).json()["data"]
    older = (await get(rest, "mood@1", symbol="ETH/USDT")).json()["data"]

    Answer[schemas.ClassPredictionRow].model_validate_json(answer.content)
    assert [(row["symbol"], row["label_kind"], row["model"]) for row in rows] == [
        (symbol, "mood@2", "class_prior.mood") for symbol in ("BTC/USDT", "ETH/USDT")
    ]
    assert rows[0]["probabilities"] == {"calm": 0.25, "wild": 0.75}
    assert rows[0]["degraded"] == ["no_skill"]
    assert {row["as_of"] for row in rows} == {rfc3339(market.batches[-1].as_of)}
    assert {row["as_of"] for row in before} == {rfc3339(market.batches[-2].as_of)}
    assert [row["label_kind"] for row in older] == ["mood@1"]
    assert answer.json()["meta"]["watermark"] == rfc3339(market.batches[-1].as_of)
    assert answer.json()["meta"]["coverage"]["expected"] == 2


async def test_a_label_that_nobody_tells_is_not_found(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    nobody = await get(rest, "mood")
    await commit(market, said(market, 0))
    other = await get(rest, "moods")
    strange = await get(rest, "mood", symbol="BTC/USD")

    assert (nobody.status_code, other.status_code) == (404, 404)
    assert "`training.labels` names them" in nobody.json()["detail"]
    assert "nothing is said of a label 'moods' yet; known: mood@2" in other.json()["detail"]
    assert strange.json()["type"] == "/docs#unknown_symbol"


async def test_what_was_told_first_stays_and_a_loss_is_of_it(market: ServedMarket) -> None:
    sure = replace(
        said(market, 9, model="lightgbm.mood"), probabilities=np.array([[0.1, 0.9], [0.1, 0.9]])
    )
    await commit(market, said(market, 9), sure, came(market, 9, 1, VOID))
    again = replace(sure, probabilities=np.array([[0.5, 0.5], [0.5, 0.5]]), version="2")

    await commit(market, again, came(market, 9, 0, 0), came(market, 9, 0, 0, revision=2))
    async with market.pool.acquire() as connection:
        mood = (await class_record(connection, SPAN, seed=0))["mood@2"]

    assert (mood["count"], mood["void"], mood["classes"]) == (2, 0, {"calm": 2})
    # ETH's label was void at first: it counts from when it was filled.
    told = {"class_prior.mood": (0.75, 0.5), "lightgbm.mood": (0.9, 0.1)}
    for model, chances in told.items():
        loss = -np.log(chances).mean()
        assert mood["models"][model]["count"] == 2
        np.testing.assert_allclose(mood["models"][model]["log_loss"], loss)
    assert mood["models"]["served"] == mood["models"]["class_prior.mood"]
    stored = await market.pool.fetchval("SELECT count(*) FROM quarantine")
    assert stored == 0
