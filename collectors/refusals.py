"""Symbols that an exchange does not serve: delisted, or called otherwise now."""

from __future__ import annotations

from collections.abc import Container, Iterable

from domain.errors import ExchangeError, UnknownSymbolError

# Currencies that exchanges have renamed one for one; with another ratio it is another asset.
RENAMED = {
    "AGI": "AGIX",
    "BCC": "BCH",
    "BCHABC": "BCH",
    "EOS": "A",
    "FTM": "S",
    "GAL": "G",
    "KLAY": "KAIA",
    "MATIC": "POL",
    "NANO": "XNO",
    "RNDR": "RENDER",
    "TOMO": "VIC",
}


class UnlistedError(ExchangeError):
    """The exchange does not serve an instrument any more: delisted or renamed."""


class RenamedSymbolError(UnknownSymbolError):
    """A symbol under an old name, with the one that the exchange lists."""

    def __init__(self, symbol: str, now: str, exchange: str) -> None:
        super().__init__(symbol, [now])
        self.suggestions = [now]
        old, new = symbol.partition("/")[0], now.partition("/")[0]
        self.args = (f"{exchange} lists no {symbol} any more: {old} is {new} now; ask for {now}",)


def unknown(symbol: str, markets: Iterable[str], exchange: str) -> UnknownSymbolError:
    """The error for a symbol that is not among `markets`.

    >>> str(unknown("MATIC/USDT", ["POL/USDT"], "binance"))
    'binance lists no MATIC/USDT any more: MATIC is POL now; ask for POL/USDT'
    """
    listed = markets if isinstance(markets, Container) else set(markets)
    base, slash, rest = symbol.partition("/")
    now = f"{RENAMED.get(base, base)}{slash}{rest}"
    if base in RENAMED and now in listed:
        return RenamedSymbolError(symbol, now, exchange)
    return UnknownSymbolError(symbol, markets)
