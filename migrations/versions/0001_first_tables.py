"""The first tables: the record of candles, features, labels, models, predictions and signals."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
CREATE TABLE candle_revisions (
    instrument_id INTEGER NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    open_time TIMESTAMP WITH TIME ZONE NOT NULL,
    close_time TIMESTAMP WITH TIME ZONE NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume DOUBLE PRECISION NOT NULL,
    trades BIGINT,
    event_time TIMESTAMP WITH TIME ZONE,
    confirmed BOOLEAN NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    known_at TIMESTAMP WITH TIME ZONE NOT NULL,
    row_hash BYTEA NOT NULL,
    CONSTRAINT candle_revisions_pkey PRIMARY KEY (instrument_id, timeframe, open_time, row_hash),
        CONSTRAINT candle_revisions_prices_check CHECK (low > 0 AND high > '-Infinity' AND high <
        'Infinity'),
        CONSTRAINT candle_revisions_shape_check CHECK (low <= open AND low <= close AND open <=
        high AND close <= high),
    CONSTRAINT candle_revisions_volume_check CHECK (volume >= 0 AND volume < 'Infinity'),
    CONSTRAINT candle_revisions_times_check CHECK (close_time > open_time),
    CONSTRAINT candle_revisions_trades_check CHECK (trades >= 0)
)
""",
    """
CREATE TABLE candles (
    instrument_id INTEGER NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    open_time TIMESTAMP WITH TIME ZONE NOT NULL,
    close_time TIMESTAMP WITH TIME ZONE NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume DOUBLE PRECISION NOT NULL,
    trades BIGINT,
    event_time TIMESTAMP WITH TIME ZONE,
    confirmed BOOLEAN NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    revision INTEGER NOT NULL,
    known_at TIMESTAMP WITH TIME ZONE NOT NULL,
    row_hash BYTEA NOT NULL,
    CONSTRAINT candles_pkey PRIMARY KEY (instrument_id, timeframe, open_time),
    CONSTRAINT candles_prices_check CHECK (low > 0 AND high > '-Infinity' AND high < 'Infinity'),
        CONSTRAINT candles_shape_check CHECK (low <= open AND low <= close AND open <= high AND
        close <= high),
    CONSTRAINT candles_volume_check CHECK (volume >= 0 AND volume < 'Infinity'),
    CONSTRAINT candles_times_check CHECK (close_time > open_time),
    CONSTRAINT candles_trades_check CHECK (trades >= 0)
)
""",
    """
CREATE TABLE cross_sections (
    exchange TEXT COLLATE "C" NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    members INTEGER[] NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    deadline BOOLEAN NOT NULL,
    stage_us JSONB NOT NULL,
    CONSTRAINT cross_sections_pkey PRIMARY KEY (exchange, timeframe, as_of)
)
""",
    """
CREATE TABLE dashboard_data (
    panel TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    version BIGINT NOT NULL,
    payload JSONB NOT NULL,
    CONSTRAINT dashboard_data_pkey PRIMARY KEY (panel, scope)
)
""",
    """
CREATE TABLE feature_sets (
    feature_set TEXT COLLATE "C" NOT NULL,
    columns TEXT[] NOT NULL,
    model_columns TEXT[] NOT NULL,
    spec JSONB NOT NULL,
    code_sha TEXT NOT NULL,
    warmup_bars INTEGER NOT NULL,
    CONSTRAINT feature_sets_pkey PRIMARY KEY (feature_set)
)
""",
    """
CREATE TABLE ingest_gaps (
    instrument_id INTEGER NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    from_time TIMESTAMP WITH TIME ZONE NOT NULL,
    to_time TIMESTAMP WITH TIME ZONE NOT NULL,
    cause TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    detected_at TIMESTAMP WITH TIME ZONE NOT NULL,
    filled_at TIMESTAMP WITH TIME ZONE,
    attempts INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT ingest_gaps_pkey PRIMARY KEY (instrument_id, timeframe, from_time),
        CONSTRAINT ingest_gaps_state_check CHECK (state IN ('open', 'repairing', 'filled',
        'unfillable')),
    CONSTRAINT ingest_gaps_times_check CHECK (to_time > from_time)
)
""",
    """
CREATE TABLE instruments (
    instrument_id INTEGER GENERATED ALWAYS AS IDENTITY,
    exchange TEXT COLLATE "C" NOT NULL,
    symbol TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    base TEXT COLLATE "C" NOT NULL,
    quote TEXT COLLATE "C" NOT NULL,
    tick_size DOUBLE PRECISION,
    lot_size DOUBLE PRECISION,
    min_notional DOUBLE PRECISION,
    listed_at TIMESTAMP WITH TIME ZONE,
    delisted_at TIMESTAMP WITH TIME ZONE,
    watched_from TIMESTAMP WITH TIME ZONE,
    watched_until TIMESTAMP WITH TIME ZONE,
    CONSTRAINT instruments_pkey PRIMARY KEY (instrument_id),
    CONSTRAINT instruments_exchange_symbol_key UNIQUE (exchange, symbol),
        CONSTRAINT instruments_sizes_check CHECK (tick_size > '-Infinity' AND tick_size <
        'Infinity' AND lot_size > '-Infinity' AND lot_size < 'Infinity' AND min_notional >
        '-Infinity' AND min_notional < 'Infinity')
)
""",
    """
CREATE TABLE ml_features_ohlcv (
    instrument_id INTEGER NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    feature_set TEXT COLLATE "C" NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    revision INTEGER NOT NULL,
    known_at TIMESTAMP WITH TIME ZONE NOT NULL,
    candle_revision INTEGER NOT NULL,
    coverage DOUBLE PRECISION NOT NULL,
    row_hash BYTEA NOT NULL,
    values DOUBLE PRECISION[] NOT NULL,
        CONSTRAINT ml_features_ohlcv_pkey PRIMARY KEY (instrument_id, timeframe, feature_set,
        as_of, revision),
    CONSTRAINT ml_features_ohlcv_coverage_check CHECK (coverage >= 0 AND coverage <= 1),
        CONSTRAINT ml_features_ohlcv_finite_check CHECK ('Infinity' > ALL("values") AND
        '-Infinity' < ALL("values"))
)
""",
    """
CREATE TABLE ml_labels (
    instrument_id INTEGER NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    label_set TEXT COLLATE "C" NOT NULL,
    horizon INTEGER NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    revision INTEGER NOT NULL,
    direction_known_at TIMESTAMP WITH TIME ZONE,
    known_at TIMESTAMP WITH TIME ZONE,
    outcome SMALLINT,
    weight DOUBLE PRECISION,
    log_return DOUBLE PRECISION,
    realized_volatility DOUBLE PRECISION,
    uniqueness DOUBLE PRECISION,
    void BOOLEAN NOT NULL,
        CONSTRAINT ml_labels_pkey PRIMARY KEY (instrument_id, timeframe, label_set, horizon,
        as_of, revision),
    CONSTRAINT ml_labels_outcome_check CHECK (outcome IN (-1, 0, 1)),
        CONSTRAINT ml_labels_direction_check CHECK (outcome IS NULL OR direction_known_at IS NOT
        NULL),
    CONSTRAINT ml_labels_later_check CHECK (direction_known_at > as_of AND known_at > as_of),
    CONSTRAINT ml_labels_order_check CHECK (known_at >= direction_known_at),
        CONSTRAINT ml_labels_void_check CHECK (NOT void OR (known_at IS NOT NULL AND outcome IS
        NULL)),
        CONSTRAINT ml_labels_known_check CHECK ((known_at IS NOT NULL AND NOT void) = (log_return
        IS NOT NULL) AND (log_return IS NULL) = (realized_volatility IS NULL)),
        CONSTRAINT ml_labels_finite_check CHECK (weight > '-Infinity' AND weight < 'Infinity' AND
        log_return > '-Infinity' AND log_return < 'Infinity' AND realized_volatility > '-Infinity'
        AND realized_volatility < 'Infinity' AND uniqueness > '-Infinity' AND uniqueness <
        'Infinity'),
        CONSTRAINT ml_labels_ranges_check CHECK (weight >= 0 AND realized_volatility >= 0 AND
        uniqueness >= 0)
)
""",
    """
CREATE INDEX ml_labels_timeframe_horizon_known_at_idx ON ml_labels (timeframe, horizon, known_at)
""",
    """
CREATE TABLE ml_models_metadata (
    model_id BIGINT GENERATED ALWAYS AS IDENTITY,
    name TEXT COLLATE "C" NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    exchange TEXT COLLATE "C" NOT NULL,
    horizon INTEGER NOT NULL,
    version INTEGER NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    params JSONB NOT NULL,
    seed BIGINT NOT NULL,
    code_sha TEXT NOT NULL,
    data_sha256 TEXT NOT NULL,
    feature_set TEXT COLLATE "C" NOT NULL,
    label_set TEXT COLLATE "C" NOT NULL,
    trained_from TIMESTAMP WITH TIME ZONE NOT NULL,
    trained_until TIMESTAMP WITH TIME ZONE NOT NULL,
    effective_from TIMESTAMP WITH TIME ZONE,
    n_train INTEGER NOT NULL,
    n_effective DOUBLE PRECISION NOT NULL,
    n_trials INTEGER NOT NULL,
    metrics JSONB NOT NULL,
    environment JSONB NOT NULL,
    artifact_path TEXT NOT NULL,
    artifact_sha256 TEXT NOT NULL,
    artifact_bytes BIGINT NOT NULL,
    train_seconds DOUBLE PRECISION NOT NULL,
    parent_version INTEGER,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT ml_models_metadata_pkey PRIMARY KEY (model_id),
        CONSTRAINT ml_models_metadata_name_timeframe_exchange_horizon_version_key UNIQUE (name,
        timeframe, exchange, horizon, version),
    CONSTRAINT ml_models_metadata_version_check CHECK (version >= 1),
        CONSTRAINT ml_models_metadata_status_check CHECK (status IN ('registered', 'eligible',
        'rejected', 'retired')),
        CONSTRAINT ml_models_metadata_finite_check CHECK (n_effective > '-Infinity' AND
        n_effective < 'Infinity' AND train_seconds > '-Infinity' AND train_seconds < 'Infinity')
)
""",
    """
CREATE TABLE ml_prediction_outcomes (
    instrument_id INTEGER NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    horizon INTEGER NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    revision INTEGER NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    version TEXT COLLATE "C" NOT NULL,
    origin TEXT COLLATE "C" NOT NULL,
    scored_at TIMESTAMP WITH TIME ZONE NOT NULL,
    log_loss DOUBLE PRECISION,
    brier DOUBLE PRECISION,
    pinball DOUBLE PRECISION,
    qlike DOUBLE PRECISION,
    covered DOUBLE PRECISION,
        CONSTRAINT ml_prediction_outcomes_pkey PRIMARY KEY (instrument_id, timeframe, horizon,
        as_of, revision, role, model),
        CONSTRAINT ml_prediction_outcomes_role_check CHECK (role IN ('champion', 'member',
        'challenger')),
    CONSTRAINT ml_prediction_outcomes_origin_check CHECK (origin IN ('live', 'late', 'backtest')),
        CONSTRAINT ml_prediction_outcomes_finite_check CHECK (log_loss > '-Infinity' AND log_loss
        < 'Infinity' AND brier > '-Infinity' AND brier < 'Infinity' AND pinball > '-Infinity' AND
        pinball < 'Infinity' AND qlike > '-Infinity' AND qlike < 'Infinity' AND covered >
        '-Infinity' AND covered < 'Infinity')
)
""",
    """
CREATE INDEX ml_prediction_outcomes_as_of_idx ON ml_prediction_outcomes USING brin (as_of)
""",
    """
CREATE TABLE ml_predictions (
    instrument_id INTEGER NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    horizon INTEGER NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    revision INTEGER NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    version TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    members JSONB,
    made_at TIMESTAMP WITH TIME ZONE NOT NULL,
    origin TEXT COLLATE "C" NOT NULL,
    p_down DOUBLE PRECISION,
    p_flat DOUBLE PRECISION,
    p_up DOUBLE PRECISION,
    q10 DOUBLE PRECISION,
    q50 DOUBLE PRECISION,
    q90 DOUBLE PRECISION,
    volatility DOUBLE PRECISION,
    degraded TEXT COLLATE "C" DEFAULT '' NOT NULL,
    feature_set TEXT COLLATE "C" NOT NULL,
    feature_revision INTEGER NOT NULL,
        CONSTRAINT ml_predictions_pkey PRIMARY KEY (instrument_id, timeframe, horizon, as_of,
        revision, role, model),
    CONSTRAINT ml_predictions_role_check CHECK (role IN ('champion', 'member', 'challenger')),
    CONSTRAINT ml_predictions_origin_check CHECK (origin IN ('live', 'late', 'backtest')),
        CONSTRAINT ml_predictions_probabilities_check CHECK ((p_down IS NULL) = (p_flat IS NULL)
        AND (p_down IS NULL) = (p_up IS NULL)),
    CONSTRAINT ml_predictions_sum_check CHECK (abs(p_down + p_flat + p_up - 1) < 1e-6),
    CONSTRAINT ml_predictions_shares_check CHECK (p_down >= 0 AND p_flat >= 0 AND p_up >= 0),
        CONSTRAINT ml_predictions_quantiles_check CHECK ((q10 IS NULL) = (q50 IS NULL) AND (q10 IS
        NULL) = (q90 IS NULL)),
        CONSTRAINT ml_predictions_order_check CHECK (q10 <= q50 AND q50 <= q90 AND q10 >
        '-Infinity' AND q10 < 'Infinity' AND q90 > '-Infinity' AND q90 < 'Infinity'),
    CONSTRAINT ml_predictions_volatility_check CHECK (volatility >= 0 AND volatility < 'Infinity')
)
""",
    """
CREATE INDEX ml_predictions_as_of_idx ON ml_predictions USING brin (as_of)
""",
    """
CREATE TABLE model_aliases (
    exchange TEXT COLLATE "C" NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    horizon INTEGER NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    alias TEXT COLLATE "C" NOT NULL,
    version INTEGER NOT NULL,
    set_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT model_aliases_pkey PRIMARY KEY (exchange, timeframe, horizon, target, name, alias),
    CONSTRAINT model_aliases_alias_check CHECK (alias IN ('champion', 'challenger', 'previous'))
)
""",
    """
CREATE TABLE promotion_decisions (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    exchange TEXT COLLATE "C" NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    horizon INTEGER NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    champion_version INTEGER,
    challenger_version INTEGER,
    verdict TEXT COLLATE "C" NOT NULL,
    trigger TEXT COLLATE "C" NOT NULL,
    decided_at TIMESTAMP WITH TIME ZONE NOT NULL,
    evidence JSONB NOT NULL,
    CONSTRAINT promotion_decisions_pkey PRIMARY KEY (id)
)
""",
    """
CREATE INDEX promotion_decisions_exchange_timeframe_horizon_target_name_idx ON promotion_decisions
    (exchange, timeframe, horizon, target, name)
""",
    """
CREATE TABLE quarantine (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    source TEXT COLLATE "C" NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    detail TEXT NOT NULL,
    payload JSONB NOT NULL,
    CONSTRAINT quarantine_pkey PRIMARY KEY (id)
)
""",
    """
CREATE TABLE skill_verdicts (
    exchange TEXT COLLATE "C" NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    horizon INTEGER NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    baseline TEXT COLLATE "C" NOT NULL,
    skill DOUBLE PRECISION,
    low DOUBLE PRECISION,
    high DOUBLE PRECISION,
    blocks INTEGER NOT NULL,
    count INTEGER NOT NULL,
    no_skill BOOLEAN NOT NULL,
    CONSTRAINT skill_verdicts_pkey PRIMARY KEY (exchange, timeframe, horizon, target, at),
        CONSTRAINT skill_verdicts_finite_check CHECK (skill > '-Infinity' AND skill < 'Infinity'
        AND low > '-Infinity' AND low < 'Infinity' AND high > '-Infinity' AND high < 'Infinity')
)
""",
    """
CREATE TABLE state_snapshots (
    exchange TEXT COLLATE "C" NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    room TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    payload BYTEA NOT NULL,
    sha256 BYTEA NOT NULL,
    CONSTRAINT state_snapshots_pkey PRIMARY KEY (exchange, timeframe, room, scope, as_of)
)
""",
    """
CREATE TABLE stream_blocks (
    log TEXT COLLATE "C" NOT NULL,
    block BIGINT NOT NULL,
    event TEXT COLLATE "C" NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    published_at TIMESTAMP WITH TIME ZONE NOT NULL,
    places INTEGER[] NOT NULL,
    offsets BIGINT[] NOT NULL,
    ends INTEGER[] NOT NULL,
    payloads BYTEA NOT NULL,
    hashes BYTEA NOT NULL,
    CONSTRAINT stream_blocks_pkey PRIMARY KEY (log, block)
)
""",
    """
CREATE INDEX stream_blocks_log_as_of_idx ON stream_blocks (log, as_of)
""",
    """
CREATE TABLE stream_heads (
    log TEXT COLLATE "C" NOT NULL,
    epoch TEXT COLLATE "C" DEFAULT substr(md5(gen_random_uuid()::text), 1, 8) NOT NULL,
    block BIGINT DEFAULT 0 NOT NULL,
    streams TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
    offsets BIGINT[] DEFAULT '{}' NOT NULL,
    hashes BYTEA DEFAULT '' NOT NULL,
    CONSTRAINT stream_heads_pkey PRIMARY KEY (log)
)
""",
    """
CREATE TABLE trading_signals (
    instrument_id INTEGER NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    horizon INTEGER NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    revision INTEGER NOT NULL,
    side TEXT COLLATE "C" NOT NULL,
    strength DOUBLE PRECISION NOT NULL,
    gate TEXT COLLATE "C" NOT NULL,
    size_fraction DOUBLE PRECISION NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    version TEXT COLLATE "C" NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE NOT NULL,
    sigma DOUBLE PRECISION,
    status TEXT COLLATE "C" NOT NULL,
    entry_price DOUBLE PRECISION,
    stop DOUBLE PRECISION,
    take DOUBLE PRECISION,
    closed_at TIMESTAMP WITH TIME ZONE,
    exit_price DOUBLE PRECISION,
    realized_return DOUBLE PRECISION,
        CONSTRAINT trading_signals_pkey PRIMARY KEY (instrument_id, timeframe, horizon, as_of,
        revision),
    CONSTRAINT trading_signals_side_check CHECK (side IN ('long', 'short', 'flat')),
        CONSTRAINT trading_signals_status_check CHECK (status IN ('pending', 'active',
        'take_profit', 'stop_loss', 'expired', 'flat')),
        CONSTRAINT trading_signals_flat_check CHECK ((side = 'flat') = (status = 'flat') AND (side
        = 'flat') = (gate <> '')),
        CONSTRAINT trading_signals_amounts_check CHECK (strength > '-Infinity' AND strength <
        'Infinity' AND size_fraction > '-Infinity' AND size_fraction < 'Infinity' AND sigma >
        '-Infinity' AND sigma < 'Infinity'),
        CONSTRAINT trading_signals_prices_check CHECK (entry_price > '-Infinity' AND entry_price <
        'Infinity' AND stop > '-Infinity' AND stop < 'Infinity' AND take > '-Infinity' AND take <
        'Infinity' AND exit_price > '-Infinity' AND exit_price < 'Infinity' AND realized_return >
        '-Infinity' AND realized_return < 'Infinity')
)
""",
)

