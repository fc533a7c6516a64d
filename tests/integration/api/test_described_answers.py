"""What OpenAPI and the page at /docs say of answers is what is answered."""

from __future__ import annotations

from typing import Any

import httpx
from pydantic import BaseModel

from backend.api import schemas
from backend.api.schemas import Answer
from backend.store import ledger
from backend.store.instruments import Instruments
from domain.account import Terms
from domain.market import Listing
from tests.doubles import START
from tests.factories import BTC, ETH
from tests.served_market import ServedMarket, outcomes, signals

ROWS: dict[str, type[BaseModel]] = {
    "/v1/candles": schemas.CandleRow,
    "/v1/features": schemas.FeatureRow,
    "/v1/predictions?role=champion,member": schemas.PredictionRow,
    "/v1/predictions/latest": schemas.PredictionRow,
    "/v1/signals": schemas.SignalRow,
    "/v1/ledger": schemas.AccountRow,
    "/v1/scores": schemas.ScoreRow,
    "/v1/gaps": schemas.GapRow,
    "/v1/streams": schemas.StreamRow,
    "/v1/instruments": schemas.InstrumentRow,
}


async def test_every_row_is_as_it_is_described(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await Instruments(market.pool).watch([Listing(instrument=BTC)], since=START)
    for batch in market.batches[:20]:
        await market.recorder.commit_learning(outcomes(batch, START), published_at=START)
    await market.pool.execute(
        "INSERT INTO ingest_gaps SELECT instrument_id, '1h', $1::timestamptz, $1 + interval '1 h',"
        " 'audit', 'open', $1, NULL FROM instruments WHERE symbol = $2",
        START,
        ETH.symbol,
    )
    await held(market)
    for path, row in ROWS.items():
        answer = await rest.get(path)

        assert answer.json()["data"], path
        Answer[row].model_validate_json(answer.content)  # type: ignore[valid-type]


async def held(market: ServedMarket) -> None:
    """The account has an open position."""
    batch = market.batches[20]
    entered = {"status": "active", "entry_price": 100.0}
    await market.recorder.commit_tick(
        [signals(batch, event="updated", **entered)], published_at=START
    )
    async with market.pool.acquire() as connection:
        await ledger.fold(connection, lambda _: Terms(), closes=100)


async def test_openapi_and_the_page_name_the_fields_of_an_answer(rest: httpx.AsyncClient) -> None:
    openapi = (await rest.get("/openapi.json")).json()
    page = (await rest.get("/docs")).text

    for path in ROWS:
        answer = openapi["paths"][path.partition("?")[0]]["get"]["responses"]["200"]
        whole = _resolved(openapi, answer["content"]["application/json"]["schema"])
        row = _resolved(openapi, whole["properties"]["data"]["items"])
        assert row["properties"]
        assert all(f"<code>{name}</code>" in page for name in row["properties"])


async def test_docs_show_bodies_and_no_backticks(rest: httpx.AsyncClient) -> None:
    page = (await rest.get("/docs")).text

    assert "`" not in page
    orders = page.partition("POST /v1/instruments")[2].partition("<h3>")[0]
    assert "Body (JSON)" in orders
    assert "<code>symbol</code>" in orders
    assert (await rest.get("/static/icon.svg")).status_code == 200
    assert "<link rel=icon href=/static/icon.svg" in page


def _resolved(openapi: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema["$ref"].rpartition("/")[2]
    found: dict[str, Any] = openapi["components"]["schemas"][name]
    return found
