"""Stream names: patterns, what they match, and the closest names to one that is unknown."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from domain.market import Instrument, Timeframe

CHANNELS = ("candles", "predictions", "signals")


def names(instruments: Iterable[Instrument], timeframes: Iterable[Timeframe]) -> list[str]:
    """The streams of watched instruments, `<channel>.<timeframe>.<exchange>.<SYMBOL>`.

    >>> names([Instrument("binance", "BTC/USDT")], [Timeframe.H1])[2]
    'signals.1h.binance.BTC/USDT'
    """
    slices = tuple(timeframes)
    return [
        f"{channel}.{timeframe}.{instrument.exchange}.{instrument.symbol}"
        for instrument in instruments
        for channel in CHANNELS
        for timeframe in slices
    ]


def expand(pattern: str, known: Collection[str]) -> list[str]:
    """The known streams that `pattern` names, sorted; `*` stands for one whole segment.

    The symbol comes last and may hold `/`, `:` and `.`. `*` alone is every stream.

    >>> expand("signals.*.kraken.*", ["signals.1h.kraken.BTC/USD", "candles.1h.kraken.BTC/USD"])
    ['signals.1h.kraken.BTC/USD']
    """
    if "*" not in pattern:
        return [pattern] if pattern in known else []
    wanted = pattern.split(".", 3)
    return sorted(
        stream for stream in known if pattern == "*" or _matches(wanted, stream.split(".", 3))
    )


def _matches(wanted: list[str], segments: list[str]) -> bool:
    return len(wanted) == len(segments) and all(
        want in ("*", segment) for want, segment in zip(wanted, segments, strict=True)
    )


def closest(pattern: str, known: Collection[str]) -> list[str]:
    """Up to three known streams that `pattern` may have meant."""
    return difflib.get_close_matches(pattern, known, n=3, cutoff=0.5)