# A revision is a change of prices or volume; a confirmation that changes nothing is none.
CANDLE_HISTORY = """
CREATE VIEW candle_history AS
WITH told AS (
    SELECT
        instrument_id, timeframe, open_time, close_time, open, high, low, close, volume, trades,
        event_time, confirmed, source, known_at, row_hash
    FROM candles
    UNION ALL
    SELECT
        instrument_id, timeframe, open_time, close_time, open, high, low, close, volume, trades,
        event_time, confirmed, source, known_at, row_hash
    FROM candle_revisions
), compared AS (
    SELECT
        told.*,
        (ARRAY[open, high, low, close, volume]
            IS DISTINCT FROM lag(ARRAY[open, high, low, close, volume]) OVER versions)::int
            AS changed
    FROM told
    WINDOW versions AS (
        PARTITION BY instrument_id, timeframe, open_time
        ORDER BY confirmed, event_time NULLS FIRST, trades NULLS FIRST, volume, row_hash
    )
)
SELECT compared.*, sum(changed) OVER (versions ROWS UNBOUNDED PRECEDING)::int AS revision
FROM compared
WINDOW versions AS (
    PARTITION BY instrument_id, timeframe, open_time
    ORDER BY confirmed, event_time NULLS FIRST, trades NULLS FIRST, volume, row_hash
)
"""


