"""What a system is asked to run, whatever its exchanges are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np

from backend.api.status import Market, Status
from backend.asked import Asked
from backend.clock import SystemClock
from backend.feed import Feed
from backend.wiring import Store
from collectors.pacing import Pace
from domain.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemPlan:
    """What to run, whatever the exchanges are."""

    market: Market
    horizons: tuple[int, ...]
    clock: Clock
    connect: Callable[[Store, Status, AsyncExitStack], Awaitable[Sequence[Feed]]]
    ask: Callable[[Store, Status, AsyncExitStack], Awaitable[Asked]]  # sources
    later: Callable[[Status], AsyncIterator[Feed]] | None = None  # who was away at first
    refused: Mapping[str, str] = field(default_factory=dict)  # exchange → why it is not followed
    speed: float = 1.0
    training_every: timedelta | None = None
    hold_limit: timedelta | None = None  # how long a simulated clock waits for a fit
    stop_after: timedelta | None = None  # counted from ready
    allow_no_keys: bool = False
    seed: int = 7

    def pace(self) -> Pace:
        """Its clocks, and the chance in waits."""
        return Pace(
            clock=self.clock,
            wall=SystemClock(),
            random=np.random.default_rng(self.seed),
            speed=self.speed,
        )
