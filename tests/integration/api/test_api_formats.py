"""A list says the same however it is spelt, to readers that know nothing of this server."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pandas as pd
import pyarrow as pa
import pytest

from backend.api.formats import ARROW, CSV
from domain.market import rfc3339
from tests.full_market import fill
from tests.served_market import SET, ServedMarket

LISTS = (
    "/v1/candles?limit=40",
    "/v1/features?limit=40",
    "/v1/sentiment?limit=40",
    "/v1/gaps?limit=40",
    "/v1/predictions?limit=40&role=champion,member",
    "/v1/predictions/latest?as_of=2030-01-01",
    "/v1/signals?limit=40",
    "/v1/measurements?limit=40",
    "/v1/models?limit=40",
    "/v1/notifications?limit=40",
    "/v1/scores?as_of=2030-01-01",
    "/v1/labels/mood?as_of=2030-01-01",
    "/v1/exchanges?exchange=simulated",
    "/v1/symbols?exchange=simulated",
    "/v1/timeframes?exchange=simulated",
    "/v1/instruments?",
    "/v1/streams?",
    "/v1/ledger?",
)
NESTED = (
    "members", "votes", "scores", "params", "metrics", "environment", "gate", "probabilities",
    "timeframes", "horizons", "body", "predicted", "positions", "benchmarks", "risk", "refused",
)  # fmt: skip
EMPTY = "&start=2050-01-01"
PAGED = [path for path in LISTS if "limit" in path]


@pytest.fixture(autouse=True)
async def _full(market: ServedMarket) -> None:
    await fill(market)


async def spelt(rest: httpx.AsyncClient, path: str, how: str) -> httpx.Response:
    answer = await rest.get(f"{path}&format={how}")
    assert answer.status_code == 200, answer.text
    return answer


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row of objects as the other spellings name its values."""
    values = row.get("values")
    spread = {f"values.{name}": value for name, value in (values or {}).items()}
    return {
        name: value for name, value in row.items() if values is None or name != "values"
    } | spread


