"""The gap ledger: which candles ought to exist and do not, and what became of each hole.

What is filled is decided by the stored candles alone, whatever collectors say of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any, Final, NamedTuple

import asyncpg
import orjson

from backend.store.instruments import Instruments
from backend.store.once import Once
from backend.store.payloads import GAPS_STREAM, gap_payload
from backend.store.stream_log import Drafts, Extension, StreamEvent, StreamLog
from collectors import ledger
from collectors.gaps import Cause, Gap, GapState, Range
from collectors.ledger import Entry, EntryState, Missing
from domain.market import Instrument, SeriesKey, Timeframe, from_ms, to_ms

_NOTHING: Final = Range(0, 0)

Change = tuple[str, SeriesKey, Entry]  # what is told of a hole

_LISTED: Final = """
SELECT number, from_time, to_time, cause, state, detected_at, attempts
FROM unnest($1::int[], $2::int[], $3::text[]) AS s (number, instrument_id, timeframe)
JOIN ingest_gaps USING (instrument_id, timeframe)
WHERE state <> 'filled' ORDER BY number, from_time
"""
# The index: candles_pkey.
_MISSING: Final = """
SELECT number, gap.from_time, gap.to_time
FROM unnest($1::int[], $2::int[], $3::text[], $4::interval[], $5::timestamptz[], $6::timestamptz[])
    AS s (number, instrument_id, timeframe, step, since, until)
CROSS JOIN LATERAL (
    SELECT last + s.step AS from_time, open_time AS to_time
    FROM (
        SELECT open_time, lag(open_time, 1, s.since - s.step) OVER (ORDER BY open_time) AS last
        FROM (
            SELECT open_time FROM candles
            WHERE instrument_id = s.instrument_id AND timeframe = s.timeframe
                AND open_time >= s.since AND open_time < s.until
            UNION ALL SELECT s.until
        ) AS points
    ) AS steps
    WHERE open_time > last + s.step
) AS gap
ORDER BY number, from_time
"""
_GROW: Final = """
INSERT INTO candle_extents AS kept (instrument_id, timeframe, from_time, to_time)
SELECT s.instrument_id, s.timeframe, first, last + s.step
FROM unnest($1::int[], $2::text[], $3::interval[]) AS s (instrument_id, timeframe, step)
CROSS JOIN LATERAL (
    SELECT min(open_time) AS first, max(open_time) AS last FROM candles
    WHERE instrument_id = s.instrument_id AND timeframe = s.timeframe
) AS stored
WHERE first IS NOT NULL
ON CONFLICT (instrument_id, timeframe) DO UPDATE SET
    from_time = least(kept.from_time, EXCLUDED.from_time),
    to_time = greatest(kept.to_time, EXCLUDED.to_time)
WHERE EXCLUDED.from_time < kept.from_time OR EXCLUDED.to_time > kept.to_time
"""
_REACH: Final = """
UPDATE candle_extents AS kept SET to_time = s.until
FROM unnest($1::int[], $2::text[], $3::timestamptz[]) AS s (instrument_id, timeframe, until)
WHERE kept.instrument_id = s.instrument_id AND kept.timeframe = s.timeframe
    AND kept.to_time < s.until
