"""Whether a system puts what it commits on a broker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from backend.api.status import Status
from backend.settings import Settings
from collectors.pacing import Pace

RELAYED: Final = ("predictions", "signals")  # channels; backend.bus.records needs the extra


async def relay(
    settings: Settings,
    url: str,
    pace: Pace,
    free: Callable[[], Awaitable[None]],
    status: Status,
) -> None:
    """Until cancelled; over at once where no broker is named.

    Args:
        settings: that name it.
        url: of the database.
        pace: the system's clocks.
        free: waits while a tick is on its way to subscribers.
        status: of the system; the broker's troubles are among its.
    """
    if not settings.kafka.brokers:
        return
    from backend.bus.relay import relay_of  # noqa: PLC0415 - an extra

    async with relay_of(settings.kafka, url=url, pace=pace, free=free) as relaying:
        status.troubles.append(relaying.troubles)
        try:
            await relaying.run()
        finally:
            status.troubles.remove(relaying.troubles)
