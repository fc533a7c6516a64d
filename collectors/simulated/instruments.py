"""What the synthetic market lists: symbols, first prices, price steps and character."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

# Symbol, first price in quote currency, volatility and market loading relative to the others.
_KNOWN: dict[str, tuple[float, float, float]] = {
    "BTC/USDT": (60_000.0, 0.75, 0.62),
    "ETH/USDT": (3_000.0, 0.90, 0.60),
    "BNB/USDT": (550.0, 0.85, 0.52),
    "SOL/USDT": (150.0, 1.15, 0.55),
    "XRP/USDT": (0.60, 1.00, 0.50),
    "ADA/USDT": (0.45, 1.05, 0.52),
    "DOGE/USDT": (0.12, 1.20, 0.48),
    "AVAX/USDT": (35.0, 1.15, 0.52),
    "LINK/USDT": (15.0, 1.10, 0.50),
    "DOT/USDT": (7.0, 1.05, 0.52),
    "LTC/USDT": (80.0, 0.95, 0.50),
    "TRX/USDT": (0.11, 0.80, 0.40),
}
PRICE_DIGITS = 6  # significant digits that a first price is quoted in, at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Character:
    """What makes one instrument of the synthetic market differ from another."""

    symbol: str
    key: int  # seeds its draws: its candles are the same whatever else is listed
    price: float  # first price, quote currency
    decimals: int  # of prices
    volatility: float  # multiple of the market's
    loading: float  # correlation of its shocks with the market factor, 0-1
    turnover: float  # mean per hour, quote currency

    @property
    def tick_size(self) -> float:
        return float(f"1e-{self.decimals}")


def default_symbols(count: int) -> tuple[str, ...]:
    """The first `count` symbols that a synthetic market lists.

    >>> default_symbols(2)
    ('BTC/USDT', 'ETH/USDT')
    """
    names = [*_KNOWN, *(f"SIM{number:03d}/USDT" for number in range(len(_KNOWN), count))]
    return tuple(names[:count])


def character(symbol: str) -> Character:
    """The character of `symbol`: listed above, or drawn from its name."""
    key = zlib.crc32(symbol.encode())
    share = (key % 10_007) / 10_007  # 0-1, fixed by the name
    drawn = (10.0 ** (4 * share - 1), 0.8 + 0.4 * share, 0.45 + 0.1 * share)
    price, volatility, loading = _KNOWN.get(symbol, drawn)
    return Character(
        symbol=symbol,
        key=key,
        price=price,
        decimals=price_decimals(price),
        volatility=volatility,
        loading=loading,
        turnover=2e6 * 10.0 ** (1.5 * share),
    )


def price_decimals(price: float) -> int:
    """Decimals that give `price` its significant digits, 2 to 8.

    >>> price_decimals(60_000.0), price_decimals(0.12)
    (2, 6)
    """
    return min(8, max(2, PRICE_DIGITS - math.ceil(math.log10(price))))
