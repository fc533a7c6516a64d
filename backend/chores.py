"""What is done once for a database, beside the ticks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine

from backend.api.status import Status
from backend.folding import Folding
from backend.relaying import RELAYED, relay
from backend.retention import Retention
from backend.settings import Settings
from backend.wiring import Store
from collectors.pacing import Pace


def chores(
    settings: Settings,
    store: Store,
    pace: Pace,
    free: Callable[[], Awaitable[None]],
    status: Status,
) -> list[Coroutine[None, None, None]]:
    """Each until cancelled, or over at once where there is nothing to do.

    Args:
        settings: what is relayed, dropped and reckoned.
        store: the database.
        pace: the market's clock and the machine's.
        free: waits while a tick is on its way to subscribers.
        status: of the system; the broker's troubles are among its.
    """
    retention = Retention(
        about=settings.retention,
        relayed=RELAYED if settings.kafka.brokers else (),
        pool=store.writers,
        clock=pace.clock,
        wall=pace.wall,
        free=free,
    )
    folding = Folding(settings, store.writers, pace.clock, pace.wall)
    return [folding.run(), relay(settings, store.url, pace, free, status), retention.run()]
