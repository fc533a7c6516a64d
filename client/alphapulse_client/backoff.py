"""How long to wait before the next attempt: full jitter, capped."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

MOST_DOUBLINGS = 30  # far beyond any cap


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses that double, each drawn evenly from nothing to its bound, so that no crowd returns.

    Attributes:
        first_s: bound of the first pause, in seconds.
        cap_s: bound of every pause.
        attempts: how often a REST request is sent; a socket is opened again for ever.
        draw: a number from 0 to 1.
        sleep: waits so many seconds.
    """

    first_s: float = 0.5
    cap_s: float = 30.0
    attempts: int = 5
    draw: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def delay_s(self, failures: int, asked_s: float | None = None) -> float:
        """Seconds to wait after so many failures in a row; `asked_s` is what the server asks for.

        >>> Backoff(draw=lambda: 1.0).delay_s(3), Backoff(draw=lambda: 0.0).delay_s(1, 2.5)
        (2.0, 2.5)
        """
        doublings = min(max(0, failures - 1), MOST_DOUBLINGS)
        bound_s = min(self.cap_s, self.first_s * 2.0**doublings)
        return (asked_s or 0.0) + self.draw() * bound_s
