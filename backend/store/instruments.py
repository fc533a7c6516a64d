"""The numbers that stand for instruments in every table; each is handed out once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import asyncpg
import numpy as np

from backend.store.database import affected
from domain.events import Ints
from domain.market import Instrument, Listing

NOT_YET: Final = datetime.max.replace(tzinfo=UTC)  # one that was added has joined none so far
IN_SQL: Final = f"timestamptz '{NOT_YET.isoformat()}'"
_RECENT: Final = 64  # tuples of instruments whose numbers are at hand

_INSERT: Final = """
INSERT INTO instruments (exchange, symbol, kind, base, quote)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
ON CONFLICT (exchange, symbol) DO NOTHING
"""
_SELECT: Final = "SELECT instrument_id, exchange, symbol FROM instruments"
_LIST: Final = f"""
INSERT INTO instruments AS i (exchange, symbol, kind, base, quote, tick_size, lot_size,
    min_notional, watched_from, joined_at, added)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9,
    CASE WHEN EXISTS (SELECT FROM instruments WHERE exchange = $1 AND watched_from < $9)
        THEN CASE WHEN $10 THEN {IN_SQL} ELSE $9 END END, $10)
ON CONFLICT (exchange, symbol) DO UPDATE SET
    tick_size = coalesce(EXCLUDED.tick_size, i.tick_size),
    lot_size = coalesce(EXCLUDED.lot_size, i.lot_size),
    min_notional = coalesce(EXCLUDED.min_notional, i.min_notional),
    watched_from = CASE WHEN i.watched_until IS NULL
        THEN coalesce(i.watched_from, EXCLUDED.watched_from) ELSE EXCLUDED.watched_from END,
    joined_at = CASE WHEN i.watched_from IS NULL OR i.joined_at = {IN_SQL}
        THEN EXCLUDED.joined_at ELSE i.joined_at END,
    added = i.added OR EXCLUDED.added,
    removed = false,
    watched_until = NULL
"""  # noqa: S608 - a moment of ours
_JOIN: Final = f"""
UPDATE instruments SET joined_at = $3
WHERE exchange = $1 AND symbol = $2 AND joined_at = {IN_SQL}
"""  # noqa: S608 - the same
_UNWATCH: Final = """
UPDATE instruments SET watched_until = $3, added = $5, removed = $4
WHERE exchange = $1 AND symbol = $2 AND watched_from IS NOT NULL
    AND (watched_until IS NULL OR added)
