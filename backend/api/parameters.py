"""What may be asked, checked before anything is read."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from backend.api.formats import Format
from backend.api.values import Horizons, Timeframes, Utc, Words, one_of
from backend.store.jobs import KINDS as JOB_KINDS
from backend.store.jobs import STATES as JOB_STATES
from backend.store.outbox import STATES as NOTIFICATION_STATES
from backend.store.panels import PANELS
from domain.events import Role, Target
from domain.market import FURTHEST, Timeframe
from domain.sources import Metric
from services.notifications.events import EVENTS

DEFAULT_LIMIT: Final = 500
MAX_LIMIT: Final = 5_000
MOST_INSTRUMENTS: Final = 5_000  # of one query
LONGEST_NAME: Final = 64
ROLES: Final = tuple(role.value for role in Role)
SIDES: Final = ("long", "short", "flat")
STATUSES: Final = (
    "pending", "active", "take_profit", "stop_loss", "expired", "withdrawn", "flat",
)  # fmt: skip
GAP_STATES: Final = ("open", "repairing", "filled", "unfillable")
METRICS: Final = tuple(metric.value for metric in Metric)
TARGETS: Final = (Target.DIRECTION.value, Target.QUANTILES.value, Target.VOLATILITY.value)

_Roles = Annotated[Words, one_of("role", ROLES)]
_Sides = Annotated[Words, one_of("side", SIDES)]
_Statuses = Annotated[Words, one_of("status", STATUSES)]
_GapStates = Annotated[Words, one_of("state", GAP_STATES)]
_NotificationStates = Annotated[Words, one_of("state", NOTIFICATION_STATES)]
_Events = Annotated[Words, one_of("event", tuple(EVENTS))]
_JobKinds = Annotated[Words, one_of("kind", JOB_KINDS)]
_JobStates = Annotated[Words, one_of("state", JOB_STATES)]
_Panels = Annotated[Words, one_of("panel", tuple(PANELS))]
_Targets = Annotated[Words, one_of("target", TARGETS)]
_Metrics = Annotated[Words, one_of("metric", METRICS)]


class Formatted(BaseModel):
    """How the rows are spelt."""

    model_config = ConfigDict(extra="forbid")

    format: Format | None = Field(
        None, description="objects, columns, csv, arrow; by default what `Accept` asks for"
    )


class WatchSelection(Formatted):
    """Whose rows."""

    model_config = ConfigDict(extra="forbid")

    exchange: Words = Field([], description="exchange ids; several by comma or repetition")
    symbol: Words = Field([], description="symbols in ccxt's spelling, `BTC/USDT`")
    symbols: Words = Field([], description="the same as `symbol`")
    timeframe: Timeframes = Field([], description="1m 3m 5m 15m 30m 1h 4h 1d")

    @property
    def wanted_symbols(self) -> list[str]:
        return sorted({*self.symbol, *self.symbols})


class Scope(WatchSelection):
    """Whose rows, known when."""

    as_of: Utc | None = Field(None, description="answer with what was known at this time")


class LatestSelection(Scope):
    """The newest predictions, in one answer."""

    horizon: Horizons = Field([], description="candles ahead")
    model: Words = Field([], description="model names, `lightgbm.direction`")
    role: _Roles = Field([Role.CHAMPION.value], description="champion (served), member, challenger")


class LabelSelection(Scope):
    """The newest predictions of a kind of class label, in one answer."""

    horizon: Horizons = Field([], description="candles ahead")


class Between(BaseModel):
    """Of which stretch of time."""

    model_config = ConfigDict(extra="forbid")

    start: Utc | None = Field(None, description="first time, inclusive; ISO 8601 or epoch")
    end: Utc | None = Field(None, description="end of time, exclusive")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start and self.end and self.start >= self.end:
            raise ValueError("start must lie before end")
        return self


class Stretch(Between, Scope):
    """Whose rows, of which stretch of time."""


class RecordSelection(Stretch):
    """Whose record, of those that were scored."""

    as_of: Utc | None = Field(None, description="answer with what was scored by this time")
    horizon: Horizons = Field([], description="candles ahead")


class ScoreSelection(RecordSelection):
    """Whose track record, in one answer."""

    model: Words = Field([], description="model names, `lightgbm.direction`")
    role: _Roles = Field([*ROLES], description="champion (served), member, challenger")


class DaySelection(ScoreSelection):
    """Whose track record, day by day."""

    target: _Targets = Field([], description=", ".join(TARGETS))


class Paged(Between, Formatted):
    """How many rows of a stretch of time, in which order."""

    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="rows of a page")
    order: Literal["asc", "desc"] | None = Field(
        None, description="by time; newest first, or oldest first when `start` is given"
    )
    cursor: str | None = Field(None, max_length=2_000, description="`next` of the page before")

    @property
    def ascending(self) -> bool:
        return self.order == "asc" if self.order else self.start is not None


class Selection(Paged, Stretch):
    """What every list of instruments' rows takes."""


