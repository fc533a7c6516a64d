"""What keeps a client from its broker: said once, waited for ever longer, and over at some time."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime

from aiokafka.errors import KafkaError

from collectors.pacing import Backoff, Pace
from domain.errors import in_one_line

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Outage:
    """Of one client.

    Args:
        pace: the wall clock of the waits, and the chance in them.
        begins, ends: what the log says of it.
    """

    pace: Pace
    begins: str
    ends: str
    since: datetime | None = field(default=None, init=False)  # by the wall; None: all is well
    _said: str = field(default="", init=False)  # why
    _backoff: Backoff = field(init=False)

    def __post_init__(self) -> None:
        self._backoff = Backoff(self.pace.random)

    @property
    def why(self) -> str:
        """What went wrong at the last try; empty while all is well."""
        return self._said

    async def wait(self, error: Exception) -> None:
        """Before the next try."""
        words = in_one_line(error)
        if words != self._said:
            unforeseen = None if isinstance(error, KafkaError | OSError) else error
            log.warning(self.begins, extra={"reason": words}, exc_info=unforeseen)
        self._said, self.since = words, self.since or self.pace.wall.now()
        await self.pace.wall.sleep(self._backoff.next())

    def over(self) -> None:
        """Something worked."""
        self._backoff.reset()
        if self._said:
            log.info(self.ends)
            self._said, self.since = "", None
