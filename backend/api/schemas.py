"""Rows that are answered, as models: they describe them, and a test holds the answers to them.

Rows are served as the database spells them; nothing is checked on the way out.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Row(BaseModel):
    """Members that are not described are not answered."""

    model_config = ConfigDict(extra="forbid")


class _OfInstrument(Row):
    exchange: str = Field(description="exchange id; `simulated` where nothing is quoted")
    symbol: str = Field(description="in ccxt's spelling")
    timeframe: str


AsOf = Annotated[datetime, Field(description="close of the last candle that was used")]
Revision = Annotated[int, Field(description="1, or higher where a candle was corrected afterwards")]
Steps = Annotated[int, Field(description="candles ahead")]
Origin = Annotated[Literal["live", "late", "backtest"], Field(description="when it was said")]


class TicketRow(Row):
    """What opens one connection."""

    ticket: str = Field(description="once, as a sub-protocol or as the token of `auth`")
    expires_at: datetime = Field(description="by the machine's clock")


class CandleRow(_OfInstrument):
    """A closed candle."""

    open_time: datetime
    close_time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    revision: int
    source: str = Field(description="how it came: `live`, `backfill`, `built`, …")
    known_at: datetime = Field(description="when it could first be used")


class FeatureRow(_OfInstrument):
    """The features of a close."""

    feature_set: str = Field(description="`name@version`")
    as_of: AsOf
    revision: Revision
    known_at: datetime
    candle_revision: int
    coverage: float = Field(description="share of the candles it needs that were there")
    values: dict[str, float | None] = Field(description="by name; null = not known")


class PredictionRow(_OfInstrument):
    """A prediction; all numbers of a target are null where its forecaster abstained."""

    horizon: Steps
    as_of: AsOf
    revision: Revision
    made_at: datetime
    origin: Origin
    role: Literal["champion", "member", "challenger"] = Field(description="champion: served")
    target: str
    model: str
    version: str
    members: dict[str, Any] | None = Field(description="models behind it, with their versions")
    p_down: float | None = Field(description="chance that the lower barrier is touched first")
    p_flat: float | None
    p_up: float | None
    q10: float | None = Field(description="quantile of the log return at the horizon's end")
    q50: float | None
    q90: float | None
    volatility: float | None = Field(description="standard deviation of the log return")
    degraded: list[str] = Field(description="what is wrong with the row; empty: nothing")
    dissimilarity: float | None = Field(
        description="distance of its features to the training rows, whose mean square is 1; of "
        "several models the largest; null: none was fitted. It decides nothing"
    )


class ClassPredictionRow(_OfInstrument):
    """What is said of a class label."""

    label_kind: str = Field(description="`regime@1`")
    horizon: Steps
    as_of: AsOf
    revision: Revision
    made_at: datetime
    origin: Origin
    model: str
    version: str
    probabilities: dict[str, float] = Field(description="by class; they sum to 1")
    degraded: list[str] = Field(
        description="`no_skill`: the class prior's, `warming_up`: too few labels, `late`"
    )


class ContributionRow(Row):
    """A feature's part in a raw score."""

    feature: str
    value: float | None = Field(description="as the stored row has it; null = not known")
    contribution: float


class OutputRow(Row):
    """One raw score of a model: `base` and all contributions together, within 1e-4."""

    output: str = Field(description="`p_down`, `p_flat`, `p_up`; `q10`, …; `volatility`")
    base: float = Field(description="what is said where nothing is known of the features")
    margin: float = Field(description="the raw score that served")
    contributions: list[ContributionRow] = Field(description="of all features, the largest first")


class ExplanationRow(Row):
    """Why a member of a served prediction said what it said."""

    model: str
    version: str
    target: str
    method: Literal["tree_shap", "linear"] | None = Field(
        description="exact TreeSHAP by the library, or coefficient × scaled value"
    )
    reason: str | None = Field(description="why a member has no contributions; else null")
    reference: float | None = Field(
        description="volatility: σ = exp((margin + reference) / 2); quantiles: return = margin × "
        "reference, sorted; direction: null, chances are the softmax of the margins"
    )
    outputs: list[OutputRow] = Field(description="raw scores of the model")


