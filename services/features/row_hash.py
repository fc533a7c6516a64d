"""Fingerprints of feature rows, for comparing what was served with what is recomputed."""

from __future__ import annotations

import hashlib

import numpy as np

from domain.events import Floats


def row_hashes(values: Floats) -> list[bytes]:
    """SHA-256 of each row of `values` (n, columns) as little-endian float64.

    Every NaN is hashed as the one quiet NaN, and -0 as 0: rows that are equal as stored
    have equal hashes.
    """
    canonical = np.where(np.isnan(values), np.nan, values + 0.0).astype("<f8")
    return [hashlib.sha256(row).digest() for row in np.ascontiguousarray(canonical)]
