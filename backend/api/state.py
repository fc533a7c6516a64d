"""What wiring hands to the API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import asyncpg

from backend.api.access import Access
from backend.api.hub import Hub
from backend.api.status import Status
from backend.store.jobs import Asked, Order
from domain.market import Instrument
from domain.ports import Clock
from services.models.artifacts import ArtifactStore
from services.models.catalogue import BUILT_IN


class Members(Protocol):
    """The instruments of a running system, and orders to change them."""

    def under_way(self) -> Mapping[Instrument, datetime]:
        """Those that are joining, since when."""
        ...

    async def add(self, exchange: str | None, symbol: str) -> list[Instrument]:
        """Begin to follow an instrument, without an exchange on every one that lists it.

        Raises:
            UnknownExchangeError, UnknownSymbolError: with suggestions.
            ExchangeUnavailableError: it cannot be asked.
        """
        ...

    async def remove(self, exchange: str | None, symbol: str) -> list[Instrument]:
        """Follow an instrument no more, without an exchange on every one that watches it.

        Raises:
            UnknownExchangeError, UnknownSymbolError: it is not watched.
            UsageError: it is the last of its exchange, or still joining.
        """
        ...


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


class Seats(Protocol):
    """The models of a running system, and orders about them."""

    def weights(self) -> list[Weight]:
        """The parts of all members as they are now."""
        ...

    async def roll_back(
        self,
        model: str,
        *,
        exchange: str | None = None,
        timeframe: str | None = None,
        horizon: int | None = None,
    ) -> RolledBack:
        """Take a model's version from its place; the one before it comes back.

        Raises:
            UnknownModelError: no version of it has a place there.
            UsageError: versions of it have places in several panels.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """Notifications of one channel that were not taken."""

    channel: str
    state: str  # pending, dead
    count: int
    age_s: float  # wall seconds since the oldest was entered


class Jobs(Protocol):
    """The jobs of a running system, and orders for more."""

    async def ask(self, order: Order) -> Asked:
        """Enter an order; one that came before under the same key is answered as it was.

        Raises:
            UsageError: it cannot be followed, or its key names another request.
            TooManyJobsError: the caller has as many as may wait.
        """
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
    members: Members | None = None
    seats: Seats | None = None
    unsent: Callable[[], Sequence[Unsent]] = tuple  # notifications, now
    jobs: Jobs | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # shown on the page, no secrets