class SignalRow(_OfInstrument):
    """A signal, in its newest state."""

    horizon: Steps
    as_of: AsOf
    revision: Revision
    side: Literal["long", "short", "flat"]
    strength: float
    gate: str = Field(description="what held a flat one back; else empty")
    size_fraction: float
    entry_price: float | None
    stop: float | None
    take: float | None
    expires_at: datetime
    status: str = Field(description="`pending`, `active`, or how it ended")
    closed_at: datetime | None
    exit_price: float | None
    realized_return: float | None = Field(description="after costs")
    model: str
    version: str
    expected_edge_bps: float | None = Field(description="net of cost; null where flat")
    votes: dict[str, float | None] | None = Field(
        description="p_up − p_down of each member that was asked; null where flat"
    )


class PositionRow(Row):
    """What an account holds of an instrument."""

    symbol: str
    notional: float = Field(description="at the last close; below 0: short")
    share: float | None = Field(description="of the equity; null where none is left")


class BenchmarkRow(Row):
    """What the same capital would be worth."""

    equity: float
    return_: float = Field(alias="return")
    max_drawdown: float


class BenchmarkRows(Row):
    """Beside which an account is laid."""

    buy_and_hold: BenchmarkRow = Field(description="all instruments in equal parts, after costs")
    flat: BenchmarkRow


class RiskRow(Row):
    """What the open positions may lose, as shares of the equity."""

    level: float
    candles: int = Field(description="ahead")
    method: str
    value_at_risk: float
    expected_shortfall: float
    shrinkage: float = Field(description="of the correlations towards 0: 0 none, 1 whole")
    symbols: list[str]
    correlation: list[list[float]] = Field(description="in the order of `symbols`")


class AccountRow(Row):
    """A paper account at a close: equity = capital + realized + unrealized − all costs."""

    exchange: str
    timeframe: str
    begin: datetime = Field(alias="from", description="close of its first mark")
    as_of: datetime = Field(description="close of its newest mark")
    known_at: datetime
    currency: str
    capital: float
    equity: float
    return_: float = Field(alias="return")
    drawdown: float = Field(description="from the highest equity, now")
    max_drawdown: float
    turnover: float = Field(description="notional bought and sold, in capitals")
    exposure: float | None = Field(description="notional held, as a share of the equity")
    mean_exposure: float
    realized: float = Field(description="before costs")
    unrealized: float
    fees: float
    slippage: float
    funding: float = Field(description="paid; below 0: received")
    funding_not_charged: int = Field(description="settlements without a recorded rate")
    trades: int = Field(description="signals that were taken")
    refused: dict[str, int] = Field(description="why → signals that were not")
    positions: list[PositionRow]
    benchmarks: BenchmarkRows
    risk: RiskRow | None = Field(description="null where nothing is open, or too little known")


class ScoreRow(Row):
    """The record of a forecaster for one target, beside its baseline's on the same rows."""

    exchange: str
    timeframe: str
    horizon: int
    role: str
    model: str
    origin: str
    target: str
    loss_name: str
    count: int
    effective_count: float | None = Field(description="allowing for labels that overlap")
    loss: float | None = Field(description="mean of daily means")
    baseline: str
    baseline_loss: float | None
    skill: float | None = Field(description="1 − loss / baseline loss; null of a baseline")
    skill_interval95: tuple[float, float] | None
    first_as_of: datetime
    last_as_of: datetime
    gate: dict[str, Any] | None = Field(description="newest verdict on what is served")


