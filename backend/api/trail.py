"""What the audit log is told: changes as they happen, refused requests once a second."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from backend.api.problems import ProblemError
from backend.store.audit import Act, AuditLog, Refusals
from domain.ports import Clock

log = logging.getLogger(__name__)

MOST_A_MINUTE: Final = 100  # rows of refused requests; the rest of a flood is one more
MOST_HELD: Final = 10_000  # while the database is away; then a flood is counted as one
OTHERS: Final = "*"

Group = tuple[datetime, str, str, int]  # minute, caller, address, outcome


@dataclass(slots=True)
class _Counted:
    act: Act
    first: datetime
    last: datetime
    count: int = 1


class Trail:
    """Who changed what, and who was refused.

    Args:
        wall: the machine's clock.
    """

    def __init__(self, wall: Clock) -> None:
        self.log: AuditLog | None = None  # until it is open nothing can be changed
        self._wall = wall
        self._refused: dict[Group, _Counted] = {}
        self._minute: datetime | None = None
        self._groups: set[Group] = set()  # of this minute

    async def begin(self, act: Act) -> int:
        """Enter a change before it is made.

        Raises:
            ProblemError: `starting`; what cannot be entered is not done.
        """
        if self.log is None:
            raise ProblemError("starting", "still starting; nothing can be changed yet")
        return await self.log.begin(act, at=self._wall.now())

    async def end(self, number: int, outcome: int) -> None:
        """Enter how it ended."""
        if self.log is not None:
            await self.log.end(number, outcome, at=self._wall.now())

    def refused(self, act: Act, outcome: int) -> None:
        """Count a refused request; it is entered soon."""
        now = self._wall.now()
        group = self._group(act, outcome, now)
        counted = self._refused.get(group)
        if counted is None:
            if OTHERS in group:
                act = Act(caller=OTHERS, address=OTHERS, action=OTHERS, path=OTHERS)
            self._refused[group] = _Counted(act, now, now)
        else:
            counted.count, counted.last = counted.count + 1, now

    async def flush(self) -> None:
        """Enter what was refused; where that fails it stays counted, and the error is raised."""
        if self.log is None or not self._refused:
            return
        held, self._refused = self._refused, {}
        try:
            await self.log.refused(
                Refusals(
                    act=one.act, outcome=outcome, first=one.first, last=one.last, count=one.count
                )
                for (*_, outcome), one in held.items()
            )
        except BaseException:
            self._put_back(held)
            raise

    def give_up(self) -> None:
        """Say how many were counted and not entered."""
        if lost := sum(one.count for one in self._refused.values()):
            log.warning("refused requests are not in the audit log", extra={"count": lost})

    def _group(self, act: Act, outcome: int, now: datetime) -> Group:
        minute = now.replace(second=0, microsecond=0)
        if minute != self._minute:
            self._minute, self._groups = minute, set()
        group = (minute, act.caller, act.address, outcome)
        if group not in self._groups:
            if len(self._refused) >= MOST_HELD:
                minute = next(iter(self._refused))[0]
            if len(self._groups) >= MOST_A_MINUTE or len(self._refused) >= MOST_HELD:
                return (minute, OTHERS, OTHERS, outcome)
            self._groups.add(group)
        return group

    def _put_back(self, held: dict[Group, _Counted]) -> None:
        since, self._refused = self._refused, held
        for group, one in since.items():
            if (known := held.get(group)) is None:
                held[group] = one
            else:
                known.count, known.last = known.count + one.count, one.last
