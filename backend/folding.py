"""Keeps what is derived from the record near it: days of scores, paper accounts, the dashboard."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

import asyncpg

from backend.background import Rounds
from backend.cadence import FOLDED_DAYS, Cadence
from backend.settings import Settings
from backend.store import ledger, panels, score_days
from backend.store.database import CONNECTION_ERRORS
from backend.wiring import terms_of
from domain.ports import Clock

log = logging.getLogger(__name__)

FOLDED_CLOSES: Final = 200  # of a paper account at a look


@dataclass(frozen=True, slots=True)
class Folding:
    """One for a database.

    Args:
        settings: with the terms of paper accounts.
        writers: the database.
        clock: of the market.
        wall: of the pauses.
    """

    settings: Settings
    writers: asyncpg.Pool
    clock: Clock
    wall: Clock

    async def run(self) -> None:
        """Until cancelled: each panel of the dashboard as often as it is cheap."""
        now = asyncio.get_running_loop().time
        cadence = Cadence(panels.PANELS, folded=panels.SCORES)
        with ExitStack() as stack:
            scores = stack.enter_context(Rounds("the folding of scores"))
            accounts = stack.enter_context(Rounds("the reckoning of paper accounts"))
            shown = {
                name: stack.enter_context(Rounds(f"the panel {name} of the page"))
                for name in panels.PANELS
            }
            while True:
                await self.wall.sleep(timedelta(seconds=cadence.pause_s))
                with scores.going_on():
                    cadence.folded(await self._fold())
                with accounts.going_on():
                    await self._reckon()
                for name in cadence.due(now()):
                    began = now()
                    with shown[name].going_on():
                        await self._refresh(name)
                    cadence.computed(name, began=began, ended=now())

    async def _fold(self) -> int:
        """How many days were folded."""
        try:
            async with self.writers.acquire() as connection:
                return await score_days.fold(connection, days=FOLDED_DAYS)
        except CONNECTION_ERRORS as error:
            log.warning("days are folded later", extra={"reason": str(error)})
            return 0

    async def _reckon(self) -> None:
        """Take the paper accounts along with what was answered."""
        try:
            async with self.writers.acquire() as connection:
                terms = partial(terms_of, self.settings)
                await ledger.fold(connection, terms, closes=FOLDED_CLOSES)
        except CONNECTION_ERRORS as error:
            log.warning("the ledger is folded later", extra={"reason": str(error)})

    async def _refresh(self, name: str) -> None:
        try:
            async with self.writers.acquire() as connection:
                await panels.refresh(connection, name, self.clock.now())
        except CONNECTION_ERRORS as error:
            log.warning("the dashboard waits for the database", extra={"reason": str(error)})
