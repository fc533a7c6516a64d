"""API keys as the store has them: who may call, without what would let a reader call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

import asyncpg

from domain.errors import UnknownNameError
from domain.keys import ApiKey, KeyScope, scopes_of

_COLUMNS: Final = """key_id, name, digest, scopes, instruments, quota, connections, created_at,
    expires_at, revoked_at, last_used"""
_INSERT: Final = f"""
INSERT INTO api_keys ({_COLUMNS})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, NULL) RETURNING {_COLUMNS}
"""  # noqa: S608 - names are ours
_LIST: Final = f"SELECT {_COLUMNS} FROM api_keys ORDER BY created_at, key_id"  # noqa: S608
_FIND: Final = f"SELECT {_COLUMNS} FROM api_keys WHERE key_id = $1"  # noqa: S608
_REVOKE: Final = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, $2) WHERE key_id = $1"
_USED: Final = """
UPDATE api_keys SET last_used = $2
WHERE key_id = ANY($1::text[]) AND last_used IS DISTINCT FROM $2
"""
_ANY: Final = """
SELECT EXISTS (SELECT FROM api_keys
               WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1))
"""


class UnknownKeyError(UnknownNameError):
    """An id that no key has."""

    noun = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a key is made with."""

    name: str
    scopes: frozenset[KeyScope]
    instruments: tuple[str, ...] | None  # patterns; None: all
    quota: int  # requests a minute
    connections: int  # sockets at a time
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A row of `api_keys`."""

    id: str
    terms: Terms
    created_at: datetime
    revoked_at: datetime | None
    last_used: date | None
    digest: bytes = field(repr=False)

    def expired(self, now: datetime) -> bool:
        return self.terms.expires_at is not None and self.terms.expires_at <= now

    def valid(self, now: datetime) -> bool:
        return self.revoked_at is None and not self.expired(now)


class KeyStore:
    """The table of keys.

    Args:
        readers: of the database; `find` is asked by every request of a key.
        writers: the same where it may be written to.
    """

    def __init__(self, readers: asyncpg.Pool, writers: asyncpg.Pool) -> None:
        self._readers = readers
        self._writers = writers

    async def create(self, key: ApiKey, terms: Terms, *, at: datetime) -> StoredKey:
        """Enter a key; its secret is not kept."""
        row = await self._writers.fetchrow(
            _INSERT, key.id, terms.name, key.digest(), sorted(terms.scopes),
            None if terms.instruments is None else list(terms.instruments),
            terms.quota, terms.connections, at, terms.expires_at,
        )  # fmt: skip
        return _stored(row)

    async def every(self) -> list[StoredKey]:
        """All keys, those that are no longer valid included, the oldest first."""
        return [_stored(row) for row in await self._readers.fetch(_LIST)]

    async def find(self, key_id: str) -> StoredKey | None:
        row = await self._readers.fetchrow(_FIND, key_id)
        return None if row is None else _stored(row)

    async def revoke(self, key_id: str, *, at: datetime) -> StoredKey:
        """End a key; one that was revoked before stays as it was.

        Raises:
            UnknownKeyError: no key has the id.
        """
        await self._writers.execute(_REVOKE, key_id, at)
        found = await self.find(key_id)
        if found is None:
            raise UnknownKeyError(key_id, [one.id for one in await self.every()])
        return found

    async def used(self, key_ids: Iterable[str], day: date) -> None:
        """Note that keys were used on a day."""
        await self._writers.execute(_USED, list(key_ids), day)


async def any_key(connection: asyncpg.Connection, at: datetime) -> bool:
    """Whether a key is valid at a moment; no, where the schema is older than keys."""
    try:
        return bool(await connection.fetchval(_ANY, at))
    except asyncpg.UndefinedTableError:
        return False


def _stored(row: asyncpg.Record) -> StoredKey:
    patterns = row["instruments"]
    return StoredKey(
        id=row["key_id"],
        terms=Terms(
            name=row["name"],
            scopes=scopes_of(row["scopes"]),
            instruments=None if patterns is None else tuple(patterns),
            quota=row["quota"],
            connections=row["connections"],
            expires_at=row["expires_at"],
        ),
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
        last_used=row["last_used"],
        digest=row["digest"],
    )
