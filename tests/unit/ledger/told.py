"""Signals and candles for a ledger, in which every field has a default."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from domain.account import AccountMark, FundingBatch
from domain.events import CandleBatch, Signal, SignalBatch
from domain.market import Instrument, Timeframe, to_ms
from services.ledger.ledger import Ledger
from tests.doubles import START

BTC = Instrument("binance", "BTC/USDT")
ETH = Instrument("binance", "ETH/USDT")
PEPE = Instrument("binance", "PEPE/USDT")
PERPETUAL = Instrument("binance", "BTC/USDT:USDT")
H1 = Timeframe.H1


def close(tick: int) -> datetime:
    return START + tick * H1.duration


def candles(tick: int, prices: Mapping[Instrument, float]) -> CandleBatch:
    """Candles of one price each."""
    names = tuple(sorted(prices))
    price = np.array([prices[name] for name in names])
    return CandleBatch(
        exchange=names[0].exchange,
        timeframe=H1,
        as_of=close(tick),
        instruments=names,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=np.ones(len(names)),
        known_at=close(tick),
        revision=np.ones(len(names), dtype=np.int64),
    )


def signal(tick: int, instrument: Instrument = BTC, **changes: Any) -> Signal:
    """One that was decided at `tick` and has been entered at 100."""
    fields: dict[str, Any] = {
        "instrument": instrument,
        "timeframe": H1,
        "horizon": 4,
        "as_of_ms": to_ms(close(tick)),
        "revision": 1,
        "side": "long",
        "strength": 0.3,
        "gate": "",
        "size_fraction": 0.1,
        "expires_ms": to_ms(close(tick + 4)),
        "model": "served",
        "version": "abc",
        "made_ms": to_ms(close(tick)),
        "status": "active",
        "entry_price": 100.0,
    }
    return Signal(**{**fields, **changes})


def told(tick: int, *signals: Signal) -> SignalBatch:
    return SignalBatch(
        exchange="binance",
        timeframe=H1,
        as_of=close(tick),
        instruments=tuple(one.instrument for one in signals),
        event="updated",
        signals=signals,
    )


def funding(tick: int, rates: Mapping[Instrument, float]) -> FundingBatch:
    return FundingBatch(
        exchange="binance",
        timeframe=H1,
        as_of=close(tick),
        instruments=tuple(rates),
        rate=np.array(list(rates.values())),
    )


def marked(
    ledger: Ledger, tick: int, prices: Mapping[Instrument, float], *signals: Signal
) -> AccountMark:
    """The mark at `tick`, after `signals` were entered or left."""
    list(ledger.on_signals(told(tick, *signals)))
    (mark,) = ledger.on_candles(candles(tick, prices))
    return mark
