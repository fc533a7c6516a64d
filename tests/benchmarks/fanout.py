"""One event to many subscribers: messages a second of the server's CPU, and when they come."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path

import websockets

from backend.store.stream_log import FIRST_HASH, StreamEvent
from tests.benchmarks.market import scene
from tests.benchmarks.measure import Row, Size, p50, p99
from tests.benchmarks.serving import Served, Subscriber, served
from tests.doubles import START

EVENTS = 100  # a round
ROUNDS = 5
SLOW_ROUNDS = 40
FAST = 200  # beside a slow one
PAYLOAD = b'{"pad":"' + b"x" * 120 + b'"}'
STREAM = "candles.1h.simulated.C0000/USDT"


async def fan_out(server: str, folder: Path, size: Size) -> list[Row]:
    """Publish rounds of events; a round ends when every subscriber has all of it."""
    few, many = size.subscribers // 10, size.subscribers
    return [
        *await _to(server, folder, few, target=None),
        *await _to(server, folder, many, target=40_000),
        *await _beside_a_slow_one(server, folder, min(FAST, size.subscribers)),
    ]


async def _to(server: str, folder: Path, clients: int, target: float | None) -> list[Row]:
    rates, spans, middle, high = [], [], [], []
    async with (
        served(server, folder, [scene(1, 1, [])]) as behind,
        behind.subscriber(STREAM, 1, clients, events=EVENTS) as subscriber,
    ):
        for number in range(ROUNDS):
            cpu, began = time.process_time(), time.monotonic_ns()
            _publish(behind, number)
            _, half, most, last = await subscriber.arrivals()
            sent = EVENTS * clients
            rates.append(sent / (time.process_time() - cpu))
            spans.append(sent / ((last - began) / 1e9))
            middle.append((half - began) / 1e6)
            high.append((most - began) / 1e6)
    name = f"fan-out to {clients} subscribers"
    return [
        Row(
            name=f"{name}, per core of the server",
            value=p50(rates),
            unit="messages/s",
            target=target,
            most=False,
            detail={
                "wall messages/s": p50(spans),
                f"p50 ms of {EVENTS} at once": p50(middle),
                "p99 ms": p50(high),
            },
        )
    ]


async def _beside_a_slow_one(server: str, folder: Path, clients: int) -> list[Row]:
    """p99 of the fast, with one that reads nothing and without, in turns of the same run."""
    taken: dict[bool, list[float]] = {True: [], False: []}
    async with (
        served(server, folder, [scene(1, 1, [])]) as behind,
        behind.subscriber(STREAM, 1, clients, events=EVENTS) as subscriber,
    ):
        rounds = count()
        for _ in range(SLOW_ROUNDS // 10):
            taken[False] += [await _p99(behind, subscriber, next(rounds)) for _ in range(10)]
            async with _one_that_reads_nothing(behind):
                taken[True] += [await _p99(behind, subscriber, next(rounds)) for _ in range(10)]
    return [
        Row(
            name=f"p99 of {clients} subscribers beside a slow one",
            value=p50(taken[True]),
            unit="ms",
            baseline=p50(taken[False]),
            baseline_name="without it",
            target=2.0 * p50(taken[False]),
            detail={"worst round": p99(taken[True]), "worst without": p99(taken[False])},
        )
    ]


async def _p99(behind: Served, subscriber: Subscriber, number: int) -> float:
    began = time.monotonic_ns()
    _publish(behind, number)
    _, _, high, _ = await subscriber.arrivals()
    return (high - began) / 1e6


@asynccontextmanager
async def _one_that_reads_nothing(behind: Served) -> AsyncIterator[None]:
    address = behind.url.replace("http", "ws") + "/ws"
    async with websockets.connect(address, max_queue=1) as slow:
        await slow.send('{"method":"subscribe","params":{"streams":["*"],"snapshot":false}}')
        while '"live"' not in str(await slow.recv()):
            pass
        yield
        slow.transport.abort()


def _publish(behind: Served, number: int) -> None:
    behind.hub.publish([_event(number, place) for place in range(EVENTS)])


def _event(number: int, place: int) -> StreamEvent:
    return StreamEvent(
        STREAM,
        "epoch",
        number * EVENTS + place + 1,
        "candle",
        START + timedelta(hours=number),
        START + timedelta(hours=number),
        PAYLOAD,
        FIRST_HASH,
        FIRST_HASH,
    )
