"""How feature rows are read with what was told beside them, and with the labels that came true."""

from __future__ import annotations

from typing import Final

from backend.store.tables import LABEL_SET

GOLDEN_RATIO: Final = 0.6180339887498949  # less 1

# What was told beside a row, as known at $5. The index: ml_features_sentiment_pkey.
_BESIDE: Final = """
LEFT JOIN LATERAL (
    SELECT told."values" FROM ml_features_sentiment AS told
    WHERE told.instrument_id = stored.instrument_id AND told.timeframe = stored.timeframe
        AND told.feature_set = $6 AND told.as_of = stored.as_of AND told.known_at <= $5
    ORDER BY told.revision DESC LIMIT 1
) AS beside ON true
"""
# NULL elements are told as NaN, so that all rows are of one width.
_VALUES: Final = """array_replace(
    stored."values" || coalesce(beside."values", array_fill(NULL::float8, ARRAY[$7::int])),
    NULL, 'NaN'::float8
)"""


def _newest(of: str) -> str:
    """The row of each instrument and close in `of`, in the newest revision known at $5."""
    return f"""CROSS JOIN LATERAL (
    SELECT {_VALUES} AS row, stored.revision, stored.candle_revision, stored.coverage
    FROM ml_features_ohlcv AS stored {_BESIDE}
    WHERE stored.instrument_id = {of}.instrument_id AND stored.timeframe = $2
        AND stored.feature_set = $4 AND stored.as_of = {of}.as_of AND stored.known_at <= $5
    ORDER BY stored.revision DESC LIMIT 1
) AS feature"""  # noqa: S608 - words of ours


# The index: ml_features_ohlcv_pkey.
FEATURES: Final = f"""
SELECT instrument_id, as_of, revision, candle_revision, coverage, {_VALUES}
FROM ml_features_ohlcv AS stored {_BESIDE}
WHERE instrument_id = ANY($1::int[]) AND timeframe = $2
    AND feature_set = $3 AND as_of > $4 AND as_of <= $5
"""  # noqa: S608 - words of ours
# Where there are more rows than are asked for, whole closes are left out, evenly over all of the
# past: multiples of the golden ratio, modulo 1, lie evenly whatever their number, and fall in with
# no hour of the day. A close that is kept of many is kept of fewer too.
# The indexes: ml_labels_timeframe_horizon_known_at_idx, then both primary keys.
EXAMPLES: Final = f"""
WITH known AS (
    SELECT label.*, symbol FROM ml_labels AS label JOIN instruments USING (instrument_id)
    WHERE label.timeframe = $2 AND label.horizon = $3 AND label.known_at <= $5
        AND label.label_set = '{LABEL_SET}' AND exchange = $1 AND NOT label.void
        AND NOT EXISTS (
            SELECT FROM dropped_features AS dropped
            WHERE (dropped.exchange, dropped.timeframe) = ($1, $2) AND label.as_of < since
        )
        AND NOT EXISTS (
            SELECT FROM ml_labels AS newer
            WHERE (newer.instrument_id, newer.timeframe, newer.label_set, newer.horizon,
                newer.as_of) = (label.instrument_id, label.timeframe, label.label_set,
                label.horizon, label.as_of)
                AND newer.revision > label.revision AND newer.known_at <= $5
        )
), chosen AS (
    SELECT * FROM known
    WHERE mod(extract(epoch FROM as_of)::bigint / $9::int * {GOLDEN_RATIO}, 1)
        < $8::numeric / (SELECT count(*) FROM known)
)
SELECT instrument_id, as_of, coalesce(direction_known_at, known_at), known_at,
    coalesce(outcome::float8, 'NaN'), coalesce(weight, 'NaN'), log_return, realized_volatility,
    coalesce(uniqueness, 'NaN'), feature.row
FROM chosen {_newest("chosen")}
"""  # noqa: S608 - words of ours
# Some closes of some instruments, as `EXAMPLES` has the rows of its labels. The index:
# ml_features_ohlcv_pkey.
ROWS_AT: Final = f"""
SELECT wanted.instrument_id, wanted.as_of, feature.revision, feature.candle_revision,
    feature.coverage, feature.row
FROM (
    SELECT * FROM unnest($1::int[]) AS one (instrument_id)
    CROSS JOIN unnest($3::timestamptz[]) AS close (as_of)
) AS wanted {_newest("wanted")}
"""  # noqa: S608 - words of ours
EXAMPLE_FIELDS: Final = (
    ("instrument_id", "i4"),
    ("as_of_ms", "i8"),
    ("direction_known_ms", "i8"),
    ("known_ms", "i8"),
    ("outcome", "f8"),
    ("weight", "f8"),
    ("log_return", "f8"),
    ("realized_volatility", "f8"),
    ("uniqueness", "f8"),
)