def read_back(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of a frame: null as None, times as this server spells them, nested text parsed."""
    for row in frame.to_dict("records"):
        yield {str(name): _value(str(name), value) for name, value in row.items()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return rfc3339(value.to_pydatetime())
    if isinstance(value, str):
        return orjson.loads(value) if name in NESTED and value[:1] in ("[", "{") else value
    return None if pd.isna(value) else value


def in_a_table(row: dict[str, Any]) -> dict[str, Any]:
    """A row as CSV and Arrow have it: words are joined."""
    words = {"degraded", "kinds", "exchanges"} | ({"timeframes"} if "kinds" in row else set())
    joined = {name: ",".join(row[name]) for name in words & row.keys()}
    return flat(row) | joined


async def test_columns_are_the_members_of_objects(rest: httpx.AsyncClient) -> None:
    for path in LISTS:
        objects = (await spelt(rest, path, "objects")).json()
        columns = (await spelt(rest, path, "columns")).json()

        assert {**columns, "data": None} == {**objects, "data": None}
        expected = [flat(row) for row in objects["data"]]
        rows = [
            dict(zip(columns["data"], row, strict=True))
            for row in zip(*columns["data"].values(), strict=True)
        ]
        assert rows == expected, path
        assert list(columns["data"]) == list(expected[0]), path


async def test_pandas_reads_from_csv_what_objects_say(rest: httpx.AsyncClient) -> None:
    for path in LISTS:
        objects = (await spelt(rest, path, "objects")).json()["data"]
        answer = await spelt(rest, path, "csv")

        texts = {name: str for row in objects for name, value in row.items() if type(value) is str}
        frame = pd.read_csv(io.BytesIO(answer.content), dtype=texts)

        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        # An empty text is quoted and null is not, which pandas does not tell apart.
        expected = [
            {name: None if value == "" else value for name, value in in_a_table(row).items()}
            for row in objects
        ]
        assert list(read_back(frame)) == expected, path


async def test_pandas_reads_from_arrow_what_objects_say(rest: httpx.AsyncClient) -> None:
    for path in LISTS:
        objects = (await spelt(rest, path, "objects")).json()["data"]
        answer = await spelt(rest, path, "arrow")

        table = pa.ipc.open_stream(answer.content).read_all()

        assert answer.headers["content-type"] == ARROW
        assert list(read_back(table.to_pandas())) == [in_a_table(row) for row in objects], path


async def test_times_and_numbers_have_types_in_arrow(rest: httpx.AsyncClient) -> None:
    answer = await spelt(rest, "/v1/predictions?limit=1", "arrow")

    schema = pa.ipc.open_stream(answer.content).schema

    assert schema.field("as_of").type == pa.timestamp("ms", tz="UTC")
    assert schema.field("horizon").type == pa.int64()
    assert schema.field("p_up").type == pa.float64()
    assert schema.field("members").type == pa.string()


async def test_null_is_an_empty_field_of_csv_and_an_empty_text_is_quoted(
    rest: httpx.AsyncClient,
) -> None:
    answer = await spelt(rest, "/v1/signals?limit=2&symbol=ETH/USDT", "csv")

    names, row, _ = (line.split(",") for line in answer.text.splitlines())
    told = dict(zip(names, row, strict=True))
    assert told['"gate"'] == '""'
    assert told['"realized_return"'] == ""


async def test_a_page_without_rows_has_its_columns(rest: httpx.AsyncClient) -> None:
    for path in PAGED:
        columns = (await spelt(rest, path, "columns")).json()["data"]

        table = pa.ipc.open_stream((await spelt(rest, path + EMPTY, "arrow")).content).read_all()
        whole = pa.ipc.open_stream((await spelt(rest, path, "arrow")).content).schema
        frame = pd.read_csv(io.BytesIO((await spelt(rest, path + EMPTY, "csv")).content))
        empty = (await spelt(rest, path + EMPTY, "columns")).json()["data"]

        assert (table.num_rows, table.schema) == (0, whole), path
        assert (len(frame), list(frame)) == (0, list(columns)), path
        assert empty == {name: [] for name in columns}, path
    names = (await spelt(rest, "/v1/features?limit=1" + EMPTY, "columns")).json()["data"]
    assert {f"values.{one}" for one in SET.columns} <= set(names)


async def test_the_link_leads_through_the_pages_of_every_spelling(rest: httpx.AsyncClient) -> None:
    for path in PAGED:
        whole = pd.read_csv(io.BytesIO((await spelt(rest, path, "csv")).content))
        first = path.replace("limit=40", f"limit={len(whole) // 2 or 1}")
        for headers, suffix in (({"accept": CSV}, ""), ({}, "&format=csv")):
            parts, answer = [], await rest.get(first + suffix, headers=headers)
            parts.append(pd.read_csv(io.BytesIO(answer.content)))
            while "next" in answer.links:
                answer = await rest.get(answer.links["next"]["url"], headers=headers)
                assert answer.status_code == 200, answer.text
                parts.append(pd.read_csv(io.BytesIO(answer.content)))

            together = pd.concat(parts, ignore_index=True).head(len(whole))
            pd.testing.assert_frame_equal(together, whole, check_dtype=False)
    objects = await rest.get("/v1/candles?limit=7&symbol=BTC/USDT")
    cursor = objects.json()["next"]
    assert cursor in objects.links["next"]["url"]
    second = await rest.get(f"/v1/candles?limit=7&symbol=BTC/USDT&format=csv&cursor={cursor}")
    assert second.links["next"]["url"].count("cursor=") == 1


async def test_what_fits_into_a_line_of_meta_is_in_headers(rest: httpx.AsyncClient) -> None:
    for how in ("objects", "csv", "arrow"):
        answer = await spelt(rest, "/v1/candles?symbol=ETH/USDT&limit=5000", how)

        assert answer.headers["alphapulse-as-of"] == "2024-01-01T00:00:00.000Z"
        assert answer.headers["alphapulse-watermark"] == "2024-01-01T00:00:00.000Z"
        assert answer.headers["alphapulse-revision"] == "1"
        assert answer.headers["alphapulse-coverage"] == "expected=30, present=29, gaps=1"


async def test_accept_chooses_and_format_overrules_it(rest: httpx.AsyncClient) -> None:
    for accept, content_type in (
        ("*/*", "application/json"),
        ("", "application/json"),
        ("text/html, application/xml;q=0.9, */*;q=0.8", "application/json"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("application/json;q=0.2, text/*", "text/csv; charset=utf-8"),
        (f"{ARROW}, application/json", "application/json"),
        (f"{ARROW}, application/json;q=0.9", ARROW),
    ):
        answer = await rest.get("/v1/candles?limit=1", headers={"accept": accept})

        assert answer.headers["content-type"] == content_type, accept
        assert answer.headers["vary"].startswith("Accept,")
    answer = await rest.get("/v1/candles?limit=1&format=csv", headers={"accept": ARROW})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"


async def test_a_spelling_that_there_is_not_is_a_problem(rest: httpx.AsyncClient) -> None:
    answer = await rest.get("/v1/candles", headers={"accept": "text/html;q=1, text/csv;q=0"})
    strange = await rest.get("/v1/candles?format=xml")

    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert "application/json, text/csv, application/vnd" in answer.json()["detail"]
    assert (strange.status_code, strange.json()["errors"][0]["parameter"]) == (422, "format")
