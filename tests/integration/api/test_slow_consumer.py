"""A subscriber that does not read loses its connection, and nothing else."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import websockets

from backend.api.limits import Limits
from backend.store.stream_log import Drafts, StreamEvent, StreamLog
from tests.doubles import START, ManualClock
from tests.served_market import TICKS, ServedMarket, serving
from tests.subscriber import Client, ending

STREAM = "signals.1h.simulated.BTC/USDT"
LIMITS = Limits(queue_bytes=20_000)
MOST_EVENTS = 2_000  # that the buffers between two sockets could hold


class Writer:
    """Adds events to the log of a market and publishes them."""

    def __init__(self, market: ServedMarket) -> None:
        self.market = market
        self.log = StreamLog()

    async def tell(self, number: int) -> StreamEvent:
        payload = orjson.dumps({"number": number, "text": "x" * 15_000})
        async with self.market.pool.acquire() as connection:
            await self.log.open(connection, [[STREAM]])
            extension = self.log.extend(self.market.clock.now())
            extension.add(Drafts("opened", START, [STREAM], [payload]))
            async with connection.transaction():
                await extension.write(connection)
        self.log.remember(extension)
        (event,) = extension.events
        self.market.state.hub.publish([event])
        return event


async def subscribed(socket: websockets.ClientConnection, **since: Any) -> Client:
    client = Client(socket)
    await client.next()
    await client.ask("subscribe", streams=[STREAM], snapshot=False, **since)
    return client


async def updates(client: Client, until: int) -> list[dict[str, Any]]:
    """Up to the event at offset `until`."""
    heard = [await client.next()]
    while heard[-1]["offset"] < until:
        heard.append(await client.next())
    return heard


async def test_what_a_slow_consumer_missed_is_told_when_it_comes_back(
    market_url: str, manual_clock: ManualClock
) -> None:
    async with (
        serving(market_url, manual_clock, limits=LIMITS) as market,
        market.connect() as fast_socket,
        market.connect(max_queue=1) as slow_socket,
    ):
        fast, slow = await subscribed(fast_socket), await subscribed(slow_socket)
        writer, hub = Writer(market), market.state.hub
        told: list[StreamEvent] = []
        while len(hub.connections) == 2:
            told.append(await writer.tell(len(told)))
            assert (await fast.next())["offset"] == told[-1].offset
            assert len(told) < MOST_EVENTS, "the slow consumer was kept"
        heard, code = await until_ended(slow)
        missed = told[len(heard) :]
        since = {STREAM: {"epoch": told[0].epoch, "offset": TICKS + len(heard)}}
        async with market.connect() as again:
            client = await subscribed(again, since=since)
            heard += await updates(client, told[-1].offset)
            told.append(await writer.tell(len(told)))
            heard += await updates(client, told[-1].offset)

    assert code == (4508, {"code": "slow_consumer", "retry_ms": 1_000})
    assert missed
    assert [each["offset"] for each in heard] == [each.offset for each in told]
    assert [each["hash"] for each in heard] == [each.hash.hex() for each in told]
    assert [each["data"]["number"] for each in heard] == list(range(len(told)))


async def until_ended(client: Client) -> tuple[list[dict[str, Any]], tuple[int | None, Any]]:
    """What reached a client before its connection ended, and how it ended."""
    heard = []
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            heard.append(await client.next())
    return heard, await ending(client.socket)
