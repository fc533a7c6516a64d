"""The nouns that travel, as batches: arrays across the instruments of one tick.

A tick is one (exchange, timeframe, close time). Row i of every array belongs to
`instruments[i]`; instruments are sorted. NaN inside an array means «not known» and
becomes NULL in the store and null in JSON; it never stands for a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.market import Hole, Instrument, Timeframe
from domain.past import Past
from domain.trades import MadeOf

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LARGEST = 1e12  # no unit-free feature comes near it; its square is still finite

QUANTILE_LEVELS = (0.1, 0.5, 0.9)
LOSSES = ("log_loss", "brier", "pinball", "qlike", "covered")  # columns of OutcomeBatch.losses
_TIMES = ("as_of_ms", "direction_known_ms", "known_ms")  # arrays of a label, as all of _TRUTH
_TRUTH = (*_TIMES, "outcome", "weight", "log_return", "realized_volatility", "uniqueness")


class Target(StrEnum):
    """What a row forecasts; `served` is the composition that users are given."""

    DIRECTION = "direction"
    QUANTILES = "quantiles"
    VOLATILITY = "volatility"
    SERVED = "served"


class Role(StrEnum):
    """A forecaster's standing: the served row, a part of it, or one on trial."""

    CHAMPION = "champion"
    MEMBER = "member"
    CHALLENGER = "challenger"


class Origin(StrEnum):
    """When a prediction was made: before as_of + 1 candle, before its end, or afterwards."""

    LIVE = "live"
    LATE = "late"
    BACKTEST = "backtest"


def origin_of(made_at: datetime, as_of: datetime, timeframe: Timeframe, horizon: int) -> Origin:
    """Live until one candle after `as_of`, late until the horizon ends, backtest afterwards."""
    if made_at < as_of + timeframe.duration:
        return Origin.LIVE
    return Origin.LATE if made_at < as_of + horizon * timeframe.duration else Origin.BACKTEST


