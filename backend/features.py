"""What an operator asks of stored features: whether they follow from the candles."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

import asyncpg
import numpy as np

from backend.past_candles import past_of
from backend.rederived import Derived, Rederivation
from backend.revisions import NOTES
from backend.settings import Settings
from backend.store import served_rows, snapshots
from backend.store.rows import feature_hashes
from backend.store.served_rows import Members, ServedRow
from backend.store.standing import Standing
from backend.upkeep import store_of
from domain.codec import unpack
from domain.market import EPOCH, Instrument, Timeframe, from_ms, rfc3339
from services.features.feature_set import OHLCV

LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A value of a stored row that does not come out again."""

    instrument: Instrument
    timeframe: Timeframe
    as_of: datetime
    revision: int
    name: str  # of the feature, or `coverage`, or `row_hash`
    served: str
    derived: str

    def __str__(self) -> str:
        return (
            f"{self.instrument} {self.timeframe} {rfc3339(self.as_of)} revision {self.revision} "
            f"{self.name}: served {self.served}, derived {self.derived}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What came of a sample of feature rows.

    Args:
        rows: that were derived again.
        superseded: of them, those with a later revision.
        timeframes: of the rows.
        left_out: rows of the sample that the system itself is to make again, or that a start
            has dated and superseded, or that are superseded where older rows were dropped.
        differences: between what is stored and what is derived.
    """

    rows: int
    superseded: int
    timeframes: tuple[Timeframe, ...]
    left_out: int
    differences: tuple[Difference, ...]


async def audit_features(
    settings: Settings, *, count: int, seed: int, since: datetime | None
) -> int:
    """Derive a sample of stored feature rows again and say what differs; 1 when any does.

    Args:
        settings: that name the store.
        count: rows of the sample.
        seed: of the sample.
        since: no row with an earlier as_of.
    """
    async with store_of(settings) as store, store.readers.acquire() as connection:
        audit = await audit_rows(connection, count=count, seed=seed, since=since or EPOCH)
    sys.stdout.writelines(f"{one}\n" for one in audit.differences)
    names = ", ".join(audit.timeframes) or "no timeframe"
    sys.stdout.write(
        f"{audit.rows} rows of {names} derived again ({audit.superseded} have a later revision): "
        f"{len(audit.differences) or 'no'} differences\n"
    )
    if audit.left_out:
        sys.stdout.write(
            f"{audit.left_out} rows left out: what they rest on is being taken in, undated, or "
            "dropped\n"
        )
    return 1 if audit.differences else 0


async def audit_rows(
    connection: asyncpg.Connection, *, count: int, seed: int, since: datetime
) -> Audit:
    """As `audit_features`, over one state of the record, beside whoever writes."""
    differences: list[Difference] = []
    judged: list[ServedRow] = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        rows = await served_rows.sample(connection, OHLCV.id, count=count, seed=seed, since=since)
        for (exchange, timeframe), ours in groupby(
            rows, key=lambda row: (row.instrument.exchange, row.timeframe)
        ):
            panel = await served_rows.members(connection, exchange, timeframe, OHLCV.id)
            settled, found = await _audit_panel(connection, panel, list(ours))
            judged += settled
            differences += found
    return Audit(
        rows=len(judged),
        superseded=sum(row.superseded_at is not None for row in judged),
        timeframes=tuple(dict.fromkeys(row.timeframe for row in judged)),
        left_out=len(rows) - len(judged),
        differences=tuple(differences),
    )


async def _audit_panel(
    connection: asyncpg.Connection, panel: Members, rows: Sequence[ServedRow]
) -> tuple[list[ServedRow], list[Difference]]:
    """The rows of one panel that can be judged, and what is wrong with them."""
    standing = Standing(connection, OHLCV.id)
    beginning = await standing.beginning(panel.ids, panel.timeframe)
    if beginning is None:  # the rows would not be here
        return [], []
    until = await _settled_until(connection, standing, panel, beginning)
    again = Rederivation(
        connection=connection,
        members=panel,
        beginning=beginning,
        past=await past_of(connection, panel),
    )
    # What was corrected below a row that is superseded is told by older rows.
    whole = await standing.since(panel.ids, panel.timeframe) == EPOCH
    settled = [
        row
        for row in rows
        if (until is None or row.as_of < until)
        and (whole or row.superseded_at is None)
        and again.judges(row)
    ]
    wrong = await _unlike(again, settled)
    return settled, [one for row, derived in wrong.items() for one in _differences(row, derived)]


async def _settled_until(
    connection: asyncpg.Connection, standing: Standing, panel: Members, beginning: datetime
) -> datetime | None:
    """The first close whose rows the system itself is to make again; None: there is none."""
    scope = (panel.exchange, panel.timeframe, NOTES, "")
    note = await snapshots.load(connection, scope, until=LATEST)
    since_ms = None if note is None else unpack(note.payload)["since_ms"]
    noted = [] if since_ms is None else [from_ms(since_ms)]
    found = await standing.unanswered(panel.ids, panel.timeframe, first=beginning, last=LATEST)
    return min([*noted, *([] if found is None else [found])], default=None)


async def _unlike(again: Rederivation, rows: Sequence[ServedRow]) -> dict[ServedRow, Derived]:
    """The rows that no state of the candles gives by which they may be, with the likeliest's."""
    states = {row: again.states(row) for row in rows}
    unlike: dict[ServedRow, Derived] = {}
    left = list(rows)
    for attempt in range(max(map(len, states.values()), default=0)):
        wanted: dict[int, list[ServedRow]] = {}
        for row in left:
            wanted.setdefault(states[row][attempt], []).append(row)
        derived = await again.derive(wanted) if wanted else {}
        for state, asked in wanted.items():
            for row, made in zip(asked, derived[state], strict=True):
                if _differences(row, made):
                    unlike.setdefault(row, made)
                else:
                    unlike.pop(row, None)
        left = [row for row in left if row in unlike and attempt + 1 < len(states[row])]
    return unlike


def _differences(row: ServedRow, derived: Derived) -> list[Difference]:
    """Compared to the bit, but for NaN, which equals NaN."""
    names = (*OHLCV.columns, "coverage")
    served = np.append(row.values, row.coverage)
    made = np.append(derived.values, derived.coverage)
    same = (served.view(np.int64) == made.view(np.int64)) | (np.isnan(served) & np.isnan(made))
    found = [
        (names[place], repr(float(served[place])), repr(float(made[place])))
        for place in np.flatnonzero(~same).tolist()
    ]
    (spelt,) = feature_hashes(row.values[np.newaxis])
    if spelt != row.row_hash:
        found.append(("row_hash", row.row_hash.hex(), spelt.hex()))
    return [
        Difference(
            instrument=row.instrument,
            timeframe=row.timeframe,
            as_of=row.as_of,
            revision=row.revision,
            name=name,
            served=was,
            derived=now,
        )
        for name, was, now in found
    ]
