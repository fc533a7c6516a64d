"""What OpenAPI and the page at /docs say of answers is what is answered."""

from __future__ import annotations

from typing import Any

import httpx
from pydantic import BaseModel

from backend.api import schemas, schemas_scores, schemas_watched
from backend.api.described import Answer
from backend.api.schemas_notifications import NotificationRow
from tests.full_market import fill
from tests.seats import weights
from tests.served_market import ServedMarket

ROWS: dict[str, type[BaseModel]] = {
    "/v1/candles": schemas.CandleRow,
    "/v1/features": schemas.FeatureRow,
    "/v1/predictions?role=champion,member": schemas.PredictionRow,
    "/v1/predictions/latest": schemas.PredictionRow,
    "/v1/signals": schemas.SignalRow,
    "/v1/ledger": schemas.AccountRow,
    "/v1/scores": schemas.ScoreRow,
    "/v1/scores/days": schemas_scores.DayRow,
    "/v1/scores/calibration": schemas_scores.CalibrationRow,
    "/v1/models/pool": schemas_scores.WeightRow,
    "/v1/gaps": schemas.GapRow,
    "/v1/labels/mood": schemas.ClassPredictionRow,
    "/v1/measurements": schemas.MeasurementRow,
    "/v1/models": schemas.ModelRow,
    "/v1/notifications": NotificationRow,
    "/v1/sentiment": schemas.TextRow,
    "/v1/streams": schemas.StreamRow,
    "/v1/instruments": schemas.InstrumentRow,
    "/v1/exchanges": schemas_watched.ExchangeRow,
    "/v1/symbols": schemas_watched.SymbolRow,
    "/v1/timeframes": schemas_watched.TimeframeRow,
}


async def test_every_row_is_as_it_is_described(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await fill(market)
    market.state.weights = weights
    for path, row in ROWS.items():
        answer = await rest.get(path)

        assert answer.json()["data"], path
        Answer[row].model_validate_json(answer.content)  # type: ignore[valid-type]


async def test_openapi_and_the_page_name_the_fields_of_an_answer(rest: httpx.AsyncClient) -> None:
    openapi = (await rest.get("/openapi.json")).json()
    page = (await rest.get("/docs")).text

    for path in ROWS:
        place = path.partition("?")[0].replace("/mood", "/{kind}")
        answer = openapi["paths"][place]["get"]["responses"]["200"]
        described = answer["content"]["application/json"]["schema"]
        whole = _resolved(openapi, described.get("anyOf", [described])[0])
        row = _resolved(openapi, whole["properties"]["data"]["items"])
        assert row["properties"]
        assert all(f"<code>{name}</code>" in page for name in row["properties"])


async def test_docs_show_bodies_and_no_backticks(rest: httpx.AsyncClient) -> None:
    page = (await rest.get("/docs")).text

    assert "`" not in page
    orders = page.partition("POST /v1/instruments")[2].partition("<h3>")[0]
    assert "Body (JSON)" in orders
    assert "<code>symbol</code>" in orders
    assert "<a href=#unreachable><code>unreachable</code></a>" in orders
    assert "<summary>Example</summary>" in orders
    assert (await rest.get("/static/icon.svg")).status_code == 200
    assert "<link rel=icon href=/static/icon.svg" in page


def _resolved(openapi: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema["$ref"].rpartition("/")[2]
    found: dict[str, Any] = openapi["components"]["schemas"][name]
    return found
