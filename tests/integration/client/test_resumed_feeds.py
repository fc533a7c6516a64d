"""However connections are cut and servers restarted: what a client was told is the server's log."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import timedelta
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alphapulse_client import Backoff, Client
from backend.store.database import PoolOrConnection, connect
from tests.cutting_proxy import Cut, cutting
from tests.doubles import START, ManualClock
from tests.factories import candle_batches
from tests.log_server import STREAMS, end, server
from tests.ports import free_port
from tests.served_market import MEMBERS, TICKS, ServedMarket, serving

TOLD = (  # patterns, and the streams that they name
    (
        ("signals.1h.*.BTC/USDT", "candles.1h.simulated.ETH/USDT"),
        ("signals.1h.simulated.BTC/USDT", "candles.1h.simulated.ETH/USDT"),
    ),
    (
        ("*.1h.simulated.SOL/USDT",),
        ("candles.1h.simulated.SOL/USDT", "predictions.1h.simulated.SOL/USDT",
         "signals.1h.simulated.SOL/USDT"),
    ),
    (("signals.*.*.*",), tuple(f"signals.1h.simulated.{one.symbol}" for one in MEMBERS)),
)  # fmt: skip
ROUNDS = 400  # ticks that all examples together may commit
BATCHES = candle_batches(MEMBERS, TICKS + ROUNDS, start=START - timedelta(hours=TICKS))


AT_ONCE = Backoff(sleep=lambda _: asyncio.sleep(0))


class Event(NamedTuple):
    offset: int
    hash: str
    payload: str


Log = dict[str, list[Event]]


class Running:
    """A server that can be restarted on its port, and what happens behind it."""

    def __init__(self, database_url: str) -> None:
        self.port = free_port()
        self._database_url = database_url
        self._stack = AsyncExitStack()
        self._market: ServedMarket | None = None

    async def start(self) -> None:
        serve = serving(self._database_url, ManualClock(), port=self.port)
        self._market = await self._stack.enter_async_context(serve)
        self._market.batches = BATCHES

    async def stop(self) -> None:
        await self._stack.aclose()

    async def act(self, deed: str) -> None:
        if deed == "restart":
            await self.stop()
            await self.start()
        else:
            assert self._market is not None
            await self._market.tick(max(map(len, (await self.log()).values())))

    async def log(self) -> Log:
        assert self._market is not None
        return await logged(self._market.pool)


async def logged(database: PoolOrConnection) -> Log:
    """Every event of every stream."""
    told: Log = {}
    for row in await database.fetch(
        'SELECT stream, "offset", hash, payload FROM stream_events ORDER BY "offset"'
    ):
        event = Event(row["offset"], row["hash"].hex(), row["payload"].decode())
        told.setdefault(row["stream"], []).append(event)
    return told


@asynccontextmanager
async def running(database_url: str) -> AsyncIterator[Running]:
    server = Running(database_url)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Subscriber:
    """Follows streams until each of them has its events."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.log: Log = {}
        self._patterns = patterns
        self._count = 0
        self._more = asyncio.Event()

    async def follow(self, url: str, goal: Mapping[str, int], backoff: Backoff = AT_ONCE) -> None:
        async with (
            Client(url, backoff=backoff) as client,
            aclosing(client.updates(self._patterns, since="start")) as feed,
        ):
            async for update in feed:
                event = Event(update.offset, update.hash, update.payload)
                self.log.setdefault(update.stream, []).append(event)
                self._count += 1
                self._more.set()
                if all(len(self.log.get(stream, ())) >= count for stream, count in goal.items()):
                    return

    async def has(self, count: int) -> None:
        while self._count < count:
            self._more.clear()
            await self._more.wait()


async def followed(
    server: Running, cuts: Sequence[Sequence[Cut]], acts: Sequence[tuple[int, str]]
) -> None:
    """A subscriber for each plan of cuts, while things happen after so many events."""
    ticks = sum(deed == "tick" for _, deed in acts)
    length = {stream: len(events) + ticks for stream, events in (await server.log()).items()}
    told = TOLD[: len(cuts)]
    subscribers = [Subscriber(patterns) for patterns, _ in told]
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        for subscriber, planned, (_, named) in zip(subscribers, cuts, told, strict=True):
            proxy = await stack.enter_async_context(cutting(server.port, planned))
            goal = {stream: length[stream] for stream in named}
            tasks.create_task(subscriber.follow(proxy.url, goal))
        for count, deed in acts:
            await subscribers[0].has(count)
            await server.act(deed)
    log = await server.log()
    for subscriber, (_, named) in zip(subscribers, told, strict=True):
        assert subscriber.log == {stream: log[stream] for stream in named}


cut = st.builds(Cut, st.integers(-1, 2 * TICKS + 5), st.one_of(st.just(0), st.integers(1, 300)))
plan = st.lists(cut, max_size=5)
deed = st.tuples(st.integers(0, 2 * TICKS), st.sampled_from(["tick", "tick", "restart"]))
drawn = given(cuts=st.tuples(plan, plan, plan), acts=st.lists(deed, max_size=4))
shared = HealthCheck.function_scoped_fixture  # examples follow one another on one server's log


@drawn
@settings(max_examples=6, suppress_health_check=[shared])
async def test_what_is_told_is_the_log(
    market_url: str, cuts: Sequence[list[Cut]], acts: list[tuple[int, str]]
) -> None:
    async with running(market_url) as server:
        await followed(server, cuts, acts)


@pytest.mark.long
@drawn
@settings(max_examples=20, suppress_health_check=[shared])
async def test_what_is_told_is_the_log_however_often_it_is_cut(
    market_url: str, cuts: Sequence[list[Cut]], acts: list[tuple[int, str]]
) -> None:
    async with running(market_url) as server:
        await followed(server, cuts, acts)


async def test_a_cut_at_any_frame_costs_nothing(market_url: str) -> None:
    async with running(market_url) as server:
        for frames in range(-1, 2 * TICKS + 5):
            await followed(server, [[Cut(frames)]], [])


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
async def test_what_is_told_is_the_log_of_a_server_that_is_killed(
    database_url: str, seed: int
) -> None:
    plan, goal = random.Random(seed), 80  # noqa: S311 - a plan, no secret
    port = free_port()
    subscribers = [Subscriber(STREAMS), Subscriber(STREAMS[:1])]
    soon = Backoff(first_s=0.02, cap_s=0.1)  # of wall time: a process starts
    process = server(database_url, port, goal)
    try:
        async with asyncio.TaskGroup() as tasks:
            for one, count in zip(subscribers, (len(STREAMS), 1), strict=True):
                named = dict.fromkeys(STREAMS[:count], goal)
                tasks.create_task(one.follow(f"http://127.0.0.1:{port}", named, soon))
            for number in range(5):
                await subscribers[0].has(int(goal * len(STREAMS) * (number + plan.random()) / 6))
                await asyncio.to_thread(end, process, kill=plan.random() < 0.7)
                process = server(database_url, port, goal)
    finally:
        await asyncio.to_thread(end, process, kill=True)
    connection = await connect(database_url)
    log = await logged(connection)
    await connection.close()
    for one in subscribers:
        assert one.log == {stream: log[stream][: len(told)] for stream, told in one.log.items()}
