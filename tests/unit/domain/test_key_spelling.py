"""Keys are spelt one way, hide what they are, and see what their patterns name."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import UsageError
from domain.keys import (
    ApiKey,
    KeyScope,
    UnknownScopeError,
    allows,
    instrument_patterns,
    masked,
    scopes_of,
)
from domain.market import Instrument

NAMES = st.text(alphabet="abc", min_size=1, max_size=3)


def test_a_key_is_read_as_it_was_spelt() -> None:
    key = ApiKey.fresh()

    assert ApiKey.parse(key.spelt()) == key
    assert len(key.secret) * 4 == 256
    assert ApiKey.fresh() != key


@pytest.mark.parametrize("change", [str.upper, lambda text: text[:-1], lambda text: f"{text}0"])
def test_what_is_not_quite_a_key_is_none(change: object) -> None:
    assert callable(change)
    assert ApiKey.parse(change(ApiKey.fresh().spelt())) is None


def test_a_key_is_known_by_the_digest_of_its_secret_alone() -> None:
    key = ApiKey.fresh()

    assert key.digest() == hashlib.sha256(key.secret.encode()).digest()
    assert key.has(key.digest())
    assert not ApiKey(key.id, ApiKey.fresh().secret).has(key.digest())


def test_a_key_that_is_printed_by_mistake_does_not_tell_its_secret() -> None:
    key = ApiKey.fresh()

    assert key.secret not in repr(key)
    assert key.secret not in str(key)


@given(before=st.text(), after=st.text(alphabet=" /&?\n'…"), length=st.integers(1, 64))
def test_no_text_tells_the_secret_of_a_key_nor_most_of_it(
    before: str, after: str, length: int
) -> None:
    key = ApiKey("0123456789ab", "f" * length)

    told = masked(f"{before}{key.spelt()}{after}")

    assert told == f"{masked(before + 'ap_0123456789ab_f')}{after}"
    assert "_f" not in told.removeprefix(before)


@pytest.mark.parametrize(
    ("patterns", "seen"),
    [
        (("binance:BTC/USDT",), {"binance:BTC/USDT"}),
        (("binance:*",), {"binance:BTC/USDT", "binance:BTC/USDT:USDT", "binance:ETH/USDT"}),
        (("*:BTC/USDT",), {"binance:BTC/USDT", "kraken:BTC/USDT"}),
        (("*:BTC/*",), {"binance:BTC/USDT", "binance:BTC/USDT:USDT", "kraken:BTC/USDT"}),
        (("kraken:*", "*:ETH/USDT"), {"kraken:BTC/USDT", "binance:ETH/USDT"}),
        (("b.nance:*", "binance:btc/usdt"), set()),
        (("bin*:*USDT:USDT",), {"binance:BTC/USDT:USDT"}),
    ],
)
def test_a_pattern_sees_what_it_names(patterns: tuple[str, ...], seen: set[str]) -> None:
    listed = ("binance:BTC/USDT", "binance:BTC/USDT:USDT", "binance:ETH/USDT", "kraken:BTC/USDT")

    named = {one for one in listed if allows(patterns, Instrument(*one.split(":", 1)))}

    assert named == seen
    assert allows(None, Instrument("binance", "BTC/USDT"))
    assert not allows((), Instrument("binance", "BTC/USDT"))


@given(exchange=NAMES, symbol=NAMES, other=NAMES)
def test_a_pattern_of_one_exchange_sees_nothing_of_another(
    exchange: str, symbol: str, other: str
) -> None:
    assert allows((f"{exchange}:*",), Instrument(exchange, symbol))
    assert allows((f"{exchange}:*",), Instrument(other, symbol)) == (other == exchange)


@pytest.mark.parametrize("name", ["BTC/USDT", "binance:", ":BTC/USDT", "", " a:b", "BTC/USDT:USDT"])
def test_what_names_no_instruments_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="EXCHANGE:SYMBOL"):
        instrument_patterns([name])
    with pytest.raises(UsageError, match="no instruments are named"):
        instrument_patterns([])


def test_scopes_are_named_or_the_nearest_is() -> None:
    assert scopes_of(["read", "operate"]) == {KeyScope.READ, KeyScope.OPERATE}
    with pytest.raises(UnknownScopeError, match="unknown scope 'reed'; nearest: read"):
        scopes_of(["reed"])
