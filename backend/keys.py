"""What an operator says of API keys: make one, list them, end one, and who did what."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from backend.clock import SystemClock
from backend.settings import Settings
from backend.store import migrate
from backend.store.audit import Act, AuditLog, read_audit
from backend.store.database import connect_pool
from backend.store.keys import KeyStore, StoredKey, Terms
from backend.store.state import StateFolder
from backend.wiring import database_of
from domain.errors import UsageError
from domain.keys import ApiKey, KeyScope, instrument_patterns, scopes_of
from domain.market import rfc3339

COMMAND: Final = "command"  # the caller of what is done here
LONGEST_NAME: Final = 64
DONE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """What a key shall be; names are checked when it is made."""

    name: str
    scopes: list[str]
    instruments: list[str] | None  # patterns; None: all
    quota: int
    connections: int
    lasts: timedelta | None

    def terms(self, now: datetime) -> Terms:
        """As the store has them.

        Raises:
            UsageError: a name, a scope, a pattern or a duration cannot be.
        """
        if not (self.name.isprintable() and 0 < len(self.name.strip()) <= LONGEST_NAME):
            raise UsageError(f"a key has a name of one line, of at most {LONGEST_NAME} letters")
        scopes = scopes_of(self.scopes)
        if not scopes:
            raise UsageError(f"a key has a scope: {', '.join(KeyScope)}")
        if KeyScope.OPERATE in scopes and self.instruments is not None:
            raise UsageError("orders are about the whole system: no operate with --instruments")
        return Terms(
            name=self.name.strip(),
            scopes=scopes,
            instruments=None if self.instruments is None else instrument_patterns(self.instruments),
            quota=self.quota,
            connections=self.connections,
            expires_at=self._end(now),
        )

    def _end(self, now: datetime) -> datetime | None:
        if self.lasts is None:
            return None
        if not self.lasts:
            raise UsageError("a key lasts longer than no time: --expires 90d")
        return now + self.lasts


async def create_key(wanted: NewKey, settings: Settings) -> None:
    """Make a key: it alone goes to stdout, and nobody can show it again.

    Raises:
        UsageError: it cannot be as it is wanted.
    """
    now = SystemClock().now()
    terms, key = wanted.terms(now), ApiKey.fresh()
    async with _store(settings) as pool:
        log = AuditLog(pool)
        number = await log.begin(_act("keys create", key.id), at=now)
        made = await KeyStore(pool, pool).create(key, terms, at=now)
        await log.end(number, DONE, at=now)
    sys.stderr.write(f"{_line(made, now)}\nit is shown this once, and stored nowhere:\n")
    sys.stdout.write(f"{key.spelt()}\n")
    sys.stdout.flush()


async def list_keys(settings: Settings) -> None:
    """One line for each key."""
    now = SystemClock().now()
    _refuse_absent(settings)
    async with _store(settings) as pool:
        found = await KeyStore(pool, pool).every()
    sys.stdout.writelines(f"{_line(one, now)}\n" for one in found)


async def revoke_key(text: str, settings: Settings) -> None:
    """End a key for good.

    Args:
        text: its id, also with `ap_` before it.
        settings: name the store.

    Raises:
        UnknownKeyError: no key has the id.
    """
    whole = ApiKey.parse(text)
    key_id = whole.id if whole else text.removeprefix("ap_")
    now = SystemClock().now()
    _refuse_absent(settings)
    async with _store(settings) as pool:
        log = AuditLog(pool)
        number = await log.begin(_act("keys revoke", key_id), at=now)
        ended = await KeyStore(pool, pool).revoke(key_id, at=now)
        await log.end(number, DONE, at=now)
    sys.stdout.write(f"{_line(ended, now)}\n")


async def show_audit(settings: Settings, *, since: datetime | None, limit: int) -> None:
    """One line for each change and each kind of refused request, the newest last."""
    _refuse_absent(settings)
    async with _store(settings) as pool:
        rows = await read_audit(pool, since=since, limit=limit)
    for row in reversed(rows):
        times = "" if row["count"] == 1 else f" {row['count']} times, until {_at(row['last_at'])}"
        outcome = "-" if row["outcome"] is None else row["outcome"]
        sys.stdout.write(
            f"{_at(row['at'])} {row['caller']:<12} {row['address'] or '-':<15} {outcome:<4}"
            f" {row['action']} {row['path']} {row['request_id'] or ''}{times}\n"
        )


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[asyncpg.Pool]:
    """The database in force with the newest schema; a state folder is made where there is none."""
    async with database_of(settings) as url:
        await asyncio.to_thread(migrate.upgrade, url)
        pool = await connect_pool(url, size=1)
        try:
            yield pool
        finally:
            await pool.close()


def _refuse_absent(settings: Settings) -> None:
    """A folder that was mistyped is not made by who only looks."""
    if settings.database_url is None:
        StateFolder(settings.state).exists()


def _act(action: str, key_id: str) -> Act:
    return Act(caller=COMMAND, address="", action=action, path=key_id)


def _line(key: StoredKey, now: datetime) -> str:
    terms = key.terms
    state = "revoked" if key.revoked_at else "expired" if key.expired(now) else "valid"
    until = "for good" if terms.expires_at is None else f"until {_at(terms.expires_at)}"
    ended = f", revoked {_at(key.revoked_at)}" if key.revoked_at else ""
    used = f"used on {key.last_used}" if key.last_used else "never used"
    scopes = ",".join(each.value for each in KeyScope if each in terms.scopes)
    instruments = "all" if terms.instruments is None else ",".join(terms.instruments)
    return (
        f"{key.id} {state:<7} {terms.name}: {scopes} of {instruments};"
        f" {terms.quota} requests a minute, {terms.connections} sockets;"
        f" since {_at(key.created_at)} {until}{ended}; {used}"
    )


def _at(moment: datetime) -> str:
    return rfc3339(moment)
