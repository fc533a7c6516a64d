"""Rows that are equal as stored have equal hashes; any other bit shows."""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from services.features.row_hash import row_hashes


def test_a_row_hash_is_sha256_of_its_little_endian_doubles() -> None:
    hashes = row_hashes(np.array([[1.0, -2.5], [3.0, 4.0]]))

    assert hashes[0] == hashlib.sha256(struct.pack("<2d", 1.0, -2.5)).digest()
    assert hashes[1] == hashlib.sha256(struct.pack("<2d", 3.0, 4.0)).digest()


def test_all_nans_are_one_and_both_zeros_are_one() -> None:
    odd_nan = np.array([0xFFF8000000000001], dtype=np.uint64).view(np.float64)

    assert row_hashes(np.array([[odd_nan[0], -0.0]])) == row_hashes(np.array([[np.nan, 0.0]]))


def test_the_last_bit_of_any_value_changes_the_hash() -> None:
    row = np.array([[1.0, 2.0, np.nan]])

    changed = np.array([[1.0, np.nextafter(2.0, 3.0), np.nan]])

    assert row_hashes(row) != row_hashes(changed)
