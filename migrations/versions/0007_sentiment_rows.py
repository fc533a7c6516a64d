"""Features of sentiment as one row of values, as those of candles are; nobody wrote any before."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ROWS = """
CREATE TABLE ml_features_sentiment (
    instrument_id INTEGER NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    feature_set TEXT COLLATE "C" NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    revision INTEGER NOT NULL,
    known_at TIMESTAMP WITH TIME ZONE NOT NULL,
    source_status JSONB NOT NULL,
    row_hash BYTEA NOT NULL,
    values DOUBLE PRECISION[] NOT NULL,
        CONSTRAINT ml_features_sentiment_pkey PRIMARY KEY (instrument_id, timeframe,
        feature_set, as_of, revision),
        CONSTRAINT ml_features_sentiment_finite_check CHECK ('Infinity' > ALL("values") AND
        '-Infinity' < ALL("values"))
)
"""
COLUMNS = """
CREATE TABLE ml_features_sentiment (
    instrument_id INTEGER NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    feature_set TEXT COLLATE "C" NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    revision INTEGER NOT NULL,
    known_at TIMESTAMP WITH TIME ZONE NOT NULL,
    fear_greed_index SMALLINT,
    fear_greed_age_s DOUBLE PRECISION,
    news_score DOUBLE PRECISION,
    news_count INTEGER,
    news_age_s DOUBLE PRECISION,
    social_score DOUBLE PRECISION,
    social_count INTEGER,
    social_age_s DOUBLE PRECISION,
    weighted_coin DOUBLE PRECISION,
    divergence DOUBLE PRECISION,
    momentum DOUBLE PRECISION,
    volatility DOUBLE PRECISION,
    trend_strength DOUBLE PRECISION,
    bull_ratio DOUBLE PRECISION,
    bear_ratio DOUBLE PRECISION,
    neutral_ratio DOUBLE PRECISION,
    multi_timeframe JSONB NOT NULL,
    large_trade_imbalance DOUBLE PRECISION,
    funding_rate DOUBLE PRECISION,
    funding_rate_age_s DOUBLE PRECISION,
    open_interest_change DOUBLE PRECISION,
    open_interest_age_s DOUBLE PRECISION,
    long_short_ratio DOUBLE PRECISION,
    long_short_ratio_age_s DOUBLE PRECISION,
    source_status JSONB NOT NULL,
    row_hash BYTEA NOT NULL,
        CONSTRAINT ml_features_sentiment_pkey PRIMARY KEY (instrument_id, timeframe,
        feature_set, as_of, revision),
        CONSTRAINT ml_features_sentiment_fear_greed_check CHECK (fear_greed_index >= 0 AND
        fear_greed_index <= 100),
        CONSTRAINT ml_features_sentiment_scores_check CHECK (news_score >= -1 AND news_score <=
        1 AND social_score >= -1 AND social_score <= 1 AND weighted_coin >= -1 AND weighted_coin
        <= 1),
    CONSTRAINT ml_features_sentiment_counts_check CHECK (news_count >= 0 AND social_count >= 0),
        CONSTRAINT ml_features_sentiment_ratios_check CHECK ((bull_ratio IS NULL) = (bear_ratio
        IS NULL) AND (bull_ratio IS NULL) = (neutral_ratio IS NULL)),
        CONSTRAINT ml_features_sentiment_shares_check CHECK (bull_ratio >= 0 AND bear_ratio >= 0
        AND neutral_ratio >= 0),
        CONSTRAINT ml_features_sentiment_sum_check CHECK (abs(bull_ratio + bear_ratio +
        neutral_ratio - 1) < 1e-6),
        CONSTRAINT ml_features_sentiment_imbalance_check CHECK (large_trade_imbalance >= -1 AND
        large_trade_imbalance <= 1),
        CONSTRAINT ml_features_sentiment_finite_check CHECK (divergence > '-Infinity' AND
        divergence < 'Infinity' AND momentum > '-Infinity' AND momentum < 'Infinity' AND
        volatility > '-Infinity' AND volatility < 'Infinity' AND trend_strength > '-Infinity'
        AND trend_strength < 'Infinity'),
        CONSTRAINT ml_features_sentiment_derivatives_check CHECK (funding_rate > '-Infinity' AND
        funding_rate < 'Infinity' AND open_interest_change > '-Infinity' AND
        open_interest_change < 'Infinity' AND long_short_ratio > '-Infinity' AND
        long_short_ratio < 'Infinity'),
        CONSTRAINT ml_features_sentiment_ages_check CHECK (fear_greed_age_s > '-Infinity' AND
        fear_greed_age_s < 'Infinity' AND news_age_s > '-Infinity' AND news_age_s < 'Infinity'
        AND social_age_s > '-Infinity' AND social_age_s < 'Infinity'),
        CONSTRAINT ml_features_sentiment_derivatives_ages_check CHECK (funding_rate_age_s >
        '-Infinity' AND funding_rate_age_s < 'Infinity' AND open_interest_age_s > '-Infinity'
        AND open_interest_age_s < 'Infinity' AND long_short_ratio_age_s > '-Infinity' AND
        long_short_ratio_age_s < 'Infinity')
)
"""


def upgrade() -> None:
    op.execute("DROP TABLE ml_features_sentiment")
    op.execute(ROWS)


def downgrade() -> None:
    op.execute("DROP TABLE ml_features_sentiment")
    op.execute(COLUMNS)
