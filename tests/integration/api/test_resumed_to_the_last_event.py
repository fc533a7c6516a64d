"""Whatever is cut, and whoever is killed: a client's log is the server's log.

Clients lose their connection at random frames, the server is stopped and killed, two writers
extend one log; a client that resumes has every event of its streams once, in order.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any

import orjson
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from backend.api import messages
from backend.store.database import connect
from tests.log_server import CANDLES, PREDICTIONS, SIGNALS, STREAMS, end, server
from tests.ports import free_port

EVENTS = 80  # of each stream, at least
LOST = (websockets.ConnectionClosed, websockets.InvalidHandshake, OSError, EOFError)
AWAY_S = 0.02


class Follower:
    """A client that resumes; it loses its connection after so many frames as `cuts` says."""

    def __init__(self, port: int, streams: Iterable[str], cuts: random.Random) -> None:
        self.told: dict[str, list[Any]] = {stream: [] for stream in streams}
        self.connections = 0
        self._address = f"ws://127.0.0.1:{port}/ws"
        self._cuts = cuts
        self._epochs: dict[str, str] = {}
        self._goal, self._reached = 0.0, asyncio.Event()

    async def reaches(self, rows: float) -> None:
        """Until a stream has so many rows."""
        self._goal, self._reached = rows, asyncio.Event()
        if max(len(each) for each in self.told.values()) >= rows:
            return
        await self._reached.wait()

    async def follow(self) -> None:
        """Until every stream has its events."""
        while not self._complete():
            try:
                async with websockets.connect(self._address, max_queue=2) as socket:
                    self.connections += 1
                    await self._listen(socket, frames=self._cuts.randint(1, 120))
            except LOST:
                await asyncio.sleep(AWAY_S)  # a server is starting: the pause of any client

    def _complete(self) -> bool:
        return all(len(rows) >= EVENTS for rows in self.told.values())

    async def _listen(self, socket: ClientConnection, frames: int) -> None:
        since = {
            stream: {"epoch": self._epochs.get(stream), "offset": len(rows)}
            for stream, rows in self.told.items()
        }
        asked = {"streams": [*self.told], "since": since}
        await socket.send(orjson.dumps({"method": "subscribe", "params": asked}).decode())
        for seq in range(frames):
            message = orjson.loads(await socket.recv())
            assert message["seq"] == seq
            self._take(message)
            if self._complete():
                return
        socket.transport.abort()

    def _take(self, message: dict[str, Any]) -> None:
        messages.SERVER.validate_python(message)
        if message["type"] == "reply":
            assert all(one["recovered"] for one in message["result"]["streams"])
        if message["type"] == "update":
            rows = self.told[message["stream"]]
            assert message["offset"] == len(rows) + 1
            self._epochs[message["stream"]] = message["epoch"]
            rows.append((message["hash"], message["data"]))
            if len(rows) >= self._goal:
                self._reached.set()


async def logged(url: str, stream: str) -> list[Any]:
    connection = await connect(url)
    found = await connection.fetch(
        'SELECT hash, payload FROM stream_events WHERE stream = $1 ORDER BY "offset"', stream
    )
    await connection.close()
    return [(row["hash"].hex(), orjson.loads(row["payload"])) for row in found]


async def resumed(url: str, seed: int, ends: int) -> None:
    """Followers beside a server that is ended `ends` times, by a plan of `seed`."""
    plan = random.Random(seed)  # noqa: S311 - a plan, no secret
    port = free_port()
    wanted = (STREAMS, CANDLES, [*SIGNALS, PREDICTIONS[0]], SIGNALS[:1])
    followers = [
        Follower(port, streams, random.Random(plan.random()))  # noqa: S311 - as above
        for streams in wanted
    ]
    serving = server(url, port, EVENTS)
    try:
        async with asyncio.TaskGroup() as tasks:
            for each in followers:
                tasks.create_task(each.follow())
            for number in range(ends):
                reached = EVENTS * (number + plan.random()) / (ends + 1)
                await followers[0].reaches(reached)
                await asyncio.to_thread(end, serving, kill=plan.random() < 0.6)
                serving = server(url, port, EVENTS)
    finally:
        await asyncio.to_thread(end, serving, kill=True)
    for stream in STREAMS:
        log = await logged(url, stream)
        for each in followers:
            if stream in each.told:
                assert each.told[stream] == log[: len(each.told[stream])]
                assert len(each.told[stream]) >= EVENTS
    # How often each was cut says how fast the machine is: a way back may take several ends.
    assert min(each.connections for each in followers) > 1


async def test_clients_that_resume_have_every_event_once(database_url: str) -> None:
    await resumed(database_url, seed=7, ends=2)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
async def test_clients_that_resume_have_every_event_once_however_they_are_cut(
    database_url: str, seed: int
) -> None:
    await resumed(database_url, seed=seed, ends=8)
