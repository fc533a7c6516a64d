"""API keys: how one is spelt, what it allows, and which instruments it sees."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final

from domain.errors import UnknownNameError, UsageError, shortened
from domain.market import Instrument

_ID: Final = "ap_([0-9a-f]{12})"
_KEY: Final = re.compile(f"{_ID}_([0-9a-f]{{64}})")
_IN_TEXT: Final = re.compile(f"{_ID}_[0-9a-f]+")  # cut short it is still most of a secret


class KeyScope(StrEnum):
    """What a key allows."""

    READ = "read"  # every answer of REST
    STREAM = "stream"  # the socket, and tickets for it
    OPERATE = "operate"  # orders: what is watched, which models serve


class UnknownScopeError(UnknownNameError):
    """A scope that is none of ours."""

    noun = "scope"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as its owner holds it; the store has its id and the digest of its secret."""

    id: str  # public: it names the key in lists, logs and the audit log
    secret: str = field(repr=False)  # 256 random bits, as 64 hexadecimal digits

    @classmethod
    def fresh(cls) -> ApiKey:
        """A key that nobody has."""
        return cls(secrets.token_hex(6), secrets.token_hex(32))

    @classmethod
    def parse(cls, text: str) -> ApiKey | None:
        """The key that `spelt` gave; None where it is none.

        >>> ApiKey.parse("ap_hunter2") is None
        True
        """
        found = _KEY.fullmatch(text)
        return cls(found[1], found[2]) if found else None

    def spelt(self) -> str:
        """`ap_ID_SECRET`, which scanners for secrets can look for."""
        return f"ap_{self.id}_{self.secret}"

    def digest(self) -> bytes:
        """SHA-256 of the secret, 32 bytes.

        A slow hash guards words that can be guessed; of 2^256 random numbers none can.
        """
        return hashlib.sha256(self.secret.encode()).digest()

    def has(self, digest: bytes) -> bool:
        """Whether `digest` is of its secret, in a time that tells nothing."""
        return hmac.compare_digest(self.digest(), digest)


def masked(text: str) -> str:
    """`text` without the secrets of keys in it.

    >>> masked("GET /v1/status?key=ap_0123456789ab_" + 64 * "f")
    'GET /v1/status?key=ap_0123456789ab_***'
    """
    return _IN_TEXT.sub(r"ap_\1_***", text) if "ap_" in text else text


def scopes_of(names: Iterable[str]) -> frozenset[KeyScope]:
    """The scopes of these names.

    Raises:
        UnknownScopeError: one is none of ours.
    """
    found = set()
    for name in names:
        try:
            found.add(KeyScope(name))
        except ValueError:
            raise UnknownScopeError(name, [each.value for each in KeyScope]) from None
    return frozenset(found)


def instrument_patterns(names: Sequence[str]) -> tuple[str, ...]:
    """The patterns of these names, sorted: `EXCHANGE:SYMBOL`, where `*` stands for any letters.

    Raises:
        UsageError: one is none, or there is no name.
    """
    if not names:
        raise UsageError("no instruments are named; leave the flag out for all")
    for name in names:
        exchange, colon, symbol = name.partition(":")
        if not (exchange and colon and symbol) or "/" in exchange or name != name.strip():
            raise UsageError(
                f"{shortened(name)!r} names no instruments; write EXCHANGE:SYMBOL,"
                " as binance:BTC/USDT, binance:* or *:BTC/USDT"
            )
    return tuple(sorted(set(names)))


def allows(patterns: tuple[str, ...] | None, instrument: Instrument) -> bool:
    """Whether an instrument is among those that patterns name; None names all.

    >>> allows(("binance:*", "*:BTC/USD"), Instrument("kraken", "BTC/USDT"))
    False
    """
    if patterns is None:
        return True
    return _any_of(patterns).fullmatch(f"{instrument.exchange}:{instrument.symbol}") is not None


@lru_cache(maxsize=256)
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(_expression, patterns)) or r"(?!)")


def _expression(pattern: str) -> str:
    exchange, _, symbol = pattern.partition(":")
    return f"{_letters(exchange, '[^:]*')}:{_letters(symbol, '.*')}"


def _letters(part: str, anything: str) -> str:
    return anything.join(map(re.escape, part.split("*")))
