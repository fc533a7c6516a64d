"""What is written as CSV or Arrow is read back to the bit, whatever it is."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from backend.api.formats import Format
from backend.api.spellings import ListAnswer
from domain.market import from_ms, rfc3339
from tests.doubles import START


class Sample(BaseModel):
    """One field of each type that rows have."""

    number: float | None
    count: int | None
    flag: bool | None
    text: str | None
    at: datetime | None
    words: list[str]
    nested: dict[str, float] | None


# Of text all but surrogates and NUL, which PostgreSQL does not store.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
rows = st.fixed_dictionaries(
    {
        "number": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "count": st.none() | st.integers(-(2**63), 2**63 - 1),
        "flag": st.none() | st.booleans(),
        "text": st.none() | texts,
        "at": st.none() | st.integers(0, 4_102_444_800_000).map(from_ms),
        "words": st.lists(st.sampled_from(["gap", "late"]), unique=True),
        "nested": st.none() | st.dictionaries(texts, st.floats(-1, 1), max_size=2),
    }
)
TYPES = {
    "number": pa.float64(), "count": pa.int64(), "flag": pa.bool_(), "text": pa.string(),
    "at": pa.string(), "words": pa.string(), "nested": pa.string(),
}  # fmt: skip


def flat(row: dict[str, Any], at: str | datetime | None) -> dict[str, Any]:
    return {**row, "at": at, "words": ",".join(row["words"])}


def parsed(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "nested": row["nested"] and orjson.loads(row["nested"])} for row in found]


@given(st.lists(rows, max_size=4))
def test_csv_is_read_back_as_it_was(data: list[dict[str, Any]]) -> None:
    body = ListAnswer(data=data, described=Sample, as_of=START).spelled(Format.CSV)

    options = pyarrow.csv.ConvertOptions(
        column_types=TYPES, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    lines = pyarrow.csv.ParseOptions(newlines_in_values=True)
    table = pyarrow.csv.read_csv(io.BytesIO(body), parse_options=lines, convert_options=options)

    assert parsed(table.to_pylist()) == [
        flat(row, row["at"] and rfc3339(row["at"])) for row in data
    ]


@given(st.lists(rows, max_size=4))
def test_arrow_is_read_back_as_it_was(data: list[dict[str, Any]]) -> None:
    body = ListAnswer(data=data, described=Sample, as_of=START).spelled(Format.ARROW)

    found = pa.ipc.open_stream(body).read_all().to_pylist()

    assert parsed(found) == [flat(row, row["at"]) for row in data]


def test_what_is_not_a_number_is_null() -> None:
    row: dict[str, Any] = {
        **dict.fromkeys(Sample.model_fields),
        "number": float("nan"),
        "words": [],
    }
    told = ListAnswer(data=[row], described=Sample, as_of=START)

    assert orjson.loads(told.spelled(Format.COLUMNS))["data"]["number"] == [None]
    assert pa.ipc.open_stream(told.spelled(Format.ARROW)).read_all()["number"].null_count == 1
