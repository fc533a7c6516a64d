"""Losses by day, of every forecaster beside its baseline on the same rows.

A year has millions of outcomes and hundreds of days. Days that are past are therefore folded
into `score_days`. Of each (exchange, timeframe, horizon) the folded days are a prefix: an outcome
that comes late for one takes it and the later ones out again, in its own transaction (`forget`),
so that what is read is always what the rows say. Days of which rows were dropped stay as they are
(`member_retention.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from backend.store.database import affected
from backend.store.tables import LABEL_SET
from domain.events import OutcomeBatch, Target
from domain.losses import BASELINES, LOSS_OF
from domain.market import from_ms

DAY: Final = timedelta(days=1)
# Enough for a hash join of a year. The days are a table of their own in the statement so
# that the planner expects few groups; by an expression of `as_of` it would sort every row.
WORK_MEMORY: Final = "128MB"
Group = tuple[str, str, int]  # exchange, timeframe, horizon
Span = tuple[datetime | None, datetime | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose record; an empty tuple is everyone's. Times are of `as_of`, half-open."""

    exchanges: Sequence[str] = ()
    timeframes: Sequence[str] = ()
    horizons: Sequence[int] = ()
    roles: Sequence[str] = ()
    models: Sequence[str] = ()
    instruments: Sequence[int] | None = None  # their numbers; None: of all
    start: datetime | None = None
    end: datetime | None = None
    scored_by: datetime | None = None  # outcomes known at this time

    def has(self, group: Group) -> bool:
        """Whether the rows of `group` are asked for."""
        wanted = (self.exchanges, self.timeframes, self.horizons)
        return all(not names or name in names for name, names in zip(group, wanted, strict=True))


async def read_days(
    connection: asyncpg.Connection, target: Target, scope: Scope
) -> list[Mapping[str, Any]]:
    """A row for each (exchange, timeframe, horizon, role, model, origin, baseline, day).

    It holds the count of rows, the sum of their labels' uniqueness, both mean losses, and the
    first and last `as_of`.
    """
    if scope.scored_by is not None:  # what was scored by then was said before
        scope = replace(scope, end=min(scope.end or scope.scored_by, scope.scored_by))
    found: list[Mapping[str, Any]] = []
    folded = {} if scope.instruments is not None else await _folded(connection, scope)
    for group in await groups(connection):
        if not scope.has(group):
            continue
        whole, rest = _spans(scope, folded.get(group))
        if whole is not None:
            found += await connection.fetch(_READ, target.value, *_chosen(scope, group), *whole)
        for start, end in rest:
            alone = replace(
                scope, exchanges=group[:1], timeframes=group[1:2], horizons=group[2:],
                start=start, end=end,
            )  # fmt: skip
            found += await connection.fetch(
                _daily(LOSS_OF[target]), list(BASELINES[target]), *_values(alone)
            )
    return found


async def prepare(connection: asyncpg.Connection) -> None:
    """Set what the statements need, for the current transaction."""
    await connection.execute(f"SET LOCAL work_mem = '{WORK_MEMORY}'")
    # A plan for any time would read every row, and be kept.
    await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")


async def gauge(connection: asyncpg.Connection) -> None:
    """Let the planner know of many rows that came at once: it loops over what it deems empty."""
    await connection.execute("ANALYZE ml_prediction_outcomes, ml_labels")


async def fold(connection: asyncpg.Connection, *, days: int) -> int:
    """Fold at most `days` past days of each (exchange, timeframe, horizon); how many were.

    A day is past when there is an outcome of a later one.
    """
    done = 0
    for group in await groups(connection):
        for _ in range(days):
            if not await _fold_next(connection, group):
                break
            done += 1
    return done


class PastDays:
    """Takes out the days that late outcomes belong to; one for a writer of outcomes.

    The only writer of a group knows up to which day it has written. A day is folded once there is
    an outcome of a later one: outcomes of that day, or of days to come, concern no folded day and
    wait for no fold. What was written before this one began is not known, so that its first
    outcomes are taken for late ones.
    """

    def __init__(self) -> None:
        self._newest: dict[Group, datetime] = {}

    async def forget(self, connection: asyncpg.Connection, events: Iterable[object]) -> None:
        """Take out the days that `events` belong to, in the caller's transaction.

        The caller has the turn of their panels (`locks.py`).
        """
        for group, (first, last) in _days(events).items():
            newest = self._newest.get(group)
            if newest is None or first < newest:
                await connection.execute(_FORGET, *group, first)
            if newest is not None:  # if this comes to nothing, more is taken for late
                self._newest[group] = max(newest, last)

    def written(self, events: Iterable[object]) -> None:
        """The transaction is committed."""
        for group, (_, last) in _days(events).items():
            self._newest[group] = max(last, self._newest.get(group, last))


