"""What can be exported: for each kind its columns, the tables they are of, and its time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_INSTRUMENT: Final = "JOIN instruments i USING (instrument_id)"

# kind → (columns, tables, column of time)
KINDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "candles": (
        "exchange, symbol, timeframe, open_time, close_time, open, high, low, close, volume, "
        "revision, source, confirmed, known_at",
        f"candles t {_INSTRUMENT}",
        "close_time",
    ),
    "features": (
        "exchange, symbol, timeframe, feature_set, as_of, revision, known_at, candle_revision, "
        "coverage, columns, values",
        f"ml_features_ohlcv t {_INSTRUMENT} JOIN feature_sets USING (feature_set)",
        "as_of",
    ),
    "sentiment": (
        "exchange, symbol, timeframe, feature_set, as_of, revision, known_at, source_status, "
        "columns, values",
        f"ml_features_sentiment t {_INSTRUMENT} JOIN feature_sets USING (feature_set)",
        "as_of",
    ),
    "labels": (
        "exchange, symbol, timeframe, horizon, as_of, revision, direction_known_at, known_at, "
        "outcome, log_return, realized_volatility",
        f"ml_labels t {_INSTRUMENT}",
        "as_of",
    ),
    "predictions": (
        "exchange, symbol, timeframe, horizon, as_of, revision, made_at, origin, role, target, "
        "model, version, members, p_down, p_flat, p_up, q10, q50, q90, volatility, degraded, "
        "dissimilarity",
        f"ml_predictions t {_INSTRUMENT}",
        "as_of",
    ),
    "outcomes": (
        "exchange, symbol, timeframe, horizon, as_of, revision, role, model, version, origin, "
        "scored_at, log_loss, brier, pinball, qlike, covered",
        f"ml_prediction_outcomes t {_INSTRUMENT}",
        "as_of",
    ),
    "signals": (
        "exchange, symbol, timeframe, horizon, as_of, revision, side, strength, gate, "
        "size_fraction, expected_edge_bps, votes, entry_price, stop, take, expires_at, status, "
        "closed_at, exit_price, realized_return, model, version",
        f"trading_signals t {_INSTRUMENT}",
        "as_of",
    ),
    "models": (
        "exchange, '' AS symbol, timeframe, horizon, target, name, version, kind, status, "
        "trained_from, trained_until, effective_from, n_train, n_effective, n_trials, seed, "
        "artifact_sha256, train_seconds, created_at",
        "ml_models_metadata t",
        "created_at",
    ),
    "decisions": (
        "exchange, '' AS symbol, timeframe, horizon, target, name, "
        "champion_version AS seated_version, challenger_version AS judged_version, "
        'verdict, "trigger", decided_at, evidence',
        "promotion_decisions t",
        "decided_at",
    ),
}
REPLAYED: Final = ("predictions", "labels", "signals")  # the kinds of `replay --out`
