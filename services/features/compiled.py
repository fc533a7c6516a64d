"""How the kernels are compiled: on import, from explicit types, with strict IEEE arithmetic.

numba's cache watches only the file of the function that it stores. So each file of kernels
is complete in itself: it calls no compiled function, and reads no number, of another file.
(A record type made elsewhere is safe: it is part of the signature.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import from_dtype, njit, types
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])
Records = NDArray[np.void]

FLOAT_2D = types.float64[:, ::1]
FLOAT_3D = types.float64[:, :, ::1]
INT_TRIPLE = types.UniTuple(types.int64, 3)  # type: ignore[no-untyped-call]
INT_1D = types.int64[::1]
INT_2D = types.int64[:, ::1]


def records(dtype: np.dtype[np.void], dimensions: int) -> types.Type:
    """The numba type of a C-ordered array of `dtype` records."""
    return types.Array(from_dtype(dtype), dimensions, "C")


def kernel(result: types.Type, *arguments: types.Type) -> Callable[[F], F]:
    """A function that Python calls: compiled eagerly, cached on disk, without the GIL."""
    decorate = njit(result(*arguments), cache=True, error_model="numpy", nogil=True)
    return cast("Callable[[F], F]", decorate)


def part(function: F) -> F:
    """A function that only kernels of the same file call."""
    return cast("F", njit(function, error_model="numpy"))