def _days(events: Iterable[object]) -> dict[Group, tuple[datetime, datetime]]:
    """The first and the last day of the outcomes of each group."""
    found: dict[Group, tuple[datetime, datetime]] = {}
    for event in events:
        if isinstance(event, OutcomeBatch) and len(event):
            group = (event.exchange, event.timeframe.value, event.horizon)
            ends = (event.as_of_ms.min(), event.as_of_ms.max())
            first, last = (day_of(from_ms(int(one))) for one in ends)
            known = found.get(group, (first, last))
            found[group] = min(first, known[0]), max(last, known[1])
    return found


async def _fold_next(connection: asyncpg.Connection, group: Group) -> bool:
    async with connection.transaction():
        await prepare(connection)
        # Who writes late ones deletes here before they commit: they wait for us, or we for them.
        await connection.execute("LOCK TABLE score_days IN EXCLUSIVE MODE")
        day = await connection.fetchval(_LAST, *group)
        while True:
            first, last = await connection.fetchrow(_EDGES, *group, day and day + DAY)
            if first is None or day_of(first) == day_of(last):
                return False
            day = day_of(first)
            if await _fold_day(connection, group, day):
                return True
            # No baseline has said anything yet: the history begins with such days.


async def _fold_day(connection: asyncpg.Connection, group: Group, day: datetime) -> bool:
    """Whether there was anything to compare."""
    scope = Scope(
        exchanges=group[:1], timeframes=group[1:2], horizons=group[2:], start=day, end=day + DAY
    )
    written = 0
    for target, baselines in BASELINES.items():
        statement = _fold(target, LOSS_OF[target])
        status = await connection.execute(statement, list(baselines), *_values(scope))
        written += affected(status)
    return written > 0


async def _folded(connection: asyncpg.Connection, scope: Scope) -> dict[Group, datetime]:
    """Before which day every outcome is folded that was known in time."""
    rows = await connection.fetch(_MARKS, scope.scored_by)
    return {(row["exchange"], row["timeframe"], row["horizon"]): row["until"] for row in rows}


async def groups(connection: asyncpg.Connection) -> list[Group]:
    """Every (exchange, timeframe, horizon) with an outcome."""
    return [tuple(row) for row in await connection.fetch(_GROUPS)]


def _spans(scope: Scope, until: datetime | None) -> tuple[Span | None, list[Span]]:
    """The whole days that are folded, and what lies beside them in the scope."""
    start, end = scope.start, scope.end
    if until is None:
        return None, [(start, end)]
    low = None if start is None else day_of(start + DAY - timedelta(microseconds=1))
    high = until if end is None else min(until, day_of(end))
    if low is not None and high <= low:
        return None, [(start, end)]
    before = [] if start is None or start == low else [(start, low)]
    return (low, high), [*before, *([] if high == end else [(high, end)])]


def day_of(moment: datetime) -> datetime:
    """The beginning of its day, UTC."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _chosen(scope: Scope, group: Group) -> list[Any]:
    return [*group, list(scope.roles) or None, list(scope.models) or None]


def _values(scope: Scope) -> list[Any]:
    lists = (
        scope.exchanges,
        scope.timeframes,
        scope.horizons,
        scope.roles,
        scope.models,
    )
    chosen = [list(each) or None for each in lists]
    return [*chosen, scope.instruments, scope.start, scope.end, scope.scored_by]


_COLUMNS: Final = """exchange, timeframe, horizon, role, model, origin, baseline, day, count,
    effective_count, loss, baseline_loss, first_as_of, last_as_of"""
_READ: Final = f"""
SELECT {_COLUMNS} FROM score_days
WHERE target = $1 AND (exchange, timeframe, horizon) = ($2, $3, $4::int)
    AND ($5::text[] IS NULL OR role = ANY($5)) AND ($6::text[] IS NULL OR model = ANY($6))
    AND ($7::timestamptz IS NULL OR day >= $7) AND day < $8
"""  # noqa: S608 - names are ours
_MARKS: Final = """
SELECT exchange, timeframe, horizon,
    least(min(day) FILTER (WHERE known_at > $1), max(day) + interval '1 day') AS until
