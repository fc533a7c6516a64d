"""Buses on a broker, each of topics and groups of its own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from backend.bus.kafka import KafkaBus, kafka_bus
from backend.clock import SystemClock
from backend.setting_tables import KafkaSettings
from collectors.pacing import Pace


def about(address: str, prefix: str | None = None, **more: Any) -> KafkaSettings:
    """A broker of the tests; a prefix that nobody else has."""
    prefix = prefix or f"test-{uuid.uuid4().hex[:12]}"
    return KafkaSettings(brokers=(address,), prefix=prefix, **more)


def pace() -> Pace:
    """The machine's clock."""
    clock = SystemClock()
    return Pace(clock=clock, wall=clock, random=np.random.default_rng(7))


@asynccontextmanager
async def bus_on(address: str, prefix: str | None = None, **more: Any) -> AsyncIterator[KafkaBus]:
    """A bus of a process's own: two of one prefix are two processes."""
    async with kafka_bus(about(address, prefix, **more), pace()) as bus:
        yield bus
