"""The simulated exchange: as a command, as a process beside the demo, and its clock."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp

from backend.clock import ExchangeClock
from collectors.simulated.__main__ import main as serve_alone
from domain.errors import ExchangeUnavailableError
from domain.market import from_ms

START_TIMEOUT = timedelta(seconds=60)  # a slow machine reading a year of 1m candles
READ_EVERY_S = 2.0  # wall seconds between readings of its clock


@dataclass(slots=True)
class SimulatedProcess:
    """The exchange that runs beside us, and commands to it."""

    port: int
    session: aiohttp.ClientSession

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def hold(self, held: bool) -> None:  # noqa: FBT001 - one flag is the whole command
        """Stop or start the market's clock."""
        await self._ask("POST", "/_control/clock", {"held": held})

    async def read_clock(self, clock: ExchangeClock) -> bool:
        """Set `clock` by the exchange's; False once the recording has ended."""
        document = await self._ask("GET", "/_control/time")
        clock.set(from_ms(document["now"]), held=document["held"])
        clock.speed = document["speed"]
        return not document["ended"]

    async def _ask(self, method: str, path: str, body: dict[str, object] | None = None) -> Any:  # noqa: ANN401 - JSON
        try:
            async with self.session.request(method, self.rest_url + path, json=body) as response:
                response.raise_for_status()
                return await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ExchangeUnavailableError(f"the simulated exchange is gone: {error}") from error


@asynccontextmanager
async def simulated_process(*arguments: str) -> AsyncIterator[SimulatedProcess]:
    """Run `python -m collectors.simulated` with `arguments` until the context ends.

    Raises:
        ExchangeUnavailableError: it did not start; with what it said.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "collectors.simulated",
        *arguments,
        stdin=asyncio.subprocess.PIPE,  # its end tells the exchange that we are gone
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is for us; the exchange stops after us
    )
    try:
        port = await _port(process)
        async with aiohttp.ClientSession() as session:
            yield SimulatedProcess(port=port, session=session)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _port(process: asyncio.subprocess.Process) -> int:
    if process.stdout is None or process.stderr is None:
        raise ExchangeUnavailableError("the simulated exchange has no output")
    try:
        async with asyncio.timeout(START_TIMEOUT.total_seconds()):
            line = await process.stdout.readline()
    except TimeoutError:
        raise ExchangeUnavailableError("the simulated exchange does not start") from None
    if not line:
        said = (await process.stderr.read()).decode(errors="replace").strip()
        raise ExchangeUnavailableError(said.splitlines()[-1] if said else "it ended at once")
    return int(json.loads(line)["port"])


def serve_exchange(*, data: Path | None, seed: int, signal: float, port: int, speed: float) -> int:
    """Serve in this process until interrupted; the exit status."""
    arguments = ["--seed", str(seed), "--signal", str(signal)]
    arguments += ["--port", str(port), "--speed", str(speed)]
    if data is not None:
        arguments += ["--data", str(data)]
    return serve_alone(arguments)
