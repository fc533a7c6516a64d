"""The nouns of the paper account: on what terms it trades, and where it stands at a close."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from domain.events import Floats, Tick
from domain.market import Timeframe


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the account is given and what its trades cost.

    Attributes:
        capital: at the start, in its currency.
        currency: that it counts in, a quote currency; None: that of most instruments of its
            first close.
        fee_bps: of a side's notional, in basis points.
        slippage_bps: by which a fill is worse than the price, before it is rounded to the tick.
        funding_hours: between two settlements of a perpetual, counted from midnight UTC.
    """

    capital: float = 10_000.0
    currency: str | None = None
    fee_bps: float = 8.0
    slippage_bps: float = 2.0
    funding_hours: int = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FundingBatch(Tick):
    """Topic `funding.due`: what perpetuals settled since the close before a tick's."""

    rate: Floats  # (n,) of the notional, paid by longs; NaN where none was recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountMark:
    """Topic `account.marked`: the account at the prices of a close, one row of `ledger_marks`.

    Amounts are of `currency`, and since the beginning unless they say otherwise:
    equity = capital + realized + unrealized − fees − slippage − funding.
    """

    exchange: str
    timeframe: Timeframe
    at: datetime  # the close
    known_at: datetime  # of the newest candle that it rests on
    currency: str
    capital: float
    equity: float  # now
    realized: float  # of what was left, at the prices of the signals
    unrealized: float  # of what is open now
    fees: float
    slippage: float
    funding: float  # paid; below 0 where more was received
    funding_not_charged: int  # settlements for which no rate was recorded
    traded: float  # notional bought and sold
    trades: int  # signals that were entered
    refused: Mapping[str, int]  # why → signals that were not
    positions: Mapping[str, float]  # symbol → notional now, below 0 for shorts
    mean_exposure: float  # of the notional held, as a share of equity, over the marks
    drawdown: float  # of the equity from its highest, now; above 1 where it owes
    max_drawdown: float
    hold_equity: float  # of an account that holds all instruments in equal parts, now
    hold_max_drawdown: float
