"""The hash of a stored feature row."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backend.store.rows import feature_hashes


def test_a_row_hash_is_of_its_little_endian_doubles() -> None:
    hashes = feature_hashes(np.array([[1.0, -2.5], [3.0, 4.0]]))

    expected = blake2b(np.array([1.0, -2.5], dtype="<f8").tobytes(), digest_size=16).digest()
    assert hashes[0] == expected
    assert hashes[1] != expected


def test_every_nan_is_the_same_unknown() -> None:
    odd_nan = np.array([0x7FF8_0000_0000_BEEF], dtype=np.uint64).view(np.float64)

    assert feature_hashes(np.array([[odd_nan[0], 0.0]])) == feature_hashes(np.array([[np.nan, 0]]))


@given(st.lists(st.floats(allow_nan=False), min_size=3, max_size=3), st.integers(0, 2))
def test_one_changed_bit_changes_the_hash(row: list[float], place: int) -> None:
    values = np.array([row])
    changed = values.copy()
    changed.view(np.uint64)[0, place] ^= 1
    if np.isnan(changed).any():
        return

    assert feature_hashes(values) != feature_hashes(changed)
