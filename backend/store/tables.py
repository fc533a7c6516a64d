"""The tables of the record; the one place where their columns are named.

Every fact has two times: when it is about (`open_time`, `as_of`) and when it could first
be used (`known_at`, `made_at`). NULL means «not known»; NaN and infinities are refused.
Tables that grow with time carry their time column inside every unique key, so that they
can become hypertables. They reference `instruments` without a foreign key: the check
costs more than the insert, and only `Instruments` hands out the numbers.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

LABEL_SET = "direction@1"

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)

_TIME = TIMESTAMP(timezone=True)
_WORD = Text(collation="C")  # keys compare bytes, whatever the database's language


def _finite(*columns: str) -> str:
    # In PostgreSQL NaN sorts above Infinity, so two comparisons refuse all three.
    return " AND ".join(f"{name} > '-Infinity' AND {name} < 'Infinity'" for name in columns)


def _signed(*columns: str) -> str:
    return " AND ".join(f"{name} >= -1 AND {name} <= 1" for name in columns)


def _all_or_none(*columns: str) -> str:
    first, *others = columns
    return " AND ".join(f"({first} IS NULL) = ({name} IS NULL)" for name in others)


def named(table: Table, of: str = "") -> str:
    """Its columns in a SELECT. `*` fails where a program runs while a newer one adds a column.

    Args:
        table: one of those below.
        of: what the statement calls it.
    """
    return ", ".join(f'{of}{"." * bool(of)}"{column.name}"' for column in table.columns)


def _check(name: str, condition: str) -> CheckConstraint:
    return CheckConstraint(condition, name=name)


def _word(name: str, *, default: str | None = None, nullable: bool = False) -> Column[str]:
    spelled = None if default is None else text(f"'{default}'")
    return Column(name, _WORD, nullable=nullable, server_default=spelled)


def _time(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, _TIME, nullable=nullable)


def _float(name: str, *, nullable: bool = False) -> Column[float]:
    return Column(name, Double, nullable=nullable)


def _int(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, Integer, nullable=nullable)


def _json(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, JSONB, nullable=nullable)


def _candle_columns() -> tuple[Column[object], ...]:
    return (
        _int("instrument_id"),
        _word("timeframe"),
        _time("open_time"),
        _time("close_time"),
        _float("open"),
        _float("high"),
        _float("low"),
        _float("close"),
        _float("volume"),
        Column("trades", BigInteger),
        _time("event_time", nullable=True),
        Column("confirmed", Boolean, nullable=False),
        _word("source"),
    )  # type: ignore[return-value]  # columns of several value types


def _candle_checks() -> tuple[CheckConstraint, ...]:
    return (
        _check("prices", f"low > 0 AND {_finite('high')}"),
        _check("shape", "low <= open AND low <= close AND open <= high AND close <= high"),
        _check("volume", "volume >= 0 AND volume < 'Infinity'"),
        _check("times", "close_time > open_time"),
        _check("trades", "trades >= 0"),
    )


instruments = Table(
    "instruments",
    metadata,
    Column("instrument_id", Integer, Identity(always=True), primary_key=True),
    _word("exchange"),
    _word("symbol"),
    _word("kind"),
    _word("base"),
    _word("quote"),
    _float("tick_size", nullable=True),
    _float("lot_size", nullable=True),
    _float("min_notional", nullable=True),
    _time("listed_at", nullable=True),
    _time("delisted_at", nullable=True),
    _time("watched_from", nullable=True),
    _time("watched_until", nullable=True),
    _time("joined_at", nullable=True),  # of no cross-section up to then; NULL: of all
    Column("added", Boolean, nullable=False, server_default=text("false")),
    Column("removed", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("exchange", "symbol"),
    _check("sizes", _finite("tick_size", "lot_size", "min_notional")),
)

# The highest version of each candle. The view `candle_history` has all versions.
candles = Table(
    "candles",
    metadata,
    *_candle_columns(),
    _int("revision"),
    _time("known_at"),
    Column("row_hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("instrument_id", "timeframe", "open_time"),
    *_candle_checks(),
)

# Every other distinct version that was ever told.
candle_revisions = Table(
    "candle_revisions",
    metadata,
    *_candle_columns(),
    _time("known_at"),
    Column("row_hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("instrument_id", "timeframe", "open_time", "row_hash"),
    *_candle_checks(),
)

feature_sets = Table(
    "feature_sets",
    metadata,
    Column("feature_set", _WORD, primary_key=True),
    Column("columns", ARRAY(Text), nullable=False),
    Column("model_columns", ARRAY(Text), nullable=False),
    _json("spec"),
    Column("code_sha", Text, nullable=False),
    _int("warmup_bars"),
    _time("retired_at", nullable=True),
)

# `values` follow feature_sets.columns; a view for each set names them.
ml_features_ohlcv = Table(
    "ml_features_ohlcv",
    metadata,
    _int("instrument_id"),
    _word("timeframe"),
    _word("feature_set"),
    _time("as_of"),
    _int("revision"),
    _time("known_at"),
    _int("candle_revision"),
    _float("coverage"),
    Column("row_hash", LargeBinary, nullable=False),
    Column("values", ARRAY(Double, dimensions=1), nullable=False),
    PrimaryKeyConstraint("instrument_id", "timeframe", "feature_set", "as_of", "revision"),
    _check("coverage", "coverage >= 0 AND coverage <= 1"),
    _check("finite", "'Infinity' > ALL(\"values\") AND '-Infinity' < ALL(\"values\")"),
)

ml_labels = Table(
    "ml_labels",
    metadata,
    _int("instrument_id"),
    _word("timeframe"),
    _word("label_set"),
    _int("horizon"),
    _time("as_of"),
    _int("revision"),
    _time("direction_known_at", nullable=True),
    _time("known_at", nullable=True),
    Column("outcome", SmallInteger),
    _float("weight", nullable=True),
    _float("log_return", nullable=True),
    _float("realized_volatility", nullable=True),
    _float("uniqueness", nullable=True),
    Column("void", Boolean, nullable=False),
    PrimaryKeyConstraint("instrument_id", "timeframe", "label_set", "horizon", "as_of", "revision"),
    _check("outcome", "outcome IN (-1, 0, 1)"),
    _check("direction", "outcome IS NULL OR direction_known_at IS NOT NULL"),
    _check("later", "direction_known_at > as_of AND known_at > as_of"),
    _check("order", "known_at >= direction_known_at"),
    _check("void", "NOT void OR (known_at IS NOT NULL AND outcome IS NULL)"),
    _check(
        "known",
        "(known_at IS NOT NULL AND NOT void) = (log_return IS NOT NULL)"
        " AND (log_return IS NULL) = (realized_volatility IS NULL)",
    ),
    _check("finite", _finite("weight", "log_return", "realized_volatility", "uniqueness")),
    _check("ranges", "weight >= 0 AND realized_volatility >= 0 AND uniqueness >= 0"),
    Index(None, "timeframe", "horizon", "known_at"),
)

# What a kind of label (`regime@1`) told; `class` is NULL where it is void.
ml_class_labels = Table(
    "ml_class_labels",
    metadata,
    _int("instrument_id"),
    _word("timeframe"),
    _word("label_kind"),
    _int("horizon"),
    _time("as_of"),
    _int("revision"),
    _time("known_at"),
    _word("class", nullable=True),
    PrimaryKeyConstraint(
        "instrument_id", "timeframe", "label_kind", "horizon", "as_of", "revision"
    ),
    _check("later", "known_at > as_of"),
)

# What was said of them; of each row one model's is `served`. A loss follows from both tables.
ml_class_predictions = Table(
    "ml_class_predictions",
    metadata,
    _int("instrument_id"),
    _word("timeframe"),
    _word("label_kind"),
    _int("horizon"),
    _time("as_of"),
    _int("revision"),
    _word("model"),
    _word("version"),
    _time("made_at"),
    _word("origin"),
    Column("served", Boolean, nullable=False),
    _word("degraded", default=""),
    _json("probabilities"),  # by class
    PrimaryKeyConstraint(
        *("instrument_id", "timeframe", "label_kind", "horizon", "as_of", "revision", "model")
    ),
    _check("origin", "origin IN ('live', 'late', 'backtest')"),
)

ml_models_metadata = Table(
    "ml_models_metadata",
    metadata,
    Column("model_id", BigInteger, Identity(always=True), primary_key=True),
    _word("name"),
    _word("timeframe"),
    _word("exchange"),
    _int("horizon"),
    _int("version"),
    _word("target"),
    _word("kind"),
    _word("status"),
    _json("params"),
    Column("seed", BigInteger, nullable=False),
    Column("code_sha", Text, nullable=False),
    Column("data_sha256", Text, nullable=False),
    _word("feature_set"),
    _word("label_set"),
    _time("trained_from"),
    _time("trained_until"),
    _time("effective_from", nullable=True),
    _int("n_train"),
    _float("n_effective"),
    _int("n_trials"),
    _json("metrics"),
    _json("environment"),
    Column("artifact_path", Text, nullable=False),
    Column("artifact_sha256", Text, nullable=False),
    Column("artifact_bytes", BigInteger, nullable=False),
    _float("train_seconds"),
    _int("parent_version", nullable=True),
    _time("created_at"),
    UniqueConstraint("name", "timeframe", "exchange", "horizon", "version"),
    _check("version", "version >= 1"),
    _check("status", "status IN ('registered', 'eligible', 'rejected', 'retired')"),
    _check("finite", _finite("n_effective", "train_seconds")),
)

model_aliases = Table(
    "model_aliases",
    metadata,
    _word("exchange"),
    _word("timeframe"),
    _int("horizon"),
    _word("target"),
    _word("name"),
    _word("alias"),
    _int("version"),
    _time("set_at"),
    PrimaryKeyConstraint("exchange", "timeframe", "horizon", "target", "name", "alias"),
    _check("alias", "alias IN ('champion', 'challenger', 'previous')"),
)

promotion_decisions = Table(
    "promotion_decisions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _word("exchange"),
    _word("timeframe"),
    _int("horizon"),
    _word("target"),
    _word("name"),
    _int("champion_version", nullable=True),
    _int("challenger_version", nullable=True),
    _word("verdict"),
    _word("trigger"),
    _time("decided_at"),
    _json("evidence"),
    Index(None, "exchange", "timeframe", "horizon", "target", "name"),
)

_PREDICTION_KEY = ("instrument_id", "timeframe", "horizon", "as_of", "revision", "role", "model")
_ROLES = "role IN ('champion', 'member', 'challenger')"
_ORIGINS = "origin IN ('live', 'late', 'backtest')"

ml_predictions = Table(
    "ml_predictions",
    metadata,
    _int("instrument_id"),
    _word("timeframe"),
    _int("horizon"),
    _time("as_of"),
    _int("revision"),
    _word("role"),
    _word("model"),
    _word("version"),
    _word("target"),
    _json("members", nullable=True),
    _time("made_at"),
    _word("origin"),
    _float("p_down", nullable=True),
    _float("p_flat", nullable=True),
    _float("p_up", nullable=True),
    _float("q10", nullable=True),
    _float("q50", nullable=True),
    _float("q90", nullable=True),
    _float("volatility", nullable=True),
    _word("degraded", default=""),
    _word("feature_set"),
    _int("feature_revision"),
    _float("dissimilarity", nullable=True),
    PrimaryKeyConstraint(*_PREDICTION_KEY),
    _check("role", _ROLES),
    _check("origin", _ORIGINS),
    _check("dissimilarity", "dissimilarity >= 0 AND dissimilarity < 'Infinity'"),
    _check("probabilities", _all_or_none("p_down", "p_flat", "p_up")),
    _check("sum", "abs(p_down + p_flat + p_up - 1) < 1e-6"),
    _check("shares", "p_down >= 0 AND p_flat >= 0 AND p_up >= 0"),
    _check("quantiles", _all_or_none("q10", "q50", "q90")),
    _check("order", f"q10 <= q50 AND q50 <= q90 AND {_finite('q10', 'q90')}"),
    _check("volatility", "volatility >= 0 AND volatility < 'Infinity'"),
    Index(None, "as_of", postgresql_using="brin"),
)

ml_prediction_outcomes = Table(
    "ml_prediction_outcomes",
    metadata,
    _int("instrument_id"),
    _word("timeframe"),
    _int("horizon"),
    _time("as_of"),
    _int("revision"),
    _word("role"),
    _word("model"),
    _word("version"),
    _word("origin"),
    _time("scored_at"),
    _float("log_loss", nullable=True),
    _float("brier", nullable=True),
    _float("pinball", nullable=True),
    _float("qlike", nullable=True),
    _float("covered", nullable=True),
    PrimaryKeyConstraint(*_PREDICTION_KEY),
    _check("role", _ROLES),
    _check("origin", _ORIGINS),
    _check("finite", _finite("log_loss", "brier", "pinball", "qlike", "covered")),
    Index(None, "as_of", postgresql_using="brin"),
)

# From `entry_price` on the columns are filled as the market answers; the rest never change.
trading_signals = Table(
    "trading_signals",
    metadata,
    _int("instrument_id"),
    _word("timeframe"),
    _int("horizon"),
    _time("as_of"),
    _int("revision"),
    _word("side"),
    _float("strength"),
    _word("gate"),
    _float("size_fraction"),
    _time("expires_at"),
    _word("model"),
    _word("version"),
    _time("made_at"),
    _float("sigma", nullable=True),
    _float("expected_edge_bps", nullable=True),
    _json("votes", nullable=True),
    _word("status"),
    _float("entry_price", nullable=True),
    _float("stop", nullable=True),
    _float("take", nullable=True),
    _time("closed_at", nullable=True),
    _float("exit_price", nullable=True),
    _float("realized_return", nullable=True),
    PrimaryKeyConstraint("instrument_id", "timeframe", "horizon", "as_of", "revision"),
    _check("side", "side IN ('long', 'short', 'flat')"),
    _check(
        "status",
        "status IN ('pending', 'active', 'take_profit', 'stop_loss', 'expired', 'withdrawn',"
        " 'flat')",
    ),
    _check("flat", "(side = 'flat') = (status = 'flat') AND (side = 'flat') = (gate <> '')"),
    _check("amounts", _finite("strength", "size_fraction", "sigma")),
    _check("prices", _finite("entry_price", "stop", "take", "exit_price", "realized_return")),
    _check("edge", _finite("expected_edge_bps")),
    Index(
        "trading_signals_sides_idx",
        "instrument_id",
        "timeframe",
        "as_of",
        postgresql_where=text("side <> 'flat'"),
    ),
)

_MARKED = (
    *("capital", "equity", "realized", "unrealized", "fees", "slippage", "funding", "traded"),
    *("mean_exposure", "drawdown", "max_drawdown", "hold_equity", "hold_max_drawdown"),
)
# Where the paper account of a panel stood at each close; made of its signals and candles.
ledger_marks = Table(
    "ledger_marks",
    metadata,
    _word("exchange"),
    _word("timeframe"),
    _time("at"),
    _time("known_at"),
    _word("currency"),
    *(_float(name) for name in _MARKED),
    _int("trades"),
    _int("funding_not_charged"),
    _json("refused"),
    _json("positions"),
    PrimaryKeyConstraint("exchange", "timeframe", "at"),
    _check("finite", _finite(*_MARKED)),
)

# What has changed, as a look at the record found it. `target` is empty where it is of none.
drift_events = Table(
    "drift_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _word("exchange"),
    _word("timeframe"),
    _int("horizon"),
    _word("target"),
    _word("kind"),
    _time("at"),
    _float("statistic"),
    _float("threshold"),
    _int("window_n"),
    _word("action"),
    _json("evidence"),
    UniqueConstraint("exchange", "timeframe", "horizon", "target", "kind", "at"),
    _check("action", "action IN ('retrain', 'report', 'cool_down')"),
)

training_runs = Table(
    "training_runs",
    metadata,
    _word("exchange"),
    _word("timeframe"),
    _int("horizon"),
    _time("as_of"),
    _time("effective_from"),
    _word("reason"),
    _word("split"),
    _time("begun_at"),
    _time("finished_at", nullable=True),
    PrimaryKeyConstraint("exchange", "timeframe", "horizon", "as_of"),
)

# What the system that predicts says of itself, for servers beside it.
system_status = Table(
    "system_status",
    metadata,
    Column("system", _WORD, primary_key=True),
    _json("told"),
    _time("now"),
    _time("told_at"),
)

# What one process does alone, and how often it has changed hands.
leases = Table(
    "leases",
    metadata,
    Column("name", _WORD, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    _word("holder"),
    _time("taken_at"),
)

# The panels that there are to be run; `opening` counts the times that their history was fetched.
open_panels = Table(
    "open_panels",
    metadata,
    _word("exchange"),
    _word("timeframe"),
    Column("opening", BigInteger, nullable=False),
    _time("opened_at"),
    PrimaryKeyConstraint("exchange", "timeframe"),
)

# Work that callers asked for, and what became of it. A key of the caller's own names it once.
jobs = Table(
    "jobs",
    metadata,
    Column("id", _WORD, primary_key=True),
    _word("kind"),
    _json("request"),
    _word("caller"),
    _word("idempotency_key", nullable=True),
    Column("request_sha256", LargeBinary, nullable=False),
    _word("state"),
    _time("created_at"),
    _time("started_at", nullable=True),
    _time("ended_at", nullable=True),
    _json("progress", nullable=True),
    _json("result", nullable=True),
    Column("detail", Text),
    _int("attempts"),  # lives that took it up and neither ended it nor stopped in good order
    Column("number", BigInteger, Identity(always=True), nullable=False),  # in which they are done
    UniqueConstraint("caller", "idempotency_key"),
    _check("request_sha256", "octet_length(request_sha256) = 32"),
    _check("state", "state IN ('queued', 'running', 'done', 'failed')"),
    _check("ended", "(state IN ('done', 'failed')) = (ended_at IS NOT NULL)"),
    Index("jobs_created_at_idx", "created_at", "id"),
    Index(
        "jobs_open_idx",
        "kind",
        "created_at",
        postgresql_where=text("state IN ('queued', 'running')"),
    ),
)

# What of a job is whose: an owner is the name of the lease of whoever collects or runs a panel.
job_parts = Table(
    "job_parts",
    metadata,
    _word("job_id"),
    _word("owner"),
    _word("state"),
    _int("attempts"),
    _json("progress", nullable=True),
    _json("result", nullable=True),
    Column("detail", Text),
    _json("problem", nullable=True),  # as REST answers it, where the owner refused
    PrimaryKeyConstraint("job_id", "owner"),
    _check("state", "state IN ('queued', 'running', 'done', 'failed')"),
    Index(
        "job_parts_open_idx",
        "owner",
        postgresql_where=text("state IN ('queued', 'running')"),
    ),
)

searches = Table(
    "searches",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _word("exchange"),
    _word("timeframe"),
    _int("horizon"),
    _word("model"),
    _json("recipe"),
    _int("seed"),
    _word("feature_set"),
    _time("until"),
    _int("maximum_rows"),
    _word("data_sha256"),
    _time("begun_at"),
    _time("ended_at", nullable=True),
    _json("found", nullable=True),
)

search_trials = Table(
    "search_trials",
    metadata,
    Column("search_id", BigInteger, nullable=False),
    _int("number"),
    _json("parameters"),
    _float("loss", nullable=True),
    _time("tried_at"),
    PrimaryKeyConstraint("search_id", "number"),
    _check("loss", _finite("loss")),
)

skill_verdicts = Table(
    "skill_verdicts",
    metadata,
    _word("exchange"),
    _word("timeframe"),
    _int("horizon"),
    _word("target"),
    _time("at"),
    _word("baseline"),
    _float("skill", nullable=True),
    _float("low", nullable=True),
    _float("high", nullable=True),
    _int("blocks"),
    _int("count"),
    Column("no_skill", Boolean, nullable=False),
    PrimaryKeyConstraint("exchange", "timeframe", "horizon", "target", "at"),
    _check("finite", _finite("skill", "low", "high")),
)

# The versions of each item, as they became known. Texts may be forgotten, what they scored not.
sentiment_items = Table(
    "sentiment_items",
    metadata,
    _word("source"),
    _word("item_id"),
    _time("known_at"),
    _time("published_at"),  # by the source; see `dating`
    _word("dating"),
    _word("kind"),
    Column("title", Text),
    Column("body", Text),
    Column("url", Text),
    _word("language", nullable=True),
    _word("cluster", nullable=True),  # first item of the story, `source:item_id`
    _float("engagement", nullable=True),
    Column("content_hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("source", "item_id", "known_at"),
    _check("kind", "kind IN ('news', 'social')"),
    _check("dating", "dating IN ('told', 'clamped', 'missing')"),
    _check("times", "published_at <= known_at"),
    _check("engagement", "engagement >= 0 AND engagement < 'Infinity'"),
    Index(None, "known_at"),
)

# One row for each asset that an item speaks of, '' for none, and for each scorer that read it.
sentiment_scores = Table(
    "sentiment_scores",
    metadata,
    _word("source"),
    _word("item_id"),
    _time("known_at"),  # of the item's version
    _word("asset"),
    _word("scorer"),
    _float("polarity", nullable=True),
    _float("confidence"),
    _float("relevance"),
    _time("scored_at"),
    PrimaryKeyConstraint("source", "item_id", "known_at", "asset", "scorer"),
    _check("polarity", "polarity >= -1 AND polarity <= 1"),
    _check("confidence", "confidence >= 0 AND confidence <= 1"),
    _check("unknown", "(polarity IS NULL) = (confidence = 0)"),
    _check("relevance", "relevance > 0 AND relevance <= 1"),
)

market_metrics = Table(
    "market_metrics",
    metadata,
    _int("instrument_id"),
    _word("metric"),
    _time("event_time"),
    _time("known_at"),
    _float("value"),
    PrimaryKeyConstraint("instrument_id", "metric", "event_time", "known_at"),
    _check("finite", _finite("value")),
    _check("times", "event_time <= known_at"),
    Index(None, "known_at"),
)

# How each source is doing: a row at each change.
source_states = Table(
    "source_states",
    metadata,
    _word("source"),
    _time("known_at"),  # when we saw it
    _word("state"),
    _time("since"),
    Column("reason", Text, nullable=False),
    PrimaryKeyConstraint("source", "known_at"),
    _check("state", "state IN ('ok', 'stale', 'down', 'off')"),
    _check("times", "since <= known_at"),
    Index(None, "known_at"),
)

# Up to when what sources told is sealed: by a panel its newest close, by `facts` their newest date.
source_seals = Table(
    "source_seals",
    metadata,
    Column("name", _WORD, primary_key=True),
    _time("sealed_until"),
)

# What was known of an instrument at a close beside its candles: `values` follow
# feature_sets.columns, NULL where nobody told it, and `source_status` says of each source why.
ml_features_sentiment = Table(
    "ml_features_sentiment",
    metadata,
    _int("instrument_id"),
    _word("timeframe"),
    _word("feature_set"),
    _time("as_of"),
    _int("revision"),
    _time("known_at"),
    _json("source_status"),
    Column("row_hash", LargeBinary, nullable=False),
    Column("values", ARRAY(Double, dimensions=1), nullable=False),
    PrimaryKeyConstraint("instrument_id", "timeframe", "feature_set", "as_of", "revision"),
    _check("finite", "'Infinity' > ALL(\"values\") AND '-Infinity' < ALL(\"values\")"),
)

# A cache: the mean losses of a past day, of all instruments of an exchange, beside a baseline's on
# the same rows. Of each (exchange, timeframe, horizon) the days before some day are here.
score_days = Table(
    "score_days",
    metadata,
    _word("exchange"),
    _word("timeframe"),
    _int("horizon"),
    _time("day"),
    _word("role"),
    _word("model"),
    _word("origin"),
    _word("target"),
    _word("baseline"),
    _int("count"),
    _float("effective_count"),
    _float("loss"),
    _float("baseline_loss"),
    _time("first_as_of"),
    _time("last_as_of"),
    _time("known_at"),
    PrimaryKeyConstraint(
        *("exchange", "timeframe", "horizon", "day"),
        *("role", "model", "origin", "target", "baseline"),
    ),
)

# Before which day rows of members and challengers, baselines excepted, were dropped once judged: of
# those days `score_days` is the record, and no cache.
dropped_members = Table(
    "dropped_members",
    metadata,
    _word("exchange"),
    _word("timeframe"),
    _int("horizon"),
    _time("until"),
    PrimaryKeyConstraint("exchange", "timeframe", "horizon"),
)

# Of a panel whose older feature rows were dropped: the close of the first there was, and of the
# first that is kept.
dropped_features = Table(
    "dropped_features",
    metadata,
    _word("exchange"),
    _word("timeframe"),
    _time("beginning"),
    _time("since"),
    PrimaryKeyConstraint("exchange", "timeframe"),
)

# A cache of what the other tables say.
dashboard_data = Table(
    "dashboard_data",
    metadata,
    _word("panel"),
    _word("scope"),
    _time("as_of"),
    Column("version", BigInteger, nullable=False),
    _json("payload"),
    PrimaryKeyConstraint("panel", "scope"),
)

# A log is `<channel>.<timeframe>.<exchange>`; its streams add the symbol. `hashes` are those of
# the last events, 32 bytes a stream, in the order of `streams`.
stream_heads = Table(
    "stream_heads",
    metadata,
    _word("log"),
    Column(
        "epoch",
        _WORD,
        nullable=False,
        server_default=text("substr(md5(gen_random_uuid()::text), 1, 8)"),
    ),
    Column("block", BigInteger, nullable=False, server_default=text("0")),
    Column("streams", ARRAY(_WORD), nullable=False, server_default=text("'{}'")),
    Column("offsets", ARRAY(BigInteger), nullable=False, server_default=text("'{}'")),
    Column("hashes", LargeBinary, nullable=False, server_default=text("''")),
    PrimaryKeyConstraint("log"),
)

# The events of one batch, in their order. `places` are positions in the log's `streams`;
# `ends` say where each event's exact JSON bytes end in `payloads`.
# The view `stream_events` has a row for each event.
stream_blocks = Table(
    "stream_blocks",
    metadata,
    _word("log"),
    Column("block", BigInteger, nullable=False),
    _word("event"),
    _time("as_of"),
    _time("published_at"),
    Column("places", ARRAY(Integer), nullable=False),
    Column("offsets", ARRAY(BigInteger), nullable=False),
    Column("ends", ARRAY(Integer), nullable=False),
    Column("payloads", LargeBinary, nullable=False),
    Column("hashes", LargeBinary, nullable=False),
    PrimaryKeyConstraint("log", "block"),
    Index(None, "log", "as_of"),
)

# Where a log begins whose older blocks were dropped: behind the last of them. `offsets` and
# `hashes` are those of the last dropped event of each stream, in the order of `stream_heads`;
# streams that came later have none. The times are of all that was dropped.
stream_bases = Table(
    "stream_bases",
    metadata,
    _word("log"),
    Column("block", BigInteger, nullable=False),
    Column("offsets", ARRAY(BigInteger), nullable=False),
    Column("hashes", LargeBinary, nullable=False),
    _time("first_as_of"),
    _time("last_as_of"),
    _time("published_at"),
    PrimaryKeyConstraint("log"),
)

cross_sections = Table(
    "cross_sections",
    metadata,
    _word("exchange"),
    _word("timeframe"),
    _time("as_of"),
    Column("members", ARRAY(Integer), nullable=False),
    _time("arrived_at"),
    Column("deadline", Boolean, nullable=False),  # drawn because time was up
    _json("stage_us"),  # microseconds of each stage
    PrimaryKeyConstraint("exchange", "timeframe", "as_of"),
)

state_snapshots = Table(
    "state_snapshots",
    metadata,
    _word("exchange"),
    _word("timeframe"),
    _word("room"),
    _word("scope"),
    _time("as_of"),
    Column("payload", LargeBinary, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    PrimaryKeyConstraint("exchange", "timeframe", "room", "scope", "as_of"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _word("source"),
    _time("received_at"),
    _word("reason"),
    Column("detail", Text, nullable=False),
    _json("payload"),
)

# What of the expected grid is missing, and what was. Rows that are not filled do not overlap.
ingest_gaps = Table(
    "ingest_gaps",
    metadata,
    _int("instrument_id"),
    _word("timeframe"),
    _time("from_time"),
    _time("to_time"),
    _word("cause"),
    _word("state"),
    _time("detected_at"),
    _time("filled_at", nullable=True),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("instrument_id", "timeframe", "from_time", "detected_at"),
    _check("state", "state IN ('open', 'repairing', 'filled', 'unfillable')"),
    _check("times", "to_time > from_time"),
    _check("filled", "(state = 'filled') = (filled_at IS NOT NULL)"),
    Index(
        "ingest_gaps_missing_idx",
        "instrument_id",
        "timeframe",
        "from_time",
        unique=True,
        postgresql_where=text("state <> 'filled'"),
    ),
)

# From the first to the last candle that a series was ever seen with: the expected grid.
candle_extents = Table(
    "candle_extents",
    metadata,
    _int("instrument_id"),
    _word("timeframe"),
    _time("from_time"),
    _time("to_time"),  # the first open time that was not expected yet
    PrimaryKeyConstraint("instrument_id", "timeframe"),
    _check("times", "to_time > from_time"),
)

# Who may call. Only the digest of a secret is kept; `instruments` NULL: all.
api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", _WORD, primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("scopes", ARRAY(_WORD), nullable=False),
    Column("instruments", ARRAY(_WORD)),
    _int("quota"),  # requests a minute
    _int("connections"),  # sockets at a time
    _time("created_at"),
    _time("expires_at", nullable=True),
    _time("revoked_at", nullable=True),
    Column("last_used", Date),
    _check("digest", "octet_length(digest) = 32"),
    _check("quota", "quota > 0"),
    _check("connections", "connections > 0"),
)

# What was changed or refused. Refused requests that differ in nothing but their paths are one row
# a minute, with the first of the paths and their count.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _time("at"),
    _time("last_at"),
    _word("caller"),
    _word("address"),
    _word("action"),
    Column("path", Text, nullable=False),
    _int("outcome", nullable=True),  # a status or a close code; NULL: how it ended is not known
    _word("request_id", nullable=True),
    Column("count", BigInteger, nullable=False, server_default=text("1")),
    _time("minute", nullable=True),  # of refused requests
    _check("count", "count > 0"),
    Index("audit_log_at_idx", "at"),
    Index(
        "audit_log_refused_idx",
        "minute",
        "caller",
        "address",
        "outcome",
        unique=True,
        postgresql_where=text("minute IS NOT NULL"),
    ),
)

# What channels are told: `body` as it is sent. Notifications of one channel and subject go in the
# order of `number`. Times are the machine's; `at` is the market's.
notifications = Table(
    "notifications",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    _word("id"),
    _word("channel"),
    _word("event"),
    _word("subject"),
    _time("at"),
    Column("body", Text, nullable=False),
    _word("state", default="pending"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _time("created_at"),
    _time("next_attempt_at"),
    _time("sent_at", nullable=True),
    Column("error", Text),
    UniqueConstraint("id"),
    _check("state", "state IN ('pending', 'sent', 'dead')"),
    _check("sent", "(state = 'sent') = (sent_at IS NOT NULL)"),
    Index(None, "created_at"),
    Index(
        "notifications_unsent_idx",
        "channel",
        "state",
        "subject",
        "number",
        postgresql_where=text("state <> 'sent'"),
    ),
)

# How far notifications have read: the last block of a log; of `source_states` the microsecond.
# A channel of streams that is read has a row itself: logs that are not here began after it.
notification_cursors = Table(
    "notification_cursors",
    metadata,
    _word("log"),
    Column("position", BigInteger, nullable=False),
    PrimaryKeyConstraint("log"),
)

# How far each log was put on a broker, by the id of its cluster: its last block that was taken.
relay_cursors = Table(
    "relay_cursors",
    metadata,
    _word("cluster"),
    _word("log"),
    Column("block", BigInteger, nullable=False),
    PrimaryKeyConstraint("cluster", "log"),
)

# Whose predictions were told to be stale, with the close of the newest, until they are fresh again.
stale_predictions = Table(
    "stale_predictions",
    metadata,
    _word("exchange"),
    _word("symbol"),
    _word("timeframe"),
    _time("as_of"),
    PrimaryKeyConstraint("exchange", "symbol", "timeframe"),
)
