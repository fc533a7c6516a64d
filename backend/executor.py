"""CPU work in processes of its own, at the lowest priority, one thread each."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

T = TypeVar("T")

_PR_SET_PDEATHSIG = 1  # prctl(2)

# Two OpenMP threads that spin for one core were measured five times slower than one.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "NPROC": "1",  # XLA's, while it computes; it compiles with as many as there are processors
    "OMP_WAIT_POLICY": "PASSIVE",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # JAX would take three quarters of a GPU at once
}


class ProcessExecutor:
    """Worker processes that are started at the first task and never share our memory.

    On Linux they end with us, and with the thread that submitted the first task.
    """

    def __init__(self, *, workers: int = 1, nice: int = 19) -> None:
        os.environ.update(
            {name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()}
        )
        self._workers, self._nice = workers, nice
        self._pool = self._start()

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:  # noqa: ANN401
        """Queue `work`; where a worker has died, with new workers."""
        try:
            return self._pool.submit(work, *arguments)
        except BrokenProcessPool:
            self._pool = self._start()
            return self._pool.submit(work, *arguments)

    def close(self) -> None:
        """Stop at once; what runs is lost, and its artifact was never registered."""
        workers = list((self._pool._processes or {}).values())  # noqa: SLF001 - public from 3.14 on
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_settle,
            initargs=(self._nice, os.getpid()),
        )


def _settle(nice: int, parent: int) -> None:
    _end_with(parent)
    os.nice(nice)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle


def _end_with(parent: int) -> None:
    """Have the kernel kill us when the parent dies, however it dies."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we had asked
        os._exit(1)
