"""Keys of callers: compared with the store, and remembered for a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from backend.api.problems import ProblemError
from backend.store.keys import KeyStore, StoredKey
from domain.keys import ApiKey
from domain.market import rfc3339
from domain.ports import Clock

FRESH_S: Final = 1.0  # wall; a key that was revoked is refused so late
_HINT: Final = "send one as `Authorization: Bearer ap_…`; `alphapulse keys create` makes it"


class EndedKeyError(ProblemError):
    """A key that was one: who shows it is known, and refused."""

    def __init__(self, code: str, key_id: str, ended: str) -> None:
        super().__init__(code, f"the key {key_id} {ended}")
        self.key_id = key_id


class Keyring:
    """Whose key it is.

    Args:
        wall: the machine's clock, by which keys expire, whatever the market's says.
        now: seconds of a clock that nobody sets.
    """

    def __init__(self, wall: Clock, now: Callable[[], float] = time.monotonic) -> None:
        self.store: KeyStore | None = None  # until it is open nobody's key is known
        self._wall = wall
        self._now = now
        self._found: dict[str, tuple[float, StoredKey]] = {}
        self._used: set[str] = set()  # today, and not entered yet

    async def owner(self, text: str) -> StoredKey:
        """The valid key that is spelt `text`.

        Raises:
            ProblemError: `unauthorized`, `token_expired`; `starting`, before there is a store.
        """
        key = ApiKey.parse(text)
        if key is None:
            raise unauthorized(f"this is no key; {_HINT}")
        stored = await self._find(key.id)
        if stored is None or not key.has(stored.digest):
            raise unauthorized(f"this key is unknown; {_HINT}")
        self.refuse_ended(stored)
        self._used.add(stored.id)
        return stored

    def refuse_ended(self, key: StoredKey) -> None:
        """See that a key is valid.

        Raises:
            ProblemError: `unauthorized`, `token_expired`.
        """
        if key.revoked_at is not None:
            ended = f"was revoked at {rfc3339(key.revoked_at)}"
            raise EndedKeyError("unauthorized", key.id, ended)
        if key.terms.expires_at is not None and key.expired(self._wall.now()):
            ended = f"expired at {rfc3339(key.terms.expires_at)}"
            raise EndedKeyError("token_expired", key.id, ended)

    async def again(self, key: StoredKey) -> None:
        """See that a key which was valid still is.

        Raises:
            ProblemError: as `owner`.
        """
        stored = await self._find(key.id)
        if stored is None:
            raise unauthorized(f"the key {key.id} is gone")
        self.refuse_ended(stored)

    async def note_used(self) -> None:
        """Enter the day of keys that were used since the last time."""
        used = self._used.copy()
        if used and self.store is not None:
            await self.store.used(used, self._wall.now().date())
            self._used -= used

    async def _find(self, key_id: str) -> StoredKey | None:
        at = self._now()
        if (known := self._found.get(key_id)) is not None and at - known[0] < FRESH_S:
            return known[1]
        if self.store is None:
            raise ProblemError("starting", "still starting; no key is known yet")
        stored = await self.store.find(key_id)
        if stored is None:  # what anybody may make up is not remembered
            self._found.pop(key_id, None)
        else:
            self._found[key_id] = (at, stored)
        return stored


def unauthorized(detail: str = f"a key is needed; {_HINT}") -> ProblemError:
    """The problem of who shows nothing that opens the door."""
    return ProblemError("unauthorized", detail)
