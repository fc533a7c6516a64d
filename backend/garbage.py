"""When memory is looked through and given back: between ticks, not in the middle of one."""

from __future__ import annotations

import ctypes
import gc


def settle() -> None:
    """Collect now, leave whatever lives out of later collections, and return what is free.

    A full collection walks every object: 200 ms with the models of a panel of 500, which was
    the slowest tick in sixty. What has been set aside is freed as ever when nobody refers to
    it; cycles among it wait for the next call. The C library keeps what the warm-up has
    freed unless it is asked.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)
