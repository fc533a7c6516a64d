"""What a client of REST waits for, beside a bare FastAPI, and how long a resume takes."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import orjson
import uvicorn
import websockets
from fastapi import FastAPI

from backend.api.server import listen
from backend.store.stream_log import Drafts, StreamLog
from tests.benchmarks.market import scene
from tests.benchmarks.measure import Row, Size, p50, p99
from tests.benchmarks.serving import Served, served, told
from tests.doubles import START

CLIENTS: Final = (1, 16, 64)
INSTRUMENTS: Final = 20
TICKS: Final = 30
PATHS: Final = {
    "latest predictions of 20 instruments": "/v1/predictions/latest",
    "500 candles": "/v1/candles?symbol=C0000/USDT&limit=500",
}
MISSED: Final = 10_000  # events
BESIDE: Final = 10  # streams in the same log
STREAMS: Final = [f"signals.1h.simulated.C{number:04}/USDT" for number in range(BESIDE)]
PAYLOAD: Final = orjson.dumps({"side": "flat", "pad": "x" * 400})


async def rest(server: str, folder: Path, size: Size) -> list[Row]:
    """p50 and p99 by the count of clients, beside an echo of the same process."""
    rows = []
    warm = scene(INSTRUMENTS, TICKS, [])
    async with served(server, folder, [warm]) as behind, _echo() as bare:
        played = behind.play(warm)
        for batch, messages in told(warm):
            await played.tick(batch, messages)
        for clients in CLIENTS:
            requests = size.requests // clients * clients
            floor = await _asked(f"{bare}/echo?symbol=C0000/USDT", clients, requests)
            for what, path in PATHS.items():
                ours = await _asked(behind.url + path, clients, requests)
                rows.append(
                    Row(
                        name=f"REST, {what}, {clients} clients: p50",
                        value=p50(ours["taken_ms"]),
                        unit="ms",
                        baseline=p50(floor["taken_ms"]),
                        baseline_name="bare FastAPI echo",
                        detail={
                            "p99 ms": p99(ours["taken_ms"]),
                            "echo p99 ms": p99(floor["taken_ms"]),
                            "requests/s": requests / ours["seconds"],
                            "echo requests/s": requests / floor["seconds"],
                        },
                    )
                )
    return rows


async def resume(server: str, folder: Path, size: Size) -> list[Row]:
    """From `subscribe` to `live` for a client that missed ten thousand events of one stream."""
    missed = MISSED if size.requests > MISSED // 10 else MISSED // 10
    async with served(server, folder, [scene(BESIDE, 1, [])]) as behind:
        await _log(behind, missed)
        taken = [await _resumed(behind, missed) for _ in range(3)]
        floor = [await _selected(behind) for _ in range(3)]
    return [
        Row(
            name=f"resume of {missed} events, from subscribe to live",
            value=p50(taken),
            unit="ms",
            baseline=p50(floor),
            baseline_name="SELECT of the same payloads",
            detail={"events/s": missed / (p50(taken) / 1_000)},
        )
    ]


async def _log(behind: Served, events: int) -> None:
    log = StreamLog()
    async with behind.store.writers.acquire() as connection:
        await log.open(connection, [STREAMS])
        extension = log.extend(START)
        for _ in range(events):
            extension.add(Drafts("opened", START, STREAMS, [PAYLOAD] * BESIDE))
        async with connection.transaction():
            await extension.write(connection)
        await connection.execute("ANALYZE stream_blocks")


async def _resumed(behind: Served, events: int) -> float:
    address = behind.url.replace("http", "ws") + "/ws"
    async with websockets.connect(address, compression=None) as socket:
        await socket.recv()
        asked = {"streams": STREAMS[:1], "since": {"*": {"offset": 0}}}
        began = time.perf_counter()
        await socket.send(orjson.dumps({"method": "subscribe", "params": asked}).decode())
        got = 0
        while True:
            frame = await socket.recv(decode=False)
            got += frame.startswith(b'{"type":"update"')
            if frame.startswith(b'{"type":"live"'):
                break
    if got != events:
        raise RuntimeError(f"{got} of {events} events")
    return 1_000 * (time.perf_counter() - began)


async def _selected(behind: Served) -> float:
    began = time.perf_counter()
    await behind.store.readers.fetch(
        "SELECT payload FROM stream_events WHERE log = $1 AND stream = $2 ORDER BY block",
        STREAMS[0].rpartition(".")[0],
        STREAMS[0],
    )
    return 1_000 * (time.perf_counter() - began)


async def _asked(url: str, clients: int, requests: int) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.asking", url, str(clients), str(requests),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate()
    found: dict[str, Any] = orjson.loads(printed)
    return found


@asynccontextmanager
async def _echo() -> AsyncIterator[str]:
    """The address of a FastAPI that answers with what it was asked."""
    app = FastAPI()

    @app.get("/echo")
    async def echo(symbol: str) -> dict[str, str]:
        return {"symbol": symbol}

    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