# What is stored uncompressed is written at once, and a slice of it is read alone.
STORAGE = (
    "ALTER TABLE stream_blocks ALTER payloads SET STORAGE EXTERNAL",
    "ALTER TABLE stream_blocks ALTER hashes SET STORAGE EXTERNAL",
    "ALTER TABLE stream_heads ALTER hashes SET STORAGE EXTERNAL",
)

STREAM_EVENTS = """
CREATE VIEW stream_events AS
SELECT
    log, b.block, streams[place] AS stream, epoch, "offset", event, as_of, published_at,
    substr(payloads, coalesce(ends[n - 1], 0) + 1, ends[n] - coalesce(ends[n - 1], 0)) AS payload,
    substr(b.hashes, (n::int - 1) * 32 + 1, 32) AS hash
FROM stream_blocks b
JOIN stream_heads h USING (log)
CROSS JOIN unnest(places, b.offsets) WITH ORDINALITY AS e(place, "offset", n)
"""


def upgrade() -> None:
    for statement in (*TABLES, CANDLE_HISTORY, *STORAGE, STREAM_EVENTS):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP VIEW stream_events")
    op.execute("DROP VIEW candle_history")
    for statement in reversed(TABLES):
        kind, name = statement.split()[1:3]
        if kind == "TABLE":
            op.execute(f"DROP TABLE {name} CASCADE")  # with the views of its feature sets
