"""What wiring hands to the API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import asyncpg

from backend.api.access import Access
from backend.api.hub import Hub
from backend.api.status import Status
from backend.store.job_parts import Part
from backend.store.jobs import Asked, Order
from domain.ports import Clock
from services.models.artifacts import ArtifactStore
from services.models.catalogue import BUILT_IN


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """A version that lost its place, and the one that has it now."""

    exchange: str
    timeframe: str
    horizon: int
    model: str
    version: int
    previous: int | None  # None: nobody is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """What part a member has in the pool of its target; those of a pool sum to 1."""

    exchange: str
    timeframe: str
    horizon: int
    target: str
    model: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """Notifications of one channel that were not taken."""

    channel: str
    state: str  # pending, dead
    count: int
    age_s: float  # wall seconds since the oldest was entered


class Orders(Protocol):
    """Orders for the processes of a system."""

    async def ask(self, order: Order) -> Asked:
        """Enter an order; one that came before under the same key is answered as it was.

        Raises:
            UsageError: it cannot be followed, or its key names another request.
            TooManyJobsError: the caller has as many as may wait.
        """
        ...

    async def cancel(self, job: Mapping[str, Any], caller: str) -> None:
        """End what of an order nobody has begun.

        Raises:
            NothingWaitsError: all of it is begun, or it is none of a caller's.
        """
        ...

    async def parts(self, asked: Asked, *, within_s: float) -> Sequence[Part]:
        """How far a job's owners are: as soon as all have ended, at the latest after a while."""
        ...


@dataclass(slots=True, kw_only=True)
class ApiState:
    """The parts the API stands on. All that may be None is so until there is a store."""

    clock: Clock
    hub: Hub
    status: Status
    access: Access = field(default_factory=Access)
    reader: asyncpg.Pool | None = None
    artifacts: ArtifactStore | None = None
    # One at a time: ticks need the threads too.
    explaining: asyncio.Lock = field(default_factory=asyncio.Lock)
    models: Collection[str] = BUILT_IN.names  # of the kinds that there are
    weights: Callable[[], Sequence[Weight]] | None = None  # of all members, as they are now
    unsent: Callable[[], Sequence[Unsent]] = tuple  # notifications, now
    orders: Orders | None = None
    # What is looked at again and again, while it cannot be: why, as the log said it.
    later: dict[str, str] = field(default_factory=dict)
    patience_s: float = 5.0  # that a request waits for who does what it orders; clients wait longer
    settings: Mapping[str, Any] = field(default_factory=dict)  # shown on the page, no secrets