class InstrumentRow(Row):
    """An instrument that is or was watched."""

    exchange: str
    symbol: str
    kind: str
    base: str
    quote: str
    tick_size: float | None
    lot_size: float | None
    min_notional: float | None
    watched_from: datetime
    watched_until: datetime | None
    joined_at: datetime | None
    added: bool = Field(description="by an order, and not by a setting")
    removed: bool = Field(description="by an order: it stays away though a setting names it")
    state: Literal["joining", "watched", "left"]
    predicted: dict[str, datetime] = Field(description="timeframe → `as_of` of its newest")


class OrderRow(Row):
    """What became of an order."""

    exchange: str
    symbol: str
    state: Literal["joining", "watched", "left", "ordered"] = Field(
        description="ordered: who collects the exchange has not got to it yet"
    )


class GapRow(_OfInstrument):
    """A stretch of missing candles."""

    begin: datetime = Field(alias="from", description="open time of the first that is missing")
    to: datetime
    cause: str
    state: Literal["open", "repairing", "filled", "unfillable"]
    detected_at: datetime
    filled_at: datetime | None
    attempts: int


class StreamRow(Row):
    """A stream and where its log stands."""

    stream: str
    epoch: str | None = Field(description="null before its first event")
    offset: int
    hash: str | None


class EventRow(Row):
    """An event of a stream; how its hash is made is in `/asyncapi.json` (Update)."""

    stream: str
    epoch: str
    offset: int
    event: str
    as_of: datetime
    ts: datetime = Field(description="when the commit of the event began")
    hash: str
    previous_hash: str
    data: dict[str, Any]


class ScoreOfText(Row):
    """What a scorer reads in a text of an asset."""

    asset: str | None = Field(description="ticker; null: it speaks of none")
    scorer: str = Field(description="`blend@1`")
    polarity: float | None = Field(description="−1 bad for holders, 1 good; null: no word known")
    confidence: float = Field(description="0 … 1: how much of the text the polarity rests on")
    relevance: float = Field(description="the asset's share of the mentions")


class TextRow(Row):
    """A version of a text of a source, with what it scores."""

    source: str
    item_id: str
    known_at: datetime = Field(description="when it was stored")
    published_at: datetime
    dating: Literal["told", "clamped", "missing"] = Field(description="whence `published_at` is")
    kind: Literal["news", "social"]
    title: str | None = Field(description="null: forgotten")
    url: str | None
    language: str | None
    cluster: str | None = Field(description="first item of the story, `source:item_id`")
    engagement: float | None = Field(description="votes, comments and shares")
    scores: list[ScoreOfText]


class MeasurementRow(Row):
    """One number that a source told of an instrument, or of the market."""

    exchange: str = Field(description="`market` where it is of no instrument")
    symbol: str = Field(description="in ccxt's spelling; `crypto` where it is of no instrument")
    metric: str = Field(
        description="`funding_rate` (per interval, longs pay where positive), `open_interest` (base"
        " currency), `long_short_ratio` (of accounts), `fear_greed` (0 … 100),"
        " `large_trade_imbalance` (of an hour, −1 sold … 1 bought)"
    )
    event_time: datetime = Field(description="when it was so, by the source's clock")
    known_at: datetime = Field(description="when it was stored; nothing may use it before")
    value: float


class ModelRow(Row):
    """A version of a fitted model, from its row in the registry."""

    exchange: str
    timeframe: str
    horizon: int
    target: str
    model: str
    version: int
    kind: str
    status: Literal["registered", "eligible", "rejected", "retired"]
    feature_set: str = Field(description="`name@version`")
    label_set: str
    trained_from: datetime
    trained_until: datetime
    effective_from: datetime | None = Field(description="null: it has not spoken")
    n_train: int = Field(description="rows")
    n_effective: float = Field(description="allowing for labels that overlap")
    n_trials: int
    params: dict[str, Any] | None
    seed: int
    metrics: dict[str, Any] | None
    environment: dict[str, Any] | None
    code_sha: str
    data_sha256: str
    artifact_sha256: str
    artifact_bytes: int
    train_seconds: float
    parent_version: int | None
    created_at: datetime
    role: str | None = Field(description="now: `member`, `challenger`, `previous`, or null")
