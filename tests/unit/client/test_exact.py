"""JSON with the exact text of its values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse_client import exact

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
rows = st.dictionaries(st.text(), values, max_size=4)
spacing = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:  ")])
spelling = st.fixed_dictionaries({"separators": spacing, "ensure_ascii": st.booleans()})


@given(row=rows, data=values, how=spelling)
def test_data_is_the_text_as_it_came(row: dict[str, Any], data: object, how: Any) -> None:
    def spelt(value: object) -> str:
        return json.dumps(value, **how)

    members, payload = exact.frame(spelt({**row, "data": data}))

    assert (members, payload) == ({**row, "data": data}, spelt(data))


@given(given_rows=st.lists(rows, max_size=4), meta=values, separators=spacing)
def test_each_row_of_a_page_has_its_own(
    given_rows: list[dict[str, Any]], meta: object, separators: tuple[str, str]
) -> None:
    def spelt(value: object) -> str:
        return json.dumps(value, separators=separators)

    found, others = exact.page(spelt({"meta": meta, "data": given_rows, "next": "7"}))

    assert found == [(row, spelt(row["data"]) if "data" in row else "") for row in given_rows]
    assert others == {"meta": meta, "next": "7"}


@pytest.mark.parametrize("text", ["", "7", "{", '{"a"}', '{"a":}', '{"a":1', '{"a":1 "b":2}', "[]"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|Expecting"):
        exact.frame(text)