class Source(StrEnum):
    """The way a candle came in."""

    LIVE = "live"
    BACKFILL = "backfill"
    REPAIR = "repair"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """One version of one candle as an exchange told it.

    Versions of one candle are ordered by `rank`, never by arrival.
    """

    instrument: Instrument
    timeframe: Timeframe
    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float  # base currency
    trades: int | None = None
    closed: bool = True
    confirmed: bool = False  # by REST
    event_ms: int = 0  # exchange's own time of this version; 0 where it gives none
    source: Source = Source.LIVE
    made_of: MadeOf = MadeOf.EXCHANGE

    @property
    def close_ms(self) -> int:
        return self.open_ms + self.timeframe.ms


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tick:
    """The common head of every batch: which exchange, timeframe and close time."""

    exchange: str
    timeframe: Timeframe
    as_of: datetime
    instruments: tuple[Instrument, ...]

    def __len__(self) -> int:
        return len(self.instruments)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CandleBatch(Tick):
    """Topic `candles`: the closed candles of one tick, arrays of shape (n,)."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats  # base currency
    known_at: datetime
    revision: Ints  # of each candle, from 1
    source: Source = Source.LIVE
    late: bool = False  # these came after the tick's cross-section was drawn
    told: tuple[Candle, ...] = ()  # the versions as the exchange told them, where kept
    holes: Mapping[Instrument, Sequence[Hole]] = field(default_factory=dict)  # that may be filled
    opening: int = 0  # that of its panel it belongs to, where rooms run apart

    def came_at(self, moment: datetime) -> CandleBatch:
        """These candles as known from `moment`, or from their close where our clock is behind."""
        return replace(self, known_at=max(moment, self.as_of))


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSet:
    """A named, versioned list of columns and how many candles they need.

    `columns` are stored and served; `model_columns` is the part without price or
    volume units, which models read.
    """

    name: str
    version: int
    columns: tuple[str, ...]
    model_columns: tuple[str, ...]
    warmup_bars: int

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SentimentBatch(Tick):
    """What sources told of the instruments of a tick; it travels with the tick's features."""

    feature_set: FeatureSet
    values: Floats  # (n, len(feature_set.columns)); NaN where nothing vouches for a value
    revision: Ints  # (n,)
    known_at: datetime
    status: Mapping[str, str]  # source → how it was doing; empty: none was asked, no rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureBatch(Tick):
    """Topic `features`: one row of the feature set for each instrument of the tick."""

    feature_set: FeatureSet
    values: Floats  # (n, len(feature_set.columns))
    coverage: Floats  # (n,) share of the last warmup_bars candles that exist, 0–1
    revision: Ints  # (n,)
    candle_revision: Ints  # (n,)
    known_at: datetime
    told: SentimentBatch | None = None

    def column(self, name: str) -> Floats:
        """One column, shape (n,)."""
        column: Floats = self.values[:, self.feature_set.columns.index(name)]
        return column


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelBatch:
    """Topic `labels`: what happened, for rows of several past close times.

    A row is published once when a barrier is touched (`known_ms` still 0) and once when
    its horizon has passed. NaN outcome: void, because a candle in between is missing.
    """

    exchange: str
    timeframe: Timeframe
    horizon: int  # candles
    instruments: tuple[Instrument, ...]
    as_of_ms: Ints  # (n,)
    revision: Ints  # (n,)
    direction_known_ms: Ints  # (n,) when a barrier was touched, or the end; 0 = not yet
    known_ms: Ints  # (n,) as_of + horizon, or when the gap was filled; 0 = not yet
    outcome: Floats  # (n,) −1, 0, +1
    weight: Floats  # (n,) 0 where both barriers were touched within one candle
    log_return: Floats  # (n,)
    realized_volatility: Floats  # (n,) over the horizon, not annualised
    uniqueness: Floats  # (n,) mean of 1/concurrency over the label's life

    def __len__(self) -> int:
        return len(self.instruments)

    @classmethod
    def joined(cls, batches: Sequence[LabelBatch]) -> LabelBatch:
        """The rows of at least one batch, all of one exchange, timeframe and horizon."""
        names = ("revision", *_TRUTH)
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(one, name) for one in batches]) for name in names
        }
        instruments = tuple(one for batch in batches for one in batch.instruments)
        return replace(batches[0], instruments=instruments, **arrays)

    def take(self, positions: Ints) -> LabelBatch:
        """The rows at `positions`."""
        arrays = {name: getattr(self, name)[positions] for name in ("revision", *_TRUTH)}
        return replace(
            self, instruments=tuple(self.instruments[int(i)] for i in positions), **arrays
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PredictionBatch(Tick):
    """Topic `predictions`: one forecaster's rows for one tick and horizon.

    A forecaster fills only what its target forecasts; the rest is NaN.
    """

    horizon: int  # candles
    role: Role
    target: Target
    model: str  # `lightgbm.direction`; `served` on champion rows
    version: str  # a counter, or the hash of `members`
    members: Mapping[str, str] = field(default_factory=dict)  # champion rows: model → version
    made_at: datetime
    origin: Origin
    revision: Ints  # (n,)
    feature_set: str  # `ohlcv@1`: of the rows that it was made of
    feature_revision: Ints  # (n,)
    probabilities: Floats  # (n, 3) down, flat, up
    quantiles: Floats  # (n, 3) of the log return at QUANTILE_LEVELS
    volatility: Floats  # (n,) of the log return over the horizon
    degraded: tuple[str, ...]  # (n,) codes joined by `,`; "" = none
    dissimilarity: Floats | None = None  # (n,) to the training rows; None: nobody was fitted

    def take(self, positions: Ints) -> PredictionBatch:
        """The rows at `positions`."""
        chosen = positions.tolist()
        return replace(
            self,
            instruments=tuple(self.instruments[row] for row in chosen),
            revision=self.revision[positions],
            feature_revision=self.feature_revision[positions],
            probabilities=self.probabilities[positions],
            quantiles=self.quantiles[positions],
            volatility=self.volatility[positions],
            degraded=tuple(self.degraded[row] for row in chosen),
            dissimilarity=None if self.dissimilarity is None else self.dissimilarity[positions],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutcomeBatch:
    """Topic `scores`: the loss of one forecaster's rows whose label is now known.

    Skill is never stored here: a baseline is a forecaster with rows of its own.
    """

    exchange: str
    timeframe: Timeframe
    horizon: int
    role: Role
    model: str
    version: str
    scored_at: datetime
    instruments: tuple[Instrument, ...]
    as_of_ms: Ints
    revision: Ints
    origin: Origin
    losses: Floats  # (n, len(LOSSES)); NaN where it said nothing, or the loss is excluded

    def __len__(self) -> int:
        return len(self.instruments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """Topic `skill`: how a target's pool stands against its baseline; the gate's verdict."""

    exchange: str
    timeframe: Timeframe
    horizon: int
    target: Target
    at: datetime
    baseline: str  # model name of the baseline compared with
    skill: float | None  # 1 − loss / baseline loss; None before the first block
    low: float | None  # 95 % interval
    high: float | None
    blocks: int
    count: int  # rows
    no_skill: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """Feature rows paired with the label that came true, ordered by (known, as_of, instrument).

    What learners are given, live and in training: nothing in it was unknown at `known_ms`.
    """

    columns: tuple[str, ...]
    features: Floats  # (m, len(columns))
    instruments: tuple[Instrument, ...]  # (m,)
    as_of_ms: Ints
    direction_known_ms: Ints
    known_ms: Ints
    outcome: Floats
    weight: Floats
    log_return: Floats
    realized_volatility: Floats
    uniqueness: Floats
    past: Past | None = None  # where it was asked for

    def __len__(self) -> int:
        return len(self.as_of_ms)

    def take(self, rows: Ints | Bools) -> Examples:
        """The examples at `rows` (positions or a mask)."""
        positions = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        arrays = {name: getattr(self, name)[positions] for name in ("features", *_TRUTH)}
        instruments = tuple(self.instruments[int(i)] for i in positions)
        past = self.past and self.past.take(np.asarray(positions, dtype=np.int64))
        return replace(self, instruments=instruments, past=past, **arrays)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What to do: advice with an expiry, one row of `trading_signals`.

    Decision fields never change within a revision; from `entry_price` on they are
    filled as the market answers.
    """

    instrument: Instrument
    timeframe: Timeframe
    horizon: int
    as_of_ms: int
    revision: int
    side: str  # long, short, flat
    strength: float
    gate: str  # what made it flat; "" when it is not
    size_fraction: float
    expires_ms: int
    model: str
    version: str
    made_ms: int
    status: str  # pending, active, take_profit, stop_loss, expired, withdrawn; `flat` for flat ones
    sigma: float | None = None  # of the log return over the horizon, for the barriers
    expected_edge_bps: float | None = None  # of the log return, net of cost; None where flat
    votes: tuple[tuple[str, float], ...] | None = None  # model, its p_up − p_down; None where flat
    entry_price: float | None = None
    stop: float | None = None
    take: float | None = None
    closed_ms: int | None = None
    exit_price: float | None = None
    realized_return: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SignalBatch(Tick):
    """Topic `signals`: signals opened, updated or closed at one tick."""

    event: str  # opened, updated, closed
    signals: tuple[Signal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEvent:
    """Topic `models`: something happened to a model."""

    exchange: str
    timeframe: Timeframe
    horizon: int
    at: datetime
    kind: str  # trained, refreshed, promoted, rejected, rolled_back, drift
    target: str
    model: str
    version: str
    detail: str
