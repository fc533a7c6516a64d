"""Clients of REST in a process of its own: how long their requests took."""

from __future__ import annotations

import asyncio
import sys
import time

import aiohttp
import orjson

WARM_UP = 20  # requests that are not counted


async def main(url: str, clients: int, requests: int) -> None:
    """Print the milliseconds of each request, and the seconds of all of them, as JSON."""
    taken: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(count: int) -> None:
            for _ in range(count):
                began = time.perf_counter()
                async with session.get(url) as response:
                    await response.read()
                    response.raise_for_status()
                taken.append(1_000 * (time.perf_counter() - began))

        await ask(WARM_UP)
        taken.clear()
        began = time.perf_counter()
        await asyncio.gather(*(ask(requests // clients) for _ in range(clients)))
        seconds = time.perf_counter() - began
    sys.stdout.write(orjson.dumps({"taken_ms": taken, "seconds": seconds}).decode())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
