"""What is watched and in what slices of time: instruments, timeframes, horizons."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from domain.errors import UnknownTimeframeError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
FURTHEST = 100_000  # candles that a horizon may have
LATEST_MS = 253_370_764_800_000  # the year 9999: no later time can be told
Hole = tuple[int, int]  # first open time that is missing, first that is there again, in ms


def to_ms(moment: datetime) -> int:
    """Milliseconds since the epoch; `moment` must be UTC-aware.

    >>> to_ms(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000
    """
    return (moment - EPOCH) // MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """The UTC moment `milliseconds` after the epoch.

    >>> from_ms(1500).isoformat()
    '1970-01-01T00:00:01.500000+00:00'
    """
    return EPOCH + timedelta(milliseconds=int(milliseconds))


def rfc3339(moment: datetime) -> str:
    """The one spelling of a time outside the process: UTC, milliseconds, `Z`.

    >>> rfc3339(from_ms(0))
    '1970-01-01T00:00:00.000Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Timeframe(StrEnum):
    """A candle's length, spelt as ccxt spells it."""

    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H4 = "4h"
    D1 = "1d"

    @classmethod
    def parse(cls, text: str) -> Timeframe:
        """The timeframe spelt `text`.

        Raises:
            UnknownTimeframeError: `text` is none of them; the message lists them.
        """
        try:
            return cls(text)
        except ValueError:
            raise UnknownTimeframeError(text, [member.value for member in cls]) from None

    @property
    def ms(self) -> int:
        return _LENGTHS_MS[self]

    @property
    def duration(self) -> timedelta:
        return timedelta(milliseconds=self.ms)

    def open_of(self, moment: datetime) -> datetime:
        """The open time of the candle that contains `moment`.

        >>> Timeframe.H1.open_of(from_ms(3_700_000)) == from_ms(3_600_000)
        True
        """
        milliseconds = to_ms(moment)
        return from_ms(milliseconds - milliseconds % self.ms)


_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LENGTHS_MS = {one: int(one.value[:-1]) * _UNITS_MS[one.value[-1]] for one in Timeframe}


@dataclass(frozen=True, slots=True, order=True)
class Instrument:
    """One market of one exchange, in ccxt's spelling; the ordering key everywhere."""

    exchange: str
    symbol: str

    @classmethod
    def parse(cls, text: str) -> Instrument:
        """`binance:BTC/USDT` or `binanceusdm:BTC/USDT:USDT`.

        >>> Instrument.parse("binanceusdm:BTC/USDT:USDT").symbol
        'BTC/USDT:USDT'
        """
        exchange, _, symbol = text.partition(":")
        return cls(exchange, symbol)

    @property
    def base(self) -> str:
        return self.symbol.partition("/")[0]

    @property
    def quote(self) -> str:
        return self.symbol.partition("/")[2].partition(":")[0]

    @property
    def kind(self) -> str:
        """`swap` when the symbol names a settlement currency, else `spot`."""
        return "swap" if ":" in self.symbol else "spot"

    @property
    def perpetual(self) -> Instrument:
        """The linear perpetual of the same pair, whether or not the exchange lists it.

        >>> str(Instrument("bybit", "BTC/USDT").perpetual)
        'bybit:BTC/USDT:USDT'
        """
        if self.kind == "swap":
            return self
        return Instrument(self.exchange, f"{self.symbol}:{self.quote}")

    def __str__(self) -> str:
        return f"{self.exchange}:{self.symbol}"


SeriesKey = tuple[Instrument, Timeframe]  # of a series of candles


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What an exchange says of an instrument; sizes are None where it does not say."""

    instrument: Instrument
    tick_size: float | None = None  # quote currency
    lot_size: float | None = None  # base currency
    min_notional: float | None = None  # quote currency


def on_grid(value: float, step: float | None, how: Callable[[float], int] = round) -> float:
    """`value` on the grid of `step`, spelt with the step's own decimals; as it is without one.

    What is on the grid but for the error of a float stays there, whatever the way of rounding.

    >>> on_grid(0.3, 0.1, math.floor), on_grid(1.23456e-5, 1e-8, math.ceil)
    (0.3, 1.235e-05)
    """
    if not step:
        return value
    steps = value / step
    near = round(steps)
    if abs(steps - near) > 1e-12 * max(1.0, abs(steps)):
        near = how(steps)
    return round(near * step, max(0, 2 - math.floor(math.log10(step))))


@dataclass(frozen=True, slots=True, order=True)
class Horizon:
    """How far ahead a prediction looks: `steps` whole timeframes, in time."""

    timeframe: Timeframe
    steps: int

    @property
    def duration(self) -> timedelta:
        return self.timeframe.duration * self.steps

    def ends_at(self, as_of: datetime) -> datetime:
        return as_of + self.duration

    def __str__(self) -> str:
        return f"{self.timeframe}x{self.steps}"
