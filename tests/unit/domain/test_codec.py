"""State survives the codec to the bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from domain.codec import pack, unpack

MARKS = st.sampled_from(["__array__", "~__array__", "~~__array__", "dtype", "shape"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | MARKS, inner),
    max_leaves=20,
)


@given(VALUES)
def test_plain_values_come_back_equal(value: object) -> None:
    assert unpack(pack(value)) == value


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3)))
def test_arrays_come_back_to_the_bit(array: np.ndarray) -> None:
    revived = unpack(pack({"array": array}))["array"]

    assert revived.shape == array.shape
    assert revived.tobytes() == array.tobytes()


def test_equal_states_give_equal_bytes() -> None:
    assert pack({"b": 1, "a": np.arange(3)}) == pack({"a": np.arange(3), "b": 1})
