"""Killed at any moment, a system tells everything at least once, and everything by its id once."""

from __future__ import annotations

import asyncio
import signal as signals
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from backend.store.database import connect
from tests.receiver import SECRET, Got, Receiver, receiver

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys
import numpy as np
from backend.api.status import Market, Status
from backend.clock import SystemClock
from backend.notify.channels import open_channels
from backend.notify.notifications import notifications_of
from backend.setting_tables import NotifySettings
from backend.store.database import connect_pool
from backend.store.instruments import Instruments
from backend.store.recorder import Recorder
from collectors.pacing import Pace
from tests.integration.notified import nobody
from tests.integration.store_samples import at, signals

async def main(url, address, secret, first, last):
    clock = SystemClock()
    about = NotifySettings.model_validate({
        "channels": {"ops": {"url": address, "secret": secret, "per_minute": 100_000}},
        "rules": [{"events": ["signal.opened"], "channels": ["ops"]}],
    })
    pool = await connect_pool(url, size=1)
    recorder = Recorder(pool, Instruments(pool))
    pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(7))
    async with open_channels(about, clock) as channels, notifications_of(
        about, channels, url=url, status=Status(market=Market.LIVE), pace=pace, free=nobody
    ) as notifications:
        telling = asyncio.create_task(notifications.run())
        for number in range(int(first), int(last)):
            await recorder.commit_tick([signals(number)], published_at=at(number))
            print(number, flush=True)
        await telling

asyncio.run(main(*sys.argv[1:]))
"""
PUBLISHED = "SELECT stream, \"offset\" FROM stream_events WHERE event = 'opened'"

Process = asyncio.subprocess.Process


@asynccontextmanager
async def telling(url: str, found: Receiver, first: int, last: int) -> AsyncIterator[Process]:
    """A process that publishes the signals of some ticks and tells them until it is killed."""
    arguments = (url, found.url, SECRET, str(first), str(last))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, *arguments, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signals.SIGKILL)
        await process.wait()


async def lines(process: Process, count: int) -> list[bytes]:
    assert process.stdout is not None
    return [await process.stdout.readline() for _ in range(count)]


async def published(url: str) -> set[tuple[str, int]]:
    connection = await connect(url)
    try:
        return {(row["stream"], row["offset"]) for row in await connection.fetch(PUBLISHED)}
    finally:
        await connection.close()


def places(got: Sequence[Got]) -> list[tuple[str, int]]:
    return [(one.json()["stream"], one.json()["offset"]) for one in got]


def once(got: Sequence[Got]) -> list[Got]:
    """What a receiver keeps that passes over ids which it has seen."""
    seen: set[str] = set()
    return [one for one in got if one.id not in seen and not seen.add(one.id)]  # type: ignore[func-returns-value]


@pytest.mark.long
async def test_what_is_published_is_told_although_the_system_is_killed_again_and_again(
    database_url: str,
) -> None:
    async with receiver() as found:

        async def never(_request: web.Request) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        # Killed while a notification is on its way, and all the others wait.
        found.answers.append(never)
        async with telling(database_url, found, 1, 8) as process:
            await found.until(lambda: len(found.got) == 1)
        # Killed between commits and anything else.
        async with telling(database_url, found, 8, 14) as process:
            await lines(process, 4)
        before = len(set(found.ids))
        # Killed with some sent, one of them taken and not yet noted.
        found.answers.extend([*[ok] * 3, never])
        async with telling(database_url, found, 14, 17) as process:
            await found.until(lambda: len(set(found.ids)) >= before + 4)
        async with telling(database_url, found, 17, 20) as process:
            await lines(process, 3)
            expected = await published(database_url)
            async with asyncio.timeout(60):
                await found.until(lambda: len(set(found.ids)) >= len(expected))

    assert len(expected) > 3 * 10
    assert set(places(found.got)) == expected
    kept = once(found.got)
    assert sorted(places(kept)) == sorted(expected)
    assert len(found.got) > len(kept)  # those that were on their way came again
    assert all(one.signed and one.json()["id"] == one.id for one in found.got)
    assert {one.id: one.body for one in found.got}.keys() == {one.id for one in kept}
    assert max(Counter((one.id, one.body) for one in kept).values()) == 1
    assert len({one.body for one in found.got}) == len(kept)  # the same, byte for byte
    for stream in {one for one, _ in expected}:
        offsets = [offset for one, offset in places(kept) if one == stream]
        assert offsets == sorted(offsets)


async def ok(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=204)
