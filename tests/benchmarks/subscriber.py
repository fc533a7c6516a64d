"""A subscriber in a process of its own: tells when each tick's last event has arrived."""

from __future__ import annotations

import asyncio
import sys
import time

import aiohttp
import orjson


async def main(url: str, pattern: str, events: int, clients: int) -> None:
    """Print `as_of nanoseconds` (monotonic) whenever all clients have all of a tick."""
    arrived: dict[str, int] = {}
    async with aiohttp.ClientSession() as session:

        async def listen() -> None:
            async with session.ws_connect(f"{url}/ws", max_msg_size=0) as socket:
                request = {"streams": [pattern], "snapshot": False}
                await socket.send_str(
                    orjson.dumps({"id": 1, "method": "subscribe", "params": request}).decode()
                )
                async for frame in socket:
                    message = orjson.loads(frame.data)
                    if message["type"] == "update":
                        as_of = message["as_of"]
                        arrived[as_of] = arrived.get(as_of, 0) + 1
                        if arrived[as_of] == events * clients:
                            _tell(as_of)
                    elif message["type"] == "reply":
                        _tell(f"subscribed {len(message['result']['streams'])}")
                    elif message["type"] == "error":
                        _tell(f"error {message['error']['detail']}")

        await asyncio.gather(*(listen() for _ in range(clients)))


def _tell(what: str) -> None:
    sys.stdout.write(f"{what} {time.monotonic_ns()}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
