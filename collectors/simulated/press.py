"""What the press and the traders of the synthetic market say: made up from a seed.

It has no relation to the market's prices, nor to the signal planted in them: what learns from it
learns noise.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from collectors.simulated.instruments import default_symbols
from domain.events import Floats, Ints

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
FUNDING_MS: Final = 8 * HOUR_MS
ARTICLE_MS: Final = 3 * HOUR_MS  # one article in each

_OF = default_symbols(12)  # that it writes of, whatever is listed
_WHO = ("funds", "miners", "retail traders", "banks", "market makers", "developers")
_WHAT = ("the upgrade", "new rules", "record volumes", "exchange listings", "rates", "options")
_SAID = (  # from bad to good
    "{who} dump {asset} in panic as {what} disappoint",
    "{asset} slumps after {who} warn of losses over {what}",
    "{who} wait for {what} while {asset} trades sideways",
    "{asset} gains as {who} welcome {what}",
    "{asset} rallies to new highs, {who} bullish on {what}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """One article of the feed."""

    number: int  # of its `ARTICLE_MS` since 1970
    published_ms: int
    title: str
    summary: str

    @property
    def identity(self) -> str:
        return f"synthetic-{self.number}"

    @property
    def url(self) -> str:
        return f"https://news.invalid/{self.number}"  # RFC 2606: leads nowhere


class Press:
    """Any moment of it, in any order: everything follows from the seed and the time."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def articles(self, since_ms: int, until_ms: int) -> list[Article]:
        """Those published with since < time ≤ until, oldest first."""
        numbers = range(since_ms // ARTICLE_MS, until_ms // ARTICLE_MS + 1)
        found = (_article(self._seed, number) for number in numbers)
        return [one for one in found if since_ms < one.published_ms <= until_ms]

    def fear_greed(self, days_ms: Ints) -> Floats:
        """The index of days, 0 … 100, whole."""
        return np.round(50 + 40 * self._wave("fear_greed", days_ms / DAY_MS, (41, 13, 5)))

    def funding_rate(self, symbol: str, times_ms: Ints) -> Floats:
        """In force at these times."""
        slots = times_ms // FUNDING_MS
        return 1e-4 + 3e-4 * self._wave(f"funding {symbol}", slots, (61, 17, 4))

    def open_interest(self, symbol: str, times_ms: Ints) -> Floats:
        """Base currency."""
        size = 1e4 + zlib.crc32(symbol.encode()) % 10**6
        return size * np.exp(0.4 * self._wave(f"open {symbol}", times_ms / HOUR_MS, (301, 47, 7)))

    def long_short_ratio(self, symbol: str, hours_ms: Ints) -> Floats:
        """Of accounts."""
        return np.exp(0.5 * self._wave(f"ratio {symbol}", hours_ms / HOUR_MS, (173, 29, 5)))

    def _wave(self, name: str, times: Floats | Ints, periods: tuple[float, ...]) -> Floats:
        """A sum of sines with seeded phases, within −1 … 1."""
        phases = np.random.default_rng([self._seed, zlib.crc32(name.encode())]).random(len(periods))
        turns = np.divide.outer(np.asarray(times, np.float64), periods) + phases
        return np.asarray(np.sin(2 * np.pi * turns).mean(axis=-1))


@cache
def _article(seed: int, number: int) -> Article:
    draws = np.random.default_rng([seed, number, zlib.crc32(b"press")])
    symbol = _OF[draws.integers(len(_OF))]
    words = {
        "asset": "$" + symbol.partition("/")[0],
        "who": _WHO[draws.integers(len(_WHO))],
        "what": _WHAT[draws.integers(len(_WHAT))],
    }
    title = _SAID[draws.integers(len(_SAID))].format(**words)
    minute = int(draws.integers(ARTICLE_MS // MINUTE_MS))
    return Article(
        number=number,
        published_ms=number * ARTICLE_MS + minute * MINUTE_MS,
        title=title[0].upper() + title[1:],
        summary=f"Synthetic article {number}: nobody wrote this, and nothing happened.",
    )
