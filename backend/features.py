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

from backend.feature_sets import candle_sets as sets_there
from backend.feature_sets import fitted_on
from backend.past_candles import past_of
from backend.rederived import Derived, Rederivation
from backend.retold import retold, unlike
from backend.revisions import NOTES
from backend.settings import Settings
from backend.store import candle_sets, served_rows, snapshots
from backend.store.history import History
from backend.store.instruments import Instruments
from backend.store.rows import feature_hashes
from backend.store.served_rows import Members, ServedRow
from backend.store.standing import Standing
from backend.store.told_rows import ToldClose
from backend.upkeep import store_of
from domain.codec import unpack
from domain.errors import UsageError
from domain.events import SentimentBatch
from domain.market import EPOCH, Instrument, Timeframe, from_ms, rfc3339
from services.features.kinds import RELEASE, CandleSet
from services.sentiment.feature_set import SENTIMENT

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
class Waiting:
    """Rows of a sample that a panel is to make again: its candles have changed since."""

    exchange: str
    timeframe: Timeframe
    since: datetime  # the first close of such rows
    noted: bool  # for a running system; else its next start finds them
    rows: int

    def __str__(self) -> str:
        for_what = "to be made again" if self.noted else "for the next start"
        return (
            f"{self.rows} rows of {self.exchange} {self.timeframe} from {rfc3339(self.since)} on "
            f"wait {for_what}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What came of a sample of feature rows.

    Args:
        rows: that were derived again.
        superseded: of them, those with a later revision.
        timeframes: of the rows.
        told: rows of what sources told that were made again, the newest of their closes.
        waiting: what is not judged, as the system itself is to make it again.
        left_out: rows of the sample that a start has dated and superseded, or that are superseded
            where older rows were dropped.
        differences: between what is stored and what is derived.
        told_differences: the same of rows of what sources told.
    """

    rows: int
    superseded: int
    told: int
    timeframes: tuple[Timeframe, ...]
    waiting: tuple[Waiting, ...]
    left_out: int
    differences: tuple[Difference, ...]
    told_differences: tuple[Difference, ...]


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
        sets = sets_there(settings.training.candidate, settings.plugins)
        audit = await audit_rows(
            connection,
            count=count,
            seed=seed,
            since=since or EPOCH,
            sets=sets,
            reach=settings.history_bars,
        )
    differences = (*audit.differences, *audit.told_differences)
    sys.stdout.writelines(f"{one}\n" for one in differences)
    names = ", ".join(audit.timeframes) or "no timeframe"
    if len(sets) > 1:
        names += f", {' and '.join(one.id for one in sets)},"
    sys.stdout.write(
        f"{audit.rows} rows of {names} derived again ({audit.superseded} have a later revision): "
        f"{len(audit.differences) or 'no'} differences\n"
    )
    if audit.told:
        sys.stdout.write(
            f"{audit.told} rows of what sources told made again from the facts: "
            f"{len(audit.told_differences) or 'no'} differences\n"
        )
    sys.stdout.writelines(f"{one}\n" for one in audit.waiting)
    if audit.left_out:
        sys.stdout.write(
            f"{audit.left_out} rows left out: what they rest on is undated or dropped\n"
        )
    return 1 if differences else 0


async def retire_set(settings: Settings, name: str, *, with_seats: bool) -> None:
    """Have the candidate take the place of a set from the next start on.

    Args:
        settings: that name the store.
        name: of the set that is made no more.
        with_seats: members that read it lose their seats with it.

    Raises:
        UsageError: there is no other set, it is retired already, or members read it.
    """
    async with store_of(settings) as store:
        others = await _beside(store.readers, name)
        members = await candle_sets.readers(store.readers, fitted_on(RELEASE))
        if members and not with_seats:
            more = f" and {len(members) - 1} more" if len(members) > 1 else ""
            raise UsageError(
                f"{members[0]}{more} read {name}: --with-seats takes their seats with it"
            )
        await candle_sets.retire(store.writers, name, at=datetime.now(UTC))
    seats = f"; {len(members)} seats go with it" if members else ""
    sys.stdout.write(f"{name} is retired: from the next start on all learn from {others}{seats}\n")


async def _beside(pool: asyncpg.Pool, name: str) -> str:
    """What can take the place of a set, as the record has it and not these settings.

    Raises:
        UsageError: nothing can.
    """
    gone = await candle_sets.retired(pool)
    if name in gone:
        raise UsageError(f"{name} was retired on {gone[name]:%Y-%m-%d} already")
    if since := gone.get(RELEASE.id):
        raise UsageError(
            f"{name} cannot be retired: {RELEASE.id} was on {since:%Y-%m-%d}, and what took its"
            " place stays"
        )
    if name != RELEASE.id:
        raise UsageError(
            f"{name} is not the set of the release, {RELEASE.id}; a candidate ends where settings"
            " name none"
        )
    others = await candle_sets.beside(pool, name)
    if not others:
        raise UsageError(
            f"no set is beside {name}: a start makes the one that training.candidate names"
        )
    return " or ".join(others)


async def audit_rows(
    connection: asyncpg.Connection,
    *,
    count: int,
    seed: int,
    since: datetime,
    sets: Sequence[CandleSet] = (RELEASE,),
    reach: int | None = None,
) -> Audit:
    """As `audit_features`, over one state of the record, beside whoever writes.

    Args:
        connection: to read by.
        count: rows of the sample, of each set.
        seed: of the sample.
        since: no row with an earlier as_of.
        sets: whose rows; those of the first tell when candles were corrected.
        reach: candles back to which a start looks for what it has not answered; None: all.
    """
    differences: list[Difference] = []
    judged: list[ServedRow] = []
    waiting: list[Waiting] = []
    sampled = 0
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        gone = (await candle_sets.retired(connection)).get(RELEASE.id)
        for of in sets:
            # Who took the place of another set tells of corrections itself, from then on.
            teller = sets[0] if of is sets[0] or gone is None else of
            since_told = EPOCH if gone is None or of is sets[0] else gone
            rows = await served_rows.sample(connection, of.id, count=count, seed=seed, since=since)
            sampled += len(rows)
            for (exchange, timeframe), ours in groupby(
                rows, key=lambda row: (row.instrument.exchange, row.timeframe)
            ):
                panel = await served_rows.members(connection, exchange, timeframe, teller.id)
                some = [
                    row for row in ours if row.superseded_at is None or row.known_at >= since_told
                ]
                settled, found, wait = await _audit_panel(connection, of, panel, some, reach)
                judged += settled
                waiting += wait
                differences += found
        told, retelling = 0, list[Difference]()
        async for close, again in retold(connection, seed=seed, since=since):
            told += len(close.rows.instruments)
            retelling += _retold(close, again)
    return Audit(
        rows=len(judged),
        told=told,
        superseded=sum(row.superseded_at is not None for row in judged),
        timeframes=tuple(dict.fromkeys(row.timeframe for row in judged)),
        waiting=tuple(waiting),
        left_out=sampled - len(judged) - sum(one.rows for one in waiting),
        differences=tuple(differences),
        told_differences=tuple(retelling),
    )


async def _audit_panel(
    connection: asyncpg.Connection,
    of: CandleSet,
    panel: Members,
    rows: Sequence[ServedRow],
    reach: int | None,
) -> tuple[list[ServedRow], list[Difference], list[Waiting]]:
    """The rows of one panel that can be judged, what is wrong with them, and what waits."""
    standing = Standing(connection, of.id)
    beginning = await standing.beginning(panel.ids, panel.timeframe)
    if beginning is None:  # the rows would not be here
        return [], [], []
    wait = await _waiting(connection, standing, panel, beginning, rows, reach)
    again = Rederivation(
        connection=connection,
        members=panel,
        beginning=beginning,
        past=await past_of(connection, panel),
        of=of,
    )
    # What was corrected below a row that is superseded is told by older rows.
    whole = await standing.since(panel.ids, panel.timeframe) == EPOCH
    settled = [
        row
        for row in rows
        if (wait is None or row.as_of < wait.since)
        and (whole or row.superseded_at is None)
        and again.judges(row)
    ]
    wrong = await _unlike(again, settled)
    found = [
        one
        for row, derived in wrong.items()
        for one in _differences(row, derived, of.feature_set.columns)
    ]
    return settled, found, [] if wait is None or not wait.rows else [wait]


async def _waiting(
    connection: asyncpg.Connection,
    standing: Standing,
    panel: Members,
    beginning: datetime,
    rows: Sequence[ServedRow],
    reach: int | None,
) -> Waiting | None:
    """Those of `rows` that the system itself is to make again; None: there is no such close."""
    scope = (panel.exchange, panel.timeframe, NOTES, "")
    note = await snapshots.load(connection, scope, until=LATEST)
    since_ms = None if note is None else unpack(note.payload)["since_ms"]
    noted = LATEST if since_ms is None else from_ms(since_ms)
    first = beginning
    if reach is not None:
        history = History(connection, Instruments(connection))
        newest = await history.newest_close(panel.instruments, panel.timeframe)
        first = max((newest or beginning) - reach * panel.timeframe.duration, beginning)
    found = await standing.unanswered(panel.ids, panel.timeframe, first=first, last=LATEST)
    since = min(noted, found or LATEST)
    if since == LATEST:
        return None
    return Waiting(
        exchange=panel.exchange,
        timeframe=panel.timeframe,
        since=since,
        noted=since == noted,
        rows=sum(row.as_of >= since for row in rows),
    )


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
                if _differences(row, made, again.of.feature_set.columns):
                    unlike.setdefault(row, made)
                else:
                    unlike.pop(row, None)
        left = [row for row in left if row in unlike and attempt + 1 < len(states[row])]
    return unlike


def _retold(close: ToldClose, again: SentimentBatch) -> list[Difference]:
    """Compared as `_differences` does; of a close that is told otherwise its first row stands."""
    stored = close.rows
    found = [
        (row, "values", f"{count} of them", f"{len(SENTIMENT.columns)} of them")
        for row, count in close.cut.items()
    ]
    found += [
        (row, SENTIMENT.columns[column], repr(float(was)), repr(float(now)))
        for row, column in np.argwhere(unlike(stored, again.values)).tolist()
        for was, now in [(stored.values[row, column], again.values[row, column])]
        if row not in close.cut
    ]
    if stored.status != again.status:
        found.insert(0, (0, "source_status", str(dict(stored.status)), str(dict(again.status))))
    return [
        Difference(
            instrument=stored.instruments[row],
            timeframe=stored.timeframe,
            as_of=stored.as_of,
            revision=int(stored.revision[row]),
            name=name,
            served=was,
            derived=now,
        )
        for row, name, was, now in found
    ]


def _differences(row: ServedRow, derived: Derived, columns: tuple[str, ...]) -> list[Difference]:
    """Compared to the bit, but for NaN, which equals NaN."""
    names = (*columns, "coverage")
    served = np.append(row.values, row.coverage)
    made = np.append(derived.values, derived.coverage)
    if row.values.shape != derived.values.shape:  # it was cut, or made longer
        found = [("values", f"{row.values.size} of them", f"{derived.values.size} of them")]
    else:
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
