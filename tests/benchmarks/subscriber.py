"""Subscribers in a process of its own: tells when each tick's last event has arrived."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import numpy as np
import orjson


async def main(url: str, pattern: str, events: int, clients: int) -> None:
    """Print whenever all clients have all of a tick, and how long its events took.

    A line is `as_of p50 p99 last`, of the arrivals of its events at the clients, monotonic
    nanoseconds each; or `subscribed STREAMS …`, when a client has caught up with all it asked.
    """
    arrived: dict[str, list[int]] = {}
    expected = events * clients

    def take(message: dict[str, Any]) -> None:
        times = arrived.setdefault(message["as_of"], [])
        times.append(time.monotonic_ns())
        if len(times) == expected:
            _tell(message["as_of"], arrived.pop(message["as_of"]))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(_listen(session, url, pattern, take) for _ in range(clients)))


async def _listen(
    session: aiohttp.ClientSession,
    url: str,
    pattern: str,
    take: Callable[[dict[str, Any]], None],
) -> None:
    live = wanted = 0
    async with session.ws_connect(f"{url}/ws", max_msg_size=0) as socket:
        request = {"streams": [pattern], "snapshot": False}
        await socket.send_str(
            orjson.dumps({"id": 1, "method": "subscribe", "params": request}).decode()
        )
        async for frame in socket:
            message = orjson.loads(frame.data)
            match message["type"]:
                case "update":
                    take(message)
                case "reply":
                    wanted = len(message["result"]["streams"])
                case "live":
                    live += 1
                    if live == wanted:
                        _tell(f"subscribed {live}", [time.monotonic_ns()])
                case "error":
                    _tell(f"error {message['error']['detail']}", [time.monotonic_ns()])


def _tell(what: str, times: Sequence[int]) -> None:
    middle, high = np.percentile(times, [50, 99]).astype(np.int64).tolist()
    sys.stdout.write(f"{what} {middle} {high} {times[-1]}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
