"""Single trades, as an exchange tells them, and what candles are made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from domain.market import Instrument


class Side(StrEnum):
    """Who was in a hurry: the side that took what the other had offered."""

    BUY = "buy"
    SELL = "sell"


class MadeOf(StrEnum):
    """What a candle was put together from."""

    EXCHANGE = "exchange"  # told by the exchange as it is
    CANDLES = "candles"  # of a shorter timeframe
    TRADES = "trades"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One trade, or what an exchange puts together of one order at one price."""

    instrument: Instrument
    trade_id: str
    time_ms: int  # by the exchange's clock
    price: float
    amount: float  # base currency
    side: Side | None = None  # of the taker; None where the exchange does not tell
    number: int | None = None  # of an instrument's trades without a gap; None where none is given

    @property
    def notional(self) -> float:
        """In quote currency."""
        return self.price * self.amount


@dataclass(frozen=True, slots=True, kw_only=True)
class TradesTold:
    """Trades, and the span of time in which they are all that there were."""

    trades: tuple[Trade, ...]
    from_ms: int
    to_ms: int  # not included
