"""Which symbols are asked of which exchange: `kraken:BTC/USD` of one, `BTC/USD` of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from domain.errors import UnknownExchangeError, UnknownSymbolError
from domain.market import Listing
from domain.ports import Exchange


def named(text: str) -> tuple[str | None, str]:
    """The exchange that a name is of, if it says one, and the symbol.

    >>> named("kraken:BTC/USD"), named("BTC/USDT:USDT")
    (('kraken', 'BTC/USD'), (None, 'BTC/USDT:USDT'))
    """
    exchange, colon, symbol = text.partition(":")
    return (exchange, symbol) if colon and "/" not in exchange else (None, text)


def asked_of(exchange_id: str, names: Iterable[str]) -> list[str]:
    """The symbols that are asked of one exchange, each once.

    >>> asked_of("kraken", ["BTC/USD", "kraken:BTC/USD", "binance:BTC/USDT"])
    ['BTC/USD']
    """
    every = map(named, names)
    return list(dict.fromkeys(symbol for one, symbol in every if one in (None, exchange_id)))


def refuse_strangers(names: Iterable[str], exchange_ids: Sequence[str]) -> None:
    """See that each name is of one of the exchanges.

    Raises:
        UnknownExchangeError: it is of another.
    """
    for exchange_id, _ in map(named, names):
        if exchange_id is not None and exchange_id not in exchange_ids:
            raise UnknownExchangeError(exchange_id, exchange_ids)


async def listed(
    exchange: Exchange, symbols: Iterable[str]
) -> tuple[list[Listing], dict[str, UnknownSymbolError]]:
    """What an exchange lists of `symbols`, and what it says of the others.

    Raises:
        ExchangeError: it does not answer.
    """
    found: list[Listing] = []
    lacking: dict[str, UnknownSymbolError] = {}
    for symbol in symbols:
        try:
            found += await exchange.listings([symbol])
        except UnknownSymbolError as error:
            lacking[symbol] = error
    return found, lacking


def refuse_unlisted(
    names: Iterable[str], lacking: Mapping[str, Mapping[str, UnknownSymbolError]]
) -> None:
    """See that somebody lists each name.

    Args:
        names: as they were asked.
        lacking: what each exchange said of the symbols that it does not list.

    Raises:
        UnknownSymbolError: nobody does, with what is near on those that were asked.
    """
    for exchange_id, symbol in map(named, names):
        asked = [exchange_id] if exchange_id else list(lacking)
        errors = [lacking[one][symbol] for one in asked if symbol in lacking.get(one, {})]
        if errors and len(errors) == len(asked):
            raise errors[0] if len(errors) == 1 else nowhere(symbol, errors)


def nowhere(symbol: str, errors: Sequence[UnknownSymbolError]) -> UnknownSymbolError:
    """The error for a symbol that each of several exchanges said no to."""
    near = {one for error in errors for one in error.suggestions}
    return UnknownSymbolError(symbol, near) if near else errors[0]
