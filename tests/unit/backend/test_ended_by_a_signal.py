"""A signal ends a system in good order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest

from backend.served import until_signalled


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_though_nobody_reads_what_it_says(number: signal.Signals) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    nobody = os.fdopen(writer, "w")
    try:
        async with asyncio.timeout(30) as limit:  # a failure takes so long
            with contextlib.redirect_stdout(nobody), until_signalled():
                os.kill(os.getpid(), number)
                await asyncio.Event().wait()
    finally:
        with contextlib.suppress(BrokenPipeError):
            nobody.close()
    assert not limit.expired()
