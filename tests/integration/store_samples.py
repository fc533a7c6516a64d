"""Small true-to-type events for the tests of the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from domain.events import (
    CandleBatch,
    FeatureBatch,
    FeatureSet,
    LabelBatch,
    Origin,
    OutcomeBatch,
    PredictionBatch,
    Role,
    Signal,
    SignalBatch,
    Target,
)
from domain.market import Instrument, Timeframe, to_ms

START = datetime(2024, 1, 1, tzinfo=UTC)
INSTRUMENTS = tuple(Instrument("binance", f"{base}/USDT") for base in ("ADA", "BTC", "ETH"))
FEATURES = FeatureSet(
    name="ohlcv",
    version=1,
    columns=("ret_1", "rsi_14", "atr_14"),
    model_columns=("ret_1",),
    warmup_bars=14,
)
ONES = np.ones(len(INSTRUMENTS), dtype=np.int64)


def at(tick: int) -> datetime:
    return START + timedelta(hours=tick)


def head(tick: int) -> dict[str, Any]:
    return {
        "exchange": "binance",
        "timeframe": Timeframe.H1,
        "as_of": at(tick),
        "instruments": INSTRUMENTS,
    }


def candles(tick: int, *, close: float = 101.5, revision: int = 1) -> CandleBatch:
    full = np.full(len(INSTRUMENTS), 1.0)
    return CandleBatch(
        **head(tick),
        open=100 * full,
        high=103 * full,
        low=99 * full,
        close=close * full,
        volume=np.array([1.5, 0.0, 2.25]),
        known_at=at(tick) + timedelta(milliseconds=80),
        revision=revision * ONES,
    )


def features(tick: int, *, revision: int = 1, value: float = 0.25) -> FeatureBatch:
    values = np.full((len(INSTRUMENTS), 3), value)
    values[0, 1] = np.nan
    values[:, 2] = np.arange(3) / 3
    return FeatureBatch(
        **head(tick),
        feature_set=FEATURES,
        values=values,
        coverage=np.array([0.5, 1.0, 1.0]),
        revision=revision * ONES,
        candle_revision=revision * ONES,
        known_at=at(tick) + timedelta(milliseconds=90),
    )


def predictions(
    tick: int, *, role: Role = Role.CHAMPION, model: str = "served", up: float = 0.5
) -> PredictionBatch:
    probabilities = np.tile([0.25, 0.75 - up, up], (len(INSTRUMENTS), 1))
    served = role is Role.CHAMPION
    return PredictionBatch(
        **head(tick),
        horizon=4,
        role=role,
        target=Target.SERVED if served else Target.DIRECTION,
        model=model,
        version="ab12",
        members={"logistic.direction": "1"} if served else {},
        made_at=at(tick) + timedelta(milliseconds=100),
        origin=Origin.LIVE,
        revision=ONES,
        feature_set=FEATURES.id,
        feature_revision=ONES,
        probabilities=probabilities,
        quantiles=np.tile([-0.01, 0.0, 0.01], (3, 1)) if served else np.full((3, 3), np.nan),
        volatility=np.array([0.01, 0.02, 0.03]) if served else np.full(3, np.nan),
        dissimilarity=np.array([0.5, np.nan, 2.0]) if served else None,
        degraded=("", "no_skill.direction,stale", ""),
    )


def signal(tick: int, place: int = 1, **changes: object) -> Signal:
    fields: dict[str, Any] = {
        "instrument": INSTRUMENTS[place],
        "timeframe": Timeframe.H1,
        "horizon": 4,
        "as_of_ms": to_ms(at(tick)),
        "revision": 1,
        "side": "long",
        "strength": 0.25,
        "gate": "",
        "size_fraction": 0.1,
        "expires_ms": to_ms(at(tick + 4)),
        "model": "served",
        "version": "ab12",
        "made_ms": to_ms(at(tick)) + 100,
        "status": "pending",
        "sigma": 0.02,
    }
    return Signal(**{**fields, **changes})


def signals(tick: int, *found: Signal, event: str = "opened") -> SignalBatch:
    chosen = found or tuple(signal(tick, place) for place in range(3))
    return SignalBatch(**head(tick), event=event, signals=chosen)


def labels(tick: int, *, known: bool = True, void: bool = False) -> LabelBatch:
    nan = np.full(3, np.nan)
    moment = to_ms(at(tick))
    hour = Timeframe.H1.ms
    return LabelBatch(
        exchange="binance",
        timeframe=Timeframe.H1,
        horizon=4,
        instruments=INSTRUMENTS,
        as_of_ms=np.full(3, moment),
        revision=ONES,
        direction_known_ms=np.full(3, 0 if void else moment + 2 * hour),
        known_ms=np.full(3, moment + 4 * hour if known else 0),
        outcome=nan if void else np.array([-1.0, 0.0, 1.0]),
        weight=nan if void else np.array([1.0, 0.0, 1.0]),
        log_return=np.array([-0.01, 0.0, 0.01]) if known and not void else nan,
        realized_volatility=np.full(3, 0.02) if known and not void else nan,
        uniqueness=np.full(3, 0.25) if known and not void else nan,
    )


def outcomes(tick: int, *, role: Role = Role.CHAMPION, model: str = "served") -> OutcomeBatch:
    losses = np.tile([0.9, 0.5, 0.001, 0.2, 1.0], (3, 1))
    losses[1, 3] = np.nan
    return OutcomeBatch(
        exchange="binance",
        timeframe=Timeframe.H1,
        horizon=4,
        role=role,
        model=model,
        version="ab12",
        scored_at=at(tick + 4),
        instruments=INSTRUMENTS,
        as_of_ms=np.full(3, to_ms(at(tick))),
        revision=ONES,
        origin=Origin.LIVE,
        losses=losses,
    )