class TextSelection(Paged):
    """Texts of some sources, of some assets; the time is the one at which they were known."""

    source: Words = Field([], description="names of sources, `coindesk`")
    asset: Words = Field([], description="tickers that they speak of, `BTC`")
    as_of: Utc | None = Field(None, description="answer with what was known at this time")


class MeasurementSelection(Paged):
    """Which measurements; the time is the one at which they were so."""

    exchange: Words = Field([], description="exchange ids")
    symbol: Words = Field([], description="of the perpetual, in ccxt's spelling, `BTC/USDT:USDT`")
    metric: _Metrics = Field([], description=", ".join(METRICS))
    as_of: Utc | None = Field(None, description="answer with what was known at this time")


class HorizonSelection(Selection):
    """A list whose rows look ahead."""

    horizon: Horizons = Field([], description="candles ahead")
    model: Words = Field([], description="model names, `lightgbm.direction`")


class PredictionSelection(HorizonSelection):
    """Predictions: the served rows unless `role` says otherwise."""

    role: _Roles = Field([Role.CHAMPION.value], description="champion (served), member, challenger")


class Named(BaseModel):
    """An instrument by its two names."""

    model_config = ConfigDict(extra="forbid")

    exchange: str = Field(description="exchange id", max_length=LONGEST_NAME)
    symbol: str = Field(description="in ccxt's spelling, `BTC/USDT`", max_length=LONGEST_NAME)

    def __str__(self) -> str:
        return f"{self.exchange}:{self.symbol}" if self.symbol else self.exchange


def _named(value: object) -> object:
    if isinstance(value, str):
        exchange, _, symbol = value.partition(":")
        return {"exchange": exchange, "symbol": symbol}
    if isinstance(value, dict | Named):
        return value
    raise ValueError("name it exchange:symbol, or by an object of both")


class PredictionQuery(Paged):
    """Predictions of many instruments: a page of them, or with `latest` the newest of each."""

    instruments: list[
        Annotated[Named, BeforeValidator(_named, json_schema_input_type=str | Named)]
    ] = Field(
        min_length=1,
        max_length=MOST_INSTRUMENTS,
        description="`exchange:symbol`, or an object of both",
    )
    timeframes: Timeframes = Field([], description="1m 3m 5m 15m 30m 1h 4h 1d; all by default")
    horizons: Horizons = Field([], description="candles ahead; all by default")
    model: Words = Field([], description="model names, `lightgbm.direction`")
    role: _Roles = Field([Role.CHAMPION.value], description="champion (served), member, challenger")
    as_of: Utc | None = Field(None, description="answer with what was known at this time")
    latest: bool = Field(
        default=False, description="the newest of each; without start, end, order, limit, cursor"
    )

    @property
    def timeframe(self) -> list[str]:
        return self.timeframes

    @property
    def horizon(self) -> list[int]:
        return self.horizons

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        paging = {"start", "end", "order", "limit", "cursor"} & self.model_fields_set
        if self.latest and paging:
            raise ValueError(f"latest goes without {min(paging)}")
        return self