"""
_EVER: Final = """
SELECT symbol, joined_at, added, removed, watched_until IS NULL AS watched FROM instruments
WHERE exchange = $1 AND watched_from IS NOT NULL ORDER BY symbol
"""
_WATCHED: Final = """
SELECT exchange, symbol, tick_size, lot_size, min_notional FROM instruments
WHERE watched_from <= $1 AND (watched_until IS NULL OR watched_until > $1)
ORDER BY exchange, symbol
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What was ever watched of one exchange."""

    # Of cross-sections after then; None: of all; NOT_YET: of none.
    joined: dict[Instrument, datetime | None]
    watched: tuple[Instrument, ...]  # now
    added: tuple[Instrument, ...]  # of them, those that no setting names
    waiting: tuple[Instrument, ...]  # added too, and could not join yet
    removed: frozenset[Instrument]  # by an order, so that no setting brings them back


class Instruments:
    """Instrument ↔ number, remembered; only committed numbers are remembered."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._ids: dict[Instrument, int] = {}
        self._instruments: dict[int, Instrument] = {}
        # By identity: the batches of a tick share one tuple.
        self._recent: dict[int, tuple[tuple[Instrument, ...], Ints]] = {}

    async def ids(self, instruments: Sequence[Instrument]) -> Ints:
        """The number of each, shape (n,); unknown instruments are entered first."""
        recent = self._recent.get(id(instruments))
        if recent is not None and recent[0] is instruments:
            return recent[1]
        missing = {one for one in instruments if one not in self._ids}
        if missing:
            await self._enter(missing)
        ids = np.array([self._ids[one] for one in instruments], dtype=np.int64)
        if isinstance(instruments, tuple):
            self._remember(instruments, ids)
        return ids

    async def of(self, ids: Ints) -> tuple[Instrument, ...]:
        """The instrument of each number, in their order."""
        known = self._instruments
        if any(number not in known for number in set(ids.tolist())):
            await self._load()
        return tuple(known[number] for number in ids.tolist())

    async def watch(
        self, listings: Iterable[Listing], *, since: datetime, added: bool = False
    ) -> None:
        """Enter what is watched from `since` on, with the sizes its exchange tells.

        What is watched for the first time, later than others of its exchange, is in no
        cross-section before; what is added while they are followed is in none until it joins.

        Args:
            listings: what is watched.
            since: when.
            added: by an order; it stays watched though no setting names it.
        """
        rows = [
            (*_names(one.instrument), one.tick_size, one.lot_size, one.min_notional, since, added)
            for one in listings
        ]
        async with self._pool.acquire() as connection:
            await connection.executemany(_LIST, rows)

    async def join(self, instrument: Instrument, *, at: datetime) -> None:
        """One that is new has its place in the cross-sections after `at`."""
        await self._pool.execute(_JOIN, instrument.exchange, instrument.symbol, at)

    async def membership(self, exchange: str) -> Membership:
        """What was ever watched of an exchange, and what of it is."""
        rows = await self._pool.fetch(_EVER, exchange)
        names = [Instrument(exchange, row["symbol"]) for row in rows]
        pairs = list(zip(names, rows, strict=True))
        return Membership(
            joined={name: row["joined_at"] for name, row in pairs},
            watched=tuple(name for name, row in pairs if row["watched"]),
            added=tuple(name for name, row in pairs if row["watched"] and row["added"]),
            waiting=tuple(name for name, row in pairs if not row["watched"] and row["added"]),
            removed=frozenset(name for name, row in pairs if row["removed"]),
        )

    async def unwatch(
        self,
        instrument: Instrument,
        *,
        until: datetime,
        removed: bool = False,
        waiting: bool = False,
    ) -> bool:
        """Watch it no more; False when it was not watched, and did not wait for it.

        Args:
            instrument: which.
            until: when it was watched last.
            removed: it stays so though a setting names it, until it is watched again.
            waiting: it was added and could not join; it is tried again.
        """
        status = await self._pool.execute(
            _UNWATCH, instrument.exchange, instrument.symbol, until, removed, waiting
        )
        return affected(status) > 0

    async def watched(self, at: datetime) -> list[Listing]:
        """What is watched at a moment, sorted."""
        return [
            Listing(
                instrument=Instrument(row["exchange"], row["symbol"]),
                tick_size=row["tick_size"],
                lot_size=row["lot_size"],
                min_notional=row["min_notional"],
            )
            for row in await self._pool.fetch(_WATCHED, at)
        ]

    def _remember(self, instruments: tuple[Instrument, ...], ids: Ints) -> None:
        if len(self._recent) >= _RECENT:
            self._recent.clear()
        self._recent[id(instruments)] = (instruments, ids)

    async def _enter(self, missing: set[Instrument]) -> None:
        await self._load()
        new = sorted(missing - self._ids.keys())
        if new:
            columns = [list(column) for column in zip(*map(_names, new), strict=True)]
            await self._pool.execute(_INSERT, *columns)
            await self._load()

    async def _load(self) -> None:
        for number, exchange, symbol in await self._pool.fetch(_SELECT):
            instrument = Instrument(exchange, symbol)
            self._ids[instrument] = number
            self._instruments[number] = instrument


def _names(instrument: Instrument) -> tuple[str, str, str, str, str]:
    return (
        instrument.exchange,
        instrument.symbol,
        instrument.kind,
        instrument.base,
        instrument.quote,
    )
