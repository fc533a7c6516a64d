"""Stream names: patterns, what they match, and the closest names to one that is unknown."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Final

from domain.errors import nearest
from domain.market import Instrument, Timeframe

CHANNELS = ("candles", "predictions", "signals")
SEGMENTS: Final = 4  # channel, timeframe, exchange, symbol; only the symbol may hold a dot
SYMBOL: Final = 3


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


def instrument_of(stream: str) -> Instrument | None:
    """Whose stream it is; None of one that tells of all instruments.

    >>> instrument_of("signals.1h.binance.BTC/USDT")
    Instrument(exchange='binance', symbol='BTC/USDT')
    >>> instrument_of("gaps") is None
    True
    """
    segments = stream.split(".", SYMBOL)
    return Instrument(segments[2], segments[SYMBOL]) if len(segments) == SEGMENTS else None


class KnownStreams:
    """The streams that exist. Asking for thousands costs little, whatever they are called."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def expand(self, pattern: str) -> list[str]:
        """The streams that `pattern` names, sorted; `*` stands for one whole segment.

        The symbol comes last and may hold `/`, `:` and `.`. `*` alone is every stream.

        >>> known = KnownStreams(["signals.1h.kraken.BTC/USD", "candles.1h.kraken.BTC/USD"])
        >>> known.expand("signals.*.kraken.*")
        ['signals.1h.kraken.BTC/USD']
        """
        if pattern in self._names:
            return [pattern]
        if pattern == "*":
            return sorted(self._names)
        if "*" not in pattern:
            return []
        segments = pattern.split(".", SYMBOL)
        if len(segments) != SEGMENTS:
            return []
        having = [self._having.get(place, frozenset()) for place in enumerate(segments)]
        few, *more = sorted(having, key=len)
        return sorted(few.intersection(*more))

    def closest(self, pattern: str) -> list[str]:
        """Up to three streams that `pattern` may have meant: those of symbols like its own."""
        symbol = pattern.split(".", SYMBOL)[-1]
        symbols = {one for place, one in self._having if place == SYMBOL} - {"*"}
        alike = [self._having[SYMBOL, one] for one in nearest(symbol, sorted(symbols))]
        return nearest(pattern, sorted(set().union(*alike)))

    @cached_property
    def _having(self) -> dict[tuple[int, str], frozenset[str]]:
        """The streams that have a segment at a place; `*` is had by all of four segments."""
        having: dict[tuple[int, str], set[str]] = {}
        for name in self._names:
            segments = name.split(".", SYMBOL)
            places = {(SYMBOL, segments[-1])}  # a name of one word is found by it too
            if len(segments) == SEGMENTS:
                places.update(enumerate(segments))
                places.update((place, "*") for place in range(SEGMENTS))
            for place in places:
                having.setdefault(place, set()).add(name)
        return {place: frozenset(found) for place, found in having.items()}