class NextPage(BaseModel):
    """Where a query goes on, if not in its body."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(None, max_length=2_000, description="as in `Link`")

    def of(self, query: PredictionQuery) -> PredictionQuery:
        """The query from there on."""
        return query if self.cursor is None else query.model_copy(update={"cursor": self.cursor})


class SignalSelection(HorizonSelection):
    """Signals of one side or in one state."""

    side: _Sides = Field([], description=", ".join(SIDES))
    status: _Statuses = Field([], description=", ".join(STATUSES))


class FeatureSelection(Selection):
    """Features of one set."""

    feature_set: Words = Field([], description="`name@version`")


class EventSelection(Between):
    """A page of a stream's events; its times are those of publication."""

    since: int | None = Field(
        None, ge=0, lt=2**63, description="offset: behind it, or with `desc` before it"
    )
    cursor: int | None = Field(None, ge=0, lt=2**63, description="`next` of the page before")
    epoch: str | None = Field(None, max_length=64, description="of the log that `since` is of")
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="rows of a page")
    order: Literal["asc", "desc"] | None = Field(None, description="by offset; asc by default")


class GapSelection(Selection):
    """Gaps in one of some states."""

    order: Literal["asc", "desc"] | None = Field(None, description="by time; newest first")
    state: _GapStates = Field([], description=", ".join(GAP_STATES))


class NotificationSelection(Paged):
    """Notifications of some channels; the time is the one at which they were entered."""

    channel: Words = Field([], description="names of the settings")
    event: _Events = Field([], description="`signal.opened`, `source.down`")
    state: _NotificationStates = Field([], description=", ".join(NOTIFICATION_STATES))


class ModelSelection(Paged):
    """Which fitted models; the time is the one at which they were registered."""

    exchange: Words = Field([], description="exchange ids")
    timeframe: Timeframes = Field([], description="1m 3m 5m 15m 30m 1h 4h 1d")
    horizon: Horizons = Field([], description="candles ahead")
    model: Words = Field([], description="model names, `lightgbm.direction`")
    target: _Targets = Field([], description=", ".join(TARGETS))
    as_of: Utc | None = Field(None, description="models that existed at this time")


_Timeframe = Annotated[str, AfterValidator(lambda value: Timeframe.parse(value).value)]


class ComparisonSelection(Between):
    """Which two forecasters, where."""

    a: str = Field(min_length=1, max_length=80, description="`lightgbm.direction@3`")
    b: str = Field(min_length=1, max_length=80, description="the other one")
    exchange: str | None = Field(None, max_length=64, description="exchange id")
    timeframe: _Timeframe | None = Field(None, description="1m 3m 5m 15m 30m 1h 4h 1d")
    horizon: int | None = Field(None, ge=1, le=FURTHEST, description="candles ahead")


class SymbolSearch(BaseModel):
    """A search of the charting library."""

    model_config = ConfigDict(extra="ignore")

    query: str = Field("", max_length=100, description="part of a name")
    type: str = Field("", max_length=32, description="`crypto`; there is no other")
    exchange: str = Field("", max_length=64, description="exchange id; empty: every one")
    limit: int = Field(30, ge=1, le=1_000, description="symbols")


class LedgerSelection(Formatted):
    """Which paper accounts."""

    exchange: Words = Field([], description="exchange ids")
    timeframe: Timeframes = Field([], description="1m 3m 5m 15m 30m 1h 4h 1d")
    as_of: Utc | None = Field(None, description="as they were known to stand at this time")


class JobSelection(Paged):
    """Which jobs; the time is the one at which they were asked for."""

    kind: _JobKinds = Field([], description=", ".join(JOB_KINDS))
    state: _JobStates = Field([], description=", ".join(JOB_STATES))


class DashboardSelection(BaseModel):
    """Which panels."""

    model_config = ConfigDict(extra="forbid")

    panel: _Panels = Field([], description="panel names; all of them by default")


PARAMETERS: Final = sorted(
    {
        name
        for model in (
            PredictionSelection,
            PredictionQuery,
            SignalSelection,
            FeatureSelection,
            GapSelection,
            EventSelection,
            TextSelection,
            MeasurementSelection,
            NotificationSelection,
            ModelSelection,
            ComparisonSelection,
            LedgerSelection,
            JobSelection,
            DashboardSelection,
        )
        for name in model.model_fields
    }
)
