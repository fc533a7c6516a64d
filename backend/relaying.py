"""Whether a system puts what it commits on a broker; what speaks to brokers is an extra."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Final

from backend.settings import Settings
from collectors.pacing import Pace
from domain.errors import UsageError

RELAYED: Final = ("predictions", "signals")  # channels; backend.bus.records needs the extra


def refuse_without_kafka(settings: Settings) -> None:
    """Before anything begins.

    Raises:
        UsageError: a broker is named, and what speaks to it is not installed.
    """
    absent = find_spec("aiokafka") is None or find_spec("cramjam") is None
    if settings.kafka.brokers and absent:
        raise UsageError("kafka.brokers needs aiokafka: install alphapulse[kafka]")


async def relay(
    settings: Settings, url: str, pace: Pace, free: Callable[[], Awaitable[None]]
) -> None:
    """Until cancelled; over at once where no broker is named.

    Args:
        settings: that name it.
        url: of the database.
        pace: the system's clocks.
        free: waits while a tick is on its way to subscribers.
    """
    if not settings.kafka.brokers:
        return
    from backend.bus.relay import relay_of  # noqa: PLC0415 - an extra

    async with relay_of(settings.kafka, url=url, pace=pace, free=free) as relaying:
        await relaying.run()
