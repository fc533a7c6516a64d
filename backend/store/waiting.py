"""Orders that wait for an owner who is not there: who is missing, and since when."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final, NamedTuple

from backend.store.database import PoolOrConnection
from domain.market import rfc3339

ABSENT_AFTER_S: Final = 10.0  # of silence; a status is told twice a second
NONE_SPOKE: Final = "none spoke within an hour"  # voices are forgotten then

# Owners are the voices of rooms that run apart; one process that does all speaks for all of its.
_WAITING: Final = """
WITH everything AS (
    SELECT one ->> 0 AS exchange, told -> 'timeframes' AS timeframes, told_at
    FROM system_status, jsonb_array_elements(told -> 'instruments') AS one WHERE system = 'panels'
), voices AS (
    SELECT system AS owner, told_at FROM system_status UNION ALL
    SELECT 'collectors of ' || exchange, told_at FROM everything UNION ALL
    SELECT 'panel ' || exchange || '|' || timeframe, told_at
    FROM everything, jsonb_array_elements_text(timeframes) AS timeframe
), heard AS (SELECT owner, max(told_at) AS heard_at FROM voices GROUP BY owner)
SELECT p.job_id AS job, p.owner, j.created_at AS asked_at, h.heard_at
FROM job_parts AS p JOIN jobs AS j ON j.id = p.job_id LEFT JOIN heard AS h ON h.owner = p.owner
WHERE p.state IN ('queued', 'running') AND ($1::text[] IS NULL OR p.job_id = ANY($1))
    AND (h.heard_at IS NULL
        OR h.heard_at < clock_timestamp() - $2::float8 * interval '1 second')
ORDER BY p.owner, j.number
"""


class Waiting(NamedTuple):
    """A part of a job whose owner nobody is.

    Args:
        job: its id.
        owner: name of the lease.
        asked_at: when it was ordered, by the clock of whoever entered it.
        heard_at: when an owner spoke last; None: not within the last hour.
    """

    job: str
    owner: str
    asked_at: datetime
    heard_at: datetime | None

    @property
    def why(self) -> str:
        """Since when nobody is there, in words."""
        last = f"the last spoke at {rfc3339(self.heard_at)}" if self.heard_at else NONE_SPOKE
        return f"no process has it, {last}"

    def __str__(self) -> str:
        return f"waits for {self.owner}: {self.why}"


async def read_waiting(
    place: PoolOrConnection, jobs: Collection[str] | None = None
) -> list[Waiting]:
    """Parts whose owner says nothing, sorted by it, the first entered first.

    Args:
        place: to read by.
        jobs: whose; None: all.
    """
    rows = await place.fetch(_WAITING, None if jobs is None else list(jobs), ABSENT_AFTER_S)
    return [Waiting(**row) for row in rows]


async def why_waiting(place: PoolOrConnection, jobs: Collection[str]) -> dict[str, str]:
    """By job, in words, who of its owners is missing; jobs that wait for nobody are left out."""
    words: dict[str, list[str]] = {}
    for one in await read_waiting(place, jobs) if jobs else ():
        words.setdefault(one.job, []).append(str(one))
    return {job: "; ".join(lines) for job, lines in words.items()}


def told_of(detail: str | None, waits: str | None) -> str | None:
    """What a job says of itself, and for whom it waits; None: nothing."""
    return "; ".join(filter(None, (detail, waits))) or None
