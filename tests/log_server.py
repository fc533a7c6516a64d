"""A server whose log two writers extend, in a process that can be killed."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from typing import Final

import asyncpg
import orjson

from backend.api.app import create_app
from backend.api.hub import Hub
from backend.api.server import listen, serve
from backend.store.database import connect_pool
from backend.store.stream_log import Drafts, StaleHeadsError, StreamLog
from tests.doubles import START, ManualClock
from tests.processes import FORKED
from tests.served_market import MEMBERS, ServedMarket

SYMBOLS: Final = [one.symbol for one in MEMBERS]
CANDLES: Final = [f"candles.1h.simulated.{symbol}" for symbol in SYMBOLS]
SIGNALS: Final = [f"signals.1h.simulated.{symbol}" for symbol in SYMBOLS]
PREDICTIONS: Final = [f"predictions.1h.simulated.{symbol}" for symbol in SYMBOLS]
# The signals have two writers.
WRITERS: Final = ([CANDLES, SIGNALS], [PREDICTIONS, SIGNALS])
STREAMS: Final = (*CANDLES, *SIGNALS, *PREDICTIONS)
_LENGTH: Final = 'SELECT coalesce(max("offset"), 0) FROM stream_events WHERE stream = $1'


def server(url: str, port: int, events: int) -> BaseProcess:
    """A process that serves on `port`, and writes until each stream has `events` at least."""
    process = FORKED.Process(target=_main, args=(url, port, events), daemon=True)
    process.start()
    return process


def end(process: BaseProcess, *, kill: bool) -> None:
    """End it in good order, or by kill -9."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
    process.join()


def _main(url: str, port: int, events: int) -> None:
    asyncio.run(_run(url, port, events))


async def _run(url: str, port: int, events: int) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    pool = await connect_pool(url, size=6)
    market = ServedMarket.over(pool, ManualClock())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(create_app(market.state), listen("127.0.0.1", port)))
        for logs in WRITERS:
            tasks.create_task(_write(pool, market.state.hub, logs, events))


async def _write(pool: asyncpg.Pool, hub: Hub, logs: Sequence[Sequence[str]], events: int) -> None:
    log = StreamLog()
    for number in itertools.count():
        async with pool.acquire() as connection:
            lengths = [await connection.fetchval(_LENGTH, streams[0]) for streams in logs]
            if min(lengths) >= events:
                return
            payload = orjson.dumps({"writer": id(log), "number": number})
            drafts = [Drafts("row", START, each, [payload] * len(each)) for each in logs]
            await _append(connection, log, drafts, hub)


async def _append(
    connection: asyncpg.Connection, log: StreamLog, drafts: Sequence[Drafts], hub: Hub
) -> None:
    names = [each.streams for each in drafts]
    while True:
        await log.open(connection, names)
        extension = log.extend(START)
        for each in drafts:
            extension.add(each)
        try:
            async with connection.transaction():
                await extension.write(connection)
        except StaleHeadsError:  # the other writer was faster
            log.forget(names)
            continue
        log.remember(extension)
        hub.publish(extension.events)
        return