FROM score_days GROUP BY exchange, timeframe, horizon
"""
_LAST: Final = """
SELECT max(day) FROM score_days WHERE (exchange, timeframe, horizon) = ($1, $2, $3::int)
"""
# What was dropped of a day cannot be folded again.
_FORGET: Final = """
DELETE FROM score_days WHERE (exchange, timeframe, horizon) = ($1, $2, $3::int) AND day >= greatest(
    $4, (SELECT until FROM dropped_members
         WHERE (exchange, timeframe, horizon) = ($1, $2, $3::int))
)
"""
_GROUPS: Final = """
SELECT DISTINCT exchange, timeframe, horizon
FROM ml_prediction_outcomes_series JOIN instruments USING (instrument_id) ORDER BY 1, 2, 3
"""
# The index: ml_prediction_outcomes_pkey, from both ends of each series.
_EDGES: Final = """
SELECT min(first.as_of), max(last.as_of) FROM instruments i
CROSS JOIN LATERAL (
    SELECT as_of FROM ml_prediction_outcomes t WHERE t.instrument_id = i.instrument_id
        AND t.timeframe = $2 AND t.horizon = $3 AND ($4::timestamptz IS NULL OR t.as_of >= $4)
    ORDER BY as_of LIMIT 1
) first
CROSS JOIN LATERAL (
    SELECT as_of FROM ml_prediction_outcomes t WHERE t.instrument_id = i.instrument_id
        AND t.timeframe = $2 AND t.horizon = $3 ORDER BY as_of DESC LIMIT 1
) last
WHERE i.exchange = $1
"""


def _fold(target: Target, loss: str) -> str:
    return f"""
    INSERT INTO score_days ({_COLUMNS}, known_at, target)
    SELECT {_COLUMNS}, known_at, '{target.value}' FROM ({_daily(loss)}) AS daily
    """  # noqa: S608 - names are ours


def _daily(loss: str) -> str:
    """From the rows, beside those of the baseline that have the same origin.

    The label that scored them is the first that was complete.
    """
    return f"""
    SELECT i.exchange, o.timeframe, o.horizon, o.role, o.model, o.origin, b.model AS baseline,
           d.day, count(*)::int AS count,
           coalesce(sum(l.uniqueness), 0) AS effective_count,
           avg(o.{loss}) AS loss, avg(b.{loss}) AS baseline_loss,
           min(o.as_of) AS first_as_of, max(o.as_of) AS last_as_of,
           max(greatest(o.scored_at, b.scored_at)) AS known_at
    FROM ml_prediction_outcomes o
    JOIN ml_prediction_outcomes b
      USING (instrument_id, timeframe, horizon, as_of, revision, origin)
    JOIN instruments i USING (instrument_id)
    JOIN generate_series(timestamptz '2009-01-03Z', '2109-01-03Z', '1 day') AS d (day)
      ON d.day = date_bin('1 day', o.as_of, 'epoch')
    LEFT JOIN (
        SELECT DISTINCT ON (instrument_id, timeframe, horizon, as_of)
               instrument_id, timeframe, horizon, as_of, uniqueness
        FROM ml_labels
        WHERE label_set = '{LABEL_SET}' AND log_return IS NOT NULL
          AND ($3::text[] IS NULL OR timeframe = ANY($3))
          AND ($4::int[] IS NULL OR horizon = ANY($4))
          AND ($8::timestamptz IS NULL OR as_of >= $8)
          AND ($9::timestamptz IS NULL OR as_of < $9)
        ORDER BY instrument_id, timeframe, horizon, as_of, revision
    ) l USING (instrument_id, timeframe, horizon, as_of)
    WHERE b.model = ANY($1) AND b.{loss} IS NOT NULL AND o.{loss} IS NOT NULL
      AND ($2::text[] IS NULL OR i.exchange = ANY($2))
      AND ($3::text[] IS NULL OR o.timeframe = ANY($3))
      AND ($3::text[] IS NULL OR b.timeframe = ANY($3))
      AND ($4::int[] IS NULL OR o.horizon = ANY($4))
      AND ($4::int[] IS NULL OR b.horizon = ANY($4))
      AND ($5::text[] IS NULL OR o.role = ANY($5))
      AND ($6::text[] IS NULL OR o.model = ANY($6))
      AND ($7::int[] IS NULL OR o.instrument_id = ANY($7))
      AND ($8::timestamptz IS NULL OR o.as_of >= $8)
      AND ($9::timestamptz IS NULL OR o.as_of < $9)
      AND ($8::timestamptz IS NULL OR b.as_of >= $8)
      AND ($9::timestamptz IS NULL OR b.as_of < $9)
      AND ($10::timestamptz IS NULL OR (o.scored_at <= $10 AND b.scored_at <= $10))
    GROUP BY i.exchange, o.timeframe, o.horizon, o.role, o.model, o.origin, b.model, d.day
    """  # noqa: S608 - the loss is one of ours