"""
_EXTENTS: Final = """
SELECT number, from_time, to_time
FROM unnest($1::int[], $2::int[], $3::text[]) AS s (number, instrument_id, timeframe)
JOIN candle_extents USING (instrument_id, timeframe)
"""
_DROP: Final = """
DELETE FROM ingest_gaps
WHERE instrument_id = $1 AND timeframe = $2 AND from_time = $3 AND state <> 'filled'
"""
_ENTER: Final = """
INSERT INTO ingest_gaps (instrument_id, timeframe, from_time, to_time, cause, state,
    detected_at, filled_at, attempts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (instrument_id, timeframe, from_time, detected_at) DO UPDATE SET
    (to_time, cause, state, filled_at, attempts) = ROW (EXCLUDED.to_time, EXCLUDED.cause,
    EXCLUDED.state, EXCLUDED.filled_at, EXCLUDED.attempts)
"""


class Recorded(NamedTuple):
    """What a record of notices led to."""

    events: list[StreamEvent]  # for subscribers of the stream `gaps`
    waiting: list[Gap]  # said to be filled, and not stored yet
    missing: dict[SeriesKey, list[Range]]  # of the series concerned: what may still come


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where the ledger of one series and its stored candles disagree, and what is missing."""

    instrument: Instrument
    timeframe: Timeframe
    unlisted: list[Range]  # missing, and the ledger does not know
    present: list[Range]  # stored, and the ledger says missing
    wanted: list[Range]  # missing, and not known to be unfillable

    def notices(self, cause: Cause) -> list[Gap]:
        """What makes the ledger agree."""
        return [
            Gap(
                instrument=self.instrument,
                timeframe=self.timeframe,
                from_ms=span.from_ms,
                to_ms=span.to_ms,
                cause=cause,
                state=state,
            )
            for state, spans in ((GapState.FOUND, self.unlisted), (GapState.FILLED, self.present))
            for span in spans
        ]


class Expected(NamedTuple):
    """Of a span of a series, what ought to be stored and is not."""

    since_ms: int  # open time of the first candle of the series
    missing: list[Range]


class GapLedger:
    """Reads and writes `ingest_gaps`, and the stream `gaps`; one for a process."""

    def __init__(self, pool: asyncpg.Pool, instruments: Instruments) -> None:
        self._pool = pool
        self._instruments = instruments
        self._log = StreamLog()
        self._once = Once[Recorded]()

    async def record(self, notices: Sequence[Gap], *, at: datetime) -> Recorded:
        """Enter what collectors say, in their order, and compare it with what is stored.

        Args:
            notices: of any series; entered once, however often the same call is made in doubt.
            at: when this was noticed.
        """
        by_series: dict[SeriesKey, list[Gap]] = {}
        for notice in notices:
            by_series.setdefault((notice.instrument, notice.timeframe), []).append(notice)
        rows, attempt = await self._rows([*by_series]), (tuple(notices), at)
        recorded = Recorded([], [], {})
        async with self._pool.acquire() as connection:

            async def write(extension: Extension) -> None:
                nonlocal recorded
                work = partial(self._record, connection, extension, by_series, rows, at)
                recorded = await self._once.do(connection, attempt, work)

            events = await self._log.append(
                connection, [[GAPS_STREAM]], write, turns=[GAPS_STREAM], published_at=at
            )
        self._once.done(attempt)
        return recorded._replace(events=events)

    async def differences(
        self,
        instruments: Sequence[Instrument],
        timeframe: Timeframe,
        *,
        until: datetime | None = None,
    ) -> list[Difference]:
        """Compare the ledger with the stored candles, over the whole of each series.

        Args:
            instruments: whose series; one that never had a candle is passed over.
            timeframe: of the candles.
            until: candles that closed before are expected, where the series has any.
        """
        keys = [(instrument, timeframe) for instrument in instruments]
        rows = await self._rows(keys)
        columns = rows.ids, rows.timeframes
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_GROW, *columns, rows.steps)
            if until is not None:
                reached = [timeframe.open_of(until)] * len(keys)
                await connection.execute(_REACH, *columns, reached)
            extents = await connection.fetch(_EXTENTS, rows.numbers, *columns)
            spans = {row["number"]: _range(row) for row in extents}
            missing = await _missing(connection, rows, spans)
            listed = await _listed(connection, rows)
        return [
            _difference(keys[number], span, missing.get(number, []), listed.get(number, ()))
            for number, span in sorted(spans.items())
        ]

    async def expected(self, key: SeriesKey, span: Range) -> Expected | None:
        """What is missing of `span`; None for a series that has no candle."""
        rows = await self._rows([key])
        async with self._pool.acquire() as connection:
            await connection.execute(_GROW, rows.ids, rows.timeframes, rows.steps)
            known = await connection.fetchrow(_EXTENTS, rows.numbers, rows.ids, rows.timeframes)
            if known is None:
                return None
            common = _common(span, _range(known))
            missing = await _missing(connection, rows, {0: common})
        return Expected(to_ms(known["from_time"]), missing.get(0, []))

    async def _rows(self, keys: Sequence[SeriesKey]) -> _Rows:
        ids = await self._instruments.ids([instrument for instrument, _ in keys])
        return _Rows(keys=keys, ids=ids.tolist())

    async def _record(
        self,
        connection: asyncpg.Connection,
        extension: Extension,
        by_series: Mapping[SeriesKey, Sequence[Gap]],
        rows: _Rows,
        at: datetime,
    ) -> Recorded:
        changes: list[Change] = []
        waiting: list[Gap] = []
        still: dict[SeriesKey, list[Range]] = {}
        listed = await _listed(connection, rows)
        hulls = {number: _hull(by_series[key]) for number, key in enumerate(rows.keys)}
        missing = await _missing(connection, rows, hulls)
        for number, key in enumerate(rows.keys):
            before, absent = listed.get(number, ()), missing.get(number, [])
            notices = by_series[key]
            after, done, told = _applied(before, notices, absent, hulls[number], to_ms(at))
            await _write(connection, rows.place(number), before, after, done)
            still[key] = [one.span for one in after if one.state is not EntryState.UNFILLABLE]
            changes += [(event, key, entry) for event, entry in told]
            waiting += [one for one in notices if _unconfirmed(one, absent)]
        for event, some in groupby(changes, key=lambda change: change[0]):
            extension.add(_drafts(event, [*some], at))
        await extension.write(connection)
        return Recorded(extension.events, waiting, still)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Series as columns; a series is named by its position."""

    keys: Sequence[SeriesKey]
    ids: list[int]

    @property
    def numbers(self) -> list[int]:
        return list(range(len(self.keys)))

    @property
    def timeframes(self) -> list[str]:
        return [timeframe.value for _, timeframe in self.keys]

    @property
    def steps(self) -> list[Any]:
        return [timeframe.duration for _, timeframe in self.keys]

    def place(self, number: int) -> tuple[int, str]:
        return self.ids[number], self.timeframes[number]


def _applied(
    before: Missing, notices: Sequence[Gap], absent: Sequence[Range], hull: Range, at_ms: int
) -> tuple[Missing, tuple[Entry, ...], list[tuple[str, Entry]]]:
    """The entries afterwards, those that are filled, and what is to be told."""
    after = before
    for notice in notices:
        span = Range(notice.from_ms, notice.to_ms)
        if notice.state is GapState.FOUND:
            after = ledger.found(after, [span], notice.cause, at_ms)
        elif notice.state is GapState.ASKED:
            after = ledger.attempted(after, span)
    opened = _news(after, before)
    after, done = ledger.filled(after, ledger.without(hull, absent), at_ms)
    lacking = [entry for entry in after if entry.state is EntryState.UNFILLABLE]
    for notice in notices:
        if notice.state is GapState.ABSENT:
            after = ledger.given_up(after, Range(notice.from_ms, notice.to_ms))
    unfillable = [entry for entry in after if entry.state is EntryState.UNFILLABLE]
    told = [
        *(("opened", entry) for entry in opened),
        *(("filled", entry) for entry in done),
        *(("unfillable", entry) for entry in _news(unfillable, lacking)),
    ]
    return after, done, told


def _news(after: Iterable[Entry], before: Iterable[Entry]) -> list[Entry]:
    """The parts of `after` that `before` does not cover."""
    known = [entry.span for entry in before]
    return [
        ledger.part(entry, span) for entry in after for span in ledger.without(entry.span, known)
    ]


def _unconfirmed(notice: Gap, absent: Sequence[Range]) -> bool:
    span = Range(notice.from_ms, notice.to_ms)
    return notice.state is GapState.FILLED and any(ledger.overlap(span, one) for one in absent)


def _difference(
    key: SeriesKey, span: Range, missing: Sequence[Range], listed: Missing
) -> Difference:
    lacking = [entry.span for entry in listed if entry.state is EntryState.UNFILLABLE]
    known = [entry.span for entry in listed]
    return Difference(
        instrument=key[0],
        timeframe=key[1],
        unlisted=[part for one in missing for part in ledger.without(one, known)],
        present=[part for one in known for part in ledger.without(_common(one, span), missing)],
        wanted=[part for one in missing for part in ledger.without(one, lacking)],
    )


def _common(one: Range, other: Range) -> Range:
    both = Range(max(one.from_ms, other.from_ms), min(one.to_ms, other.to_ms))
    return both if both.from_ms < both.to_ms else _NOTHING


def _hull(notices: Iterable[Gap]) -> Range:
    spans = [(notice.from_ms, notice.to_ms) for notice in notices]
    return Range(min(start for start, _ in spans), max(end for _, end in spans))


def _range(row: asyncpg.Record) -> Range:
    return Range(to_ms(row["from_time"]), to_ms(row["to_time"]))


async def _listed(connection: asyncpg.Connection, rows: _Rows) -> dict[int, Missing]:
    found = await connection.fetch(_LISTED, rows.numbers, rows.ids, rows.timeframes)
    return {
        number: tuple(
            Entry(
                span=_range(row),
                cause=Cause(row["cause"]),
                state=EntryState(row["state"]),
                detected_ms=to_ms(row["detected_at"]),
                attempts=row["attempts"],
            )
            for row in group
        )
        for number, group in groupby(found, key=lambda row: row["number"])
    }


async def _missing(
    connection: asyncpg.Connection, rows: _Rows, spans: Mapping[int, Range]
) -> dict[int, list[Range]]:
    """What is not stored of a span of each series, oldest first."""
    numbers = sorted(spans)
    found = await connection.fetch(
        _MISSING,
        numbers,
        [rows.ids[number] for number in numbers],
        [rows.timeframes[number] for number in numbers],
        [rows.steps[number] for number in numbers],
        [from_ms(spans[number].from_ms) for number in numbers],
        [from_ms(spans[number].to_ms) for number in numbers],
    )
    return {
        number: [_range(row) for row in group]
        for number, group in groupby(found, key=lambda row: row["number"])
    }


async def _write(
    connection: asyncpg.Connection,
    place: tuple[int, str],
    before: Missing,
    after: Missing,
    done: Sequence[Entry],
) -> None:
    gone = sorted({entry.span.from_ms for entry in set(before) - set(after)})
    new = [*(entry for entry in after if entry not in before), *done]
    await connection.executemany(_DROP, [(*place, from_ms(start)) for start in gone])
    await connection.executemany(_ENTER, [(*place, *_columns(entry)) for entry in new])


def _columns(entry: Entry) -> tuple[Any, ...]:
    return (
        from_ms(entry.span.from_ms),
        from_ms(entry.span.to_ms),
        entry.cause.value,
        entry.state.value,
        from_ms(entry.detected_ms),
        None if entry.filled_ms is None else from_ms(entry.filled_ms),
        entry.attempts,
    )


def _drafts(event: str, changes: Sequence[Change], at: datetime) -> Drafts:
    payloads = [orjson.dumps(gap_payload(*key, entry)) for _, key, entry in changes]
    return Drafts(event, at, [GAPS_STREAM] * len(payloads), payloads)
