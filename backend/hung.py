"""Processes that hang: alive, so that their leases are theirs, and without a word for long."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from backend.store.leases import Leases
from backend.store.system_status import silent

log = logging.getLogger(__name__)

HUNG_AFTER_S: Final = 30.0  # of silence; a status is told twice a second
SURE_AFTER_S: Final = 5.0  # of looks: after an outage of the database all have been silent


@dataclass(slots=True)
class Hung:
    """Takes their leases from them; what they do when they wake up is refused by its fence.

    Args:
        leases: of this process.
        readers: of the database.
    """

    leases: Leases
    readers: asyncpg.Pool
    monotonic: Callable[[], float] = time.monotonic
    _since: dict[str, float] = field(default_factory=dict)

    async def look(self, names: Collection[str]) -> None:
        """See to the holders of these leases; to be called again and again."""
        quiet = await silent(self.readers, names, for_s=HUNG_AFTER_S)
        now = self.monotonic()
        self._since = {name: self._since.get(name, now) for name in quiet}
        for name, since in tuple(self._since.items()):
            if now - since >= SURE_AFTER_S and await self.leases.evict(name):
                log.warning("%s: who has it hangs, and has it no more", name)
                del self._since[name]
