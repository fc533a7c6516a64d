"""One event to many subscribers: messages a second of the server's own CPU time."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from backend.store.stream_log import FIRST_HASH, StreamEvent
from tests.benchmarks.market import scene
from tests.benchmarks.measure import Row, Size, p50
from tests.benchmarks.serving import served
from tests.doubles import START

EVENTS = 100  # a round
ROUNDS = 5
PAYLOAD = b'{"pad":"' + b"x" * 120 + b'"}'
STREAM = "candles.1h.simulated.C0000/USDT"


async def fan_out(server: str, folder: Path, size: Size) -> list[Row]:
    """Publish rounds of events; a round ends when every subscriber has all of it."""
    rates, spans = [], []
    async with (
        served(server, folder, [scene(1, 1, [])]) as behind,
        behind.subscriber(STREAM, 1, size.subscribers, events=EVENTS) as subscriber,
    ):
        for number in range(ROUNDS):
            events = [_event(number, place) for place in range(EVENTS)]
            cpu, began = time.process_time(), time.monotonic_ns()
            behind.hub.publish(events)
            _, arrived_ns = await subscriber.next()
            sent = EVENTS * size.subscribers
            rates.append(sent / (time.process_time() - cpu))
            spans.append(sent / ((arrived_ns - began) / 1e9))
    return [
        Row(
            name=f"fan-out to {size.subscribers} subscribers, per core of the server",
            value=p50(rates),
            unit="messages/s",
            target=40_000,
            most=False,
            detail={"wall messages/s": p50(spans)},
        )
    ]


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
