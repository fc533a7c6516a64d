"""Sources that no process asks any more are off, and say nothing: silence of theirs is no news."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from backend.hung import Hung
from backend.store.leases import Leases, read_leases
from backend.store.system_status import SOURCES
from backend.store.told import EVER
from backend.wiring import Store
from domain.ports import Clock
from domain.sources import SourceState, SourceStatus

UNASKED_AFTER_S: Final = 30.0  # a takeover takes less
NOBODY: Final = "no process asks it"


@dataclass(slots=True, kw_only=True)
class Unasked:
    """Looks after the lease of the sources, for a process that does not wait for it.

    Args:
        store: the tables.
        leases: of this process.
        clock: of the market.
        monotonic: seconds.
    """

    store: Store
    leases: Leases
    clock: Clock
    monotonic: Callable[[], float] = time.monotonic
    _hung: Hung = field(init=False)
    _free_since: float | None = None

    def __post_init__(self) -> None:
        self._hung = Hung(self.leases, self.store.readers)

    async def look(self) -> None:
        """To be called again and again.

        Raises:
            StoreUnavailableError: the leases are lost.
        """
        await self._hung.look([SOURCES])
        now = self.monotonic()
        if any(one.name == SOURCES and one.held for one in await read_leases(self.store.readers)):
            self._free_since = None
        elif self._free_since is None:
            self._free_since = now
        elif now - self._free_since >= UNASKED_AFTER_S:
            await self._note()

    async def _note(self) -> None:
        known = (await self.store.sources.states(EVER)).values()
        asked = [one.source for one in known if one.state is not SourceState.OFF]
        if not asked or (lease := await self.leases.take(SOURCES)) is None:
            return
        try:
            async with self.store.sources.fenced(lease.fence).dated(self.clock) as (store, moment):
                off = [
                    SourceStatus(source=name, state=SourceState.OFF, since=moment, reason=NOBODY)
                    for name in asked
                ]
                await store.change(off, known_at=moment)
        finally:
            await self.leases.give_back(lease)
