"""A day of faults in ten minutes, with real sockets: nothing is lost, and nothing grows."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import numpy as np
import pytest

from collectors.simulated.clock import ScaledClock
from collectors.simulated.faults import FaultKind
from collectors.simulated.instruments import default_symbols
from tests.followed import following
from tests.house import ROOT
from tests.soak import Footprint, unheard

DAY, WARM_UP = 24 * 60, 60  # minutes
SPEED = 144
KINDS = [one for one in FaultKind if one is not FaultKind.LOSE_TRADE]
OF_ALL = 0.2  # of the faults befall all instruments
SPARE = 3  # tasks and futures of a request that is under way
BLOCKS = 10_000  # of memory, of 410 000


@asynccontextmanager
async def exchange(symbols: Sequence[str]) -> AsyncIterator[tuple[int, ScaledClock]]:
    """A process of its own, so that what it keeps does not count; its port and clock."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "collectors.simulated", "--timeframe", "1m"),
        *("--speed", str(SPEED), "--symbols", ",".join(symbols)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    port = json.loads(await process.stdout.readline())["port"]
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"http://127.0.0.1:{port}/_control/time")
        clock = ScaledClock((await answer.json())["now"], SPEED)
    try:
        yield port, clock
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.soak
async def test_a_day_of_faults_in_ten_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    symbols = default_symbols(50)
    random = np.random.default_rng(2)
    async with (
        exchange(symbols) as (port, clock),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", raise_for_status=True) as control,
        following(symbols, port, clock, room=2 * DAY) as followed,
    ):

        async def live(minutes: int) -> Footprint:
            """A fault every two to five minutes, then none until all is right."""
            end_ms = clock.now_ms() + minutes * 60_000
            while clock.now_ms() < end_ms:
                # Not the candle that has begun: of a hole nothing may have been told.
                fault: dict[str, str | int] = {
                    "kind": KINDS[random.integers(len(KINDS))],
                    "after": 1,
                }
                if random.random() > OF_ALL:
                    fault["instrument"] = symbols[random.integers(len(symbols))]
                await control.post("/_control/faults", json=fault)
                await asyncio.sleep(60 / SPEED * random.uniform(2, 5))
            await control.delete("/_control/faults")
            await followed.all_right()
            return Footprint.now()

        await followed.until(1)
        with unheard():
            before = await live(WARM_UP)
            after = await live(DAY)

    with capsys.disabled():
        sys.stdout.write(f"\n{followed.account.counts}\n{before}\n{after}\n")
    assert before.tasks - SPARE <= after.tasks <= before.tasks + SPARE
    assert after.futures <= before.futures + 2 * SPARE
    assert after.blocks < before.blocks + BLOCKS
