"""Worker processes take one thread, and do not outlive the process that they work for."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend.executor import ProcessExecutor

ROOT = Path(__file__).parents[3]
WITHIN_S = 60.0  # for a loaded machine; nothing else waits so long
LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

_PARENT = """
import os, time
from backend.executor import ProcessExecutor

if __name__ == "__main__":
    executor = ProcessExecutor()
    print(executor.submit(os.getpid).result(), flush=True)
    executor.submit(time.sleep, 600)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent")
def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        try:
            assert parent.stdout is not None
            worker = os.pidfd_open(int(parent.stdout.readline()))
        finally:
            parent.kill()
    try:
        ended, _, _ = select.select([worker], [], [], WITHIN_S)
        if not ended:
            signal.pidfd_send_signal(worker, signal.SIGKILL)
        assert ended, "the worker outlives its parent"
    finally:
        os.close(worker)


def test_libraries_are_told_in_a_worker_to_take_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (*LIBRARIES, "NPROC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "2")  # of whoever runs it
    executor = ProcessExecutor()

    told = [executor.submit(os.getenv, name).result() for name in (*LIBRARIES, "NPROC")]

    executor.close()
    assert told == ["1", "1", "2", "1", "1"]
