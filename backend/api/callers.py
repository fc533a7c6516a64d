"""Who calls, what they may, and which instruments they see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from starlette.requests import HTTPConnection

from backend.api.streams import instrument_of
from backend.store.keys import StoredKey
from domain.keys import KeyScope, allows
from domain.market import Instrument

LOOPBACK: Final = "loopback"  # who is on this machine, where no key is required there
COMMAND: Final = "command"  # an `alphapulse` command beside the running system
ANYONE: Final = "anyone"  # whoever it is, where keys are waived
UNKNOWN: Final = "unknown"  # in the audit log: who showed no valid key


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls. What it sees is decided here and nowhere else."""

    name: str  # id of a key, or one of the words above
    address: str
    scopes: frozenset[KeyScope]
    instruments: tuple[str, ...] | None = None  # patterns; None: all
    key: StoredKey | None = None

    @property
    def operates(self) -> bool:
        """Whether it is the operator, whom no quota limits."""
        return self.name in {LOOPBACK, COMMAND}

    @property
    def sees_all(self) -> bool:
        """Whether no instrument is hidden from it; then only what tells of all of them at once."""
        return self.instruments is None

    def may(self, scope: KeyScope) -> bool:
        return scope in self.scopes

    def sees(self, instrument: Instrument) -> bool:
        return allows(self.instruments, instrument)

    def streams(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that it may hear: of its instruments; of all at once if it sees all."""
        if self.sees_all:
            return list(names)
        about = ((name, instrument_of(name)) for name in names)
        return [name for name, one in about if one is not None and self.sees(one)]


def operator(name: str, address: str) -> Caller:
    """The operator of this system."""
    return Caller(name=name, address=address, scopes=frozenset(KeyScope))


def anyone(address: str) -> Caller:
    """Who needs no key, where keys are waived: everything may be seen, and nothing changed."""
    return Caller(name=ANYONE, address=address, scopes=frozenset({KeyScope.READ, KeyScope.STREAM}))


def holder(key: StoredKey, address: str) -> Caller:
    """Who holds a key."""
    terms = key.terms
    return Caller(
        name=key.id, address=address, scopes=terms.scopes, instruments=terms.instruments, key=key
    )


def caller_of(request: HTTPConnection) -> Caller:
    """Whom the guard let in."""
    caller: Caller = request.state.caller
    return caller
