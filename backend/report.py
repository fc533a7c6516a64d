"""The replay report: every number recomputed from the rows that the replay wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import numpy as np
import orjson

from backend.figures import (
    CLASSES,
    PRIORS,
    deflated,
    interval,
    number,
    parts_of_direction,
    sureness,
)
from backend.remarks import of_direction, of_signals
from backend.store.accounts import read_accounts
from backend.store.class_record import class_record
from backend.store.registry import role_of
from domain.events import QUANTILE_LEVELS, Floats, Ints, Target
from domain.losses import BASELINES, LOSS_OF
from domain.market import Horizon, Instrument, Timeframe, rfc3339
from services.scores.metrics import calibration_error, daily_auc
from services.scores.skill import DAY_MS, ScoredRows, SkillEstimate, daily_means, pooled_skill

SERVED: Final = "served"
PRIOR_SERVES: Final = "no_skill.direction"  # an expanding prior's AUC is biased below one half

_SCORED: Final = """
SELECT o.instrument_id, (extract(epoch FROM o.as_of) * 1000)::bigint AS as_of_ms, o.model,
       o.log_loss, o.brier, o.pinball, o.qlike, o.covered
FROM ml_prediction_outcomes o
WHERE o.horizon = $1 AND o.origin = 'live' AND o.model = ANY($2::text[])
ORDER BY o.as_of, o.instrument_id
"""
_FORECASTS: Final = """
SELECT p.instrument_id, (extract(epoch FROM p.as_of) * 1000)::bigint AS as_of_ms,
       p.p_down, p.p_flat, p.p_up, p.q10, p.volatility, p.degraded,
       b.p_down AS prior_down, b.p_flat AS prior_flat, b.p_up AS prior_up,
       l.outcome, l.uniqueness
FROM ml_predictions p
LEFT JOIN ml_predictions b ON b.instrument_id = p.instrument_id AND b.timeframe = p.timeframe
     AND b.horizon = p.horizon AND b.as_of = p.as_of AND b.revision = p.revision
     AND b.role = 'member' AND b.model = $2
LEFT JOIN ml_labels l ON l.instrument_id = p.instrument_id AND l.timeframe = p.timeframe
     AND l.horizon = p.horizon AND l.as_of = p.as_of AND l.known_at IS NOT NULL AND NOT l.void
WHERE p.horizon = $1 AND p.origin = 'live' AND p.role = 'champion'
ORDER BY p.as_of, p.instrument_id
"""
_SIGNALS: Final = """
SELECT side, gate, realized_return, (extract(epoch FROM as_of) * 1000)::bigint AS as_of_ms
FROM trading_signals WHERE horizon = $1
"""
# Every model that was fitted was tried, and those that were searched for more than once.
_TRIALS: Final = """
SELECT greatest(coalesce(sum(trials), 0), 1)::int FROM (
    SELECT max(n_trials) AS trials FROM ml_models_metadata
    WHERE horizon = $1 AND target IN ('direction', 'quantiles', 'volatility') GROUP BY name
) AS tried
"""
_MODELS: Final = """
SELECT m.target, m.name, m.version, m.kind, m.trained_until, m.effective_from,
       a.alias, o.loss
FROM ml_models_metadata m
LEFT JOIN model_aliases a ON a.name = m.name AND a.version = m.version
     AND a.horizon = m.horizon AND a.exchange = m.exchange AND a.timeframe = m.timeframe
LEFT JOIN LATERAL (
    SELECT avg(CASE m.target WHEN 'direction' THEN log_loss WHEN 'quantiles' THEN pinball
                             ELSE qlike END) AS loss
    FROM ml_prediction_outcomes
    WHERE model = m.name AND version = m.version::text AND origin = 'live' AND horizon = m.horizon
) o ON true
WHERE m.horizon = $1 ORDER BY m.name, m.version
"""
_EVENTS: Final = """
SELECT payload FROM stream_events WHERE log = 'models' ORDER BY "offset"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """One model's scored rows, sorted by (as_of, instrument)."""

    key: Ints  # (m,) as_of and instrument in one number
    as_of_ms: Ints
    instrument: Ints
    columns: Mapping[str, Floats]  # loss name → (m,)

    def beside(self, other: Losses, loss: str) -> ScoredRows:
        """Our loss and `other`'s on the rows that both were scored on."""
        _, ours, theirs = np.intersect1d(self.key, other.key, return_indices=True)
        return ScoredRows(
            as_of_ms=self.as_of_ms[ours],
            instrument=self.instrument[ours],
            loss=self.columns[loss][ours],
            baseline_loss=other.columns[loss][theirs],
        ).known()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContext:
    """What the tables do not say."""

    run: Mapping[str, Any]  # what was asked for
    data: Mapping[str, Any]
    cost: Mapping[str, Any]
    weights: Mapping[str, float]
    cost_bps: float
    seed: int


async def build_report(
    connection: asyncpg.Connection,
    *,
    timeframe: Timeframe,
    horizon: int,
    instruments: Mapping[int, Instrument],
    context: ReportContext,
) -> dict[str, Any]:
    """The report of interface.md; what cannot be computed is None."""
    names = [SERVED, *(name for target in BASELINES for name in BASELINES[target])]
    losses = await losses_of(connection, horizon, names)
    rows = await connection.fetch(_FORECASTS, horizon, *BASELINES[Target.DIRECTION])
    forecasts = _columns(rows, [*CLASSES, *PRIORS, "q10", "volatility", "outcome", "uniqueness"])
    span = Horizon(timeframe, horizon)
    compared = {target: _compare(losses, target, span, context.seed) for target in BASELINES}
    direction = {
        **_direction(losses, compared[Target.DIRECTION], rows, forecasts),
        **parts_of_direction(rows, forecasts, span, context.seed),
    }
    found = await connection.fetch(_SIGNALS, horizon)
    days = np.unique([row["as_of_ms"] // DAY_MS for row in rows])
    signals = {
        **_signals(found, context.cost_bps),
        **sureness(found, days, span, context.seed),
        **deflated(found, days, span, await connection.fetchval(_TRIALS, horizon)),
    }
    return {
        "run": dict(context.run),
        "data": dict(context.data),
        "predictions": _predictions(rows, forecasts, losses),
        "direction": direction,
        "quantiles": _quantiles(losses, compared[Target.QUANTILES]),
        "volatility": _volatility(losses, compared[Target.VOLATILITY]),
        "per_instrument": _per_instrument(losses, compared, instruments),
        "signals": signals,
        "ledger": next(map(_account, await read_accounts(connection)), None),
        "models": [
            _model(row, context.weights) for row in await connection.fetch(_MODELS, horizon)
        ],
        "events": [_event(row["payload"]) for row in await connection.fetch(_EVENTS)],
        "labels": await class_record(connection, span, context.seed),
        "sentiment": {"with": None, "without": None},
        "remarks": [*of_direction(direction), *of_signals(signals)],
        "cost": dict(context.cost),
    }


async def losses_of(
    connection: asyncpg.Connection,
    horizon: int,
    names: Sequence[str],
    places: Mapping[int, int] | None = None,
) -> dict[str, Losses]:
    """The scored live rows of some models; `places` gives instruments other numbers."""
    rows = await connection.fetch(_SCORED, horizon, list(names))
    model = np.array([row["model"] for row in rows], dtype=object)
    as_of_ms = np.array([row["as_of_ms"] for row in rows], dtype=np.int64)
    numbered = [row["instrument_id"] for row in rows]
    instrument = np.array([places[one] if places else one for one in numbered], dtype=np.int64)
    columns = _columns(rows, ["log_loss", "brier", "pinball", "qlike", "covered"])
    found = {}
    for name in names:
        chosen = model == name
        found[name] = Losses(
            key=as_of_ms[chosen] * 1_000 + instrument[chosen],
            as_of_ms=as_of_ms[chosen],
            instrument=instrument[chosen],
            columns={column: values[chosen] for column, values in columns.items()},
        )
    return found


def _columns(rows: Sequence[asyncpg.Record], names: Sequence[str]) -> dict[str, Floats]:
    return {
        name: np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=float)
        for name in names
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """The served forecast of a target beside its baselines."""

    baselines: Mapping[str, float]  # mean of daily means of each one's loss; NaN = no row
    rows: ScoredRows  # beside the best
    estimate: SkillEstimate


def _compare(
    losses: Mapping[str, Losses], target: Target, horizon: Horizon, seed: int
) -> _Compared:
    """Of two baselines the one with the lower loss counts."""
    loss = LOSS_OF[target]
    beside = {name: losses[SERVED].beside(losses[name], loss) for name in BASELINES[target]}
    means = {name: _baseline_loss(rows) for name, rows in beside.items()}
    best = min(means, key=lambda name: np.nan_to_num(means[name], nan=np.inf))
    rows = beside[best]
    return _Compared(baselines=means, rows=rows, estimate=pooled_skill(rows, horizon, seed))


def _baseline_loss(rows: ScoredRows) -> float:
    """As a skill counts it: the mean of daily means."""
    days = daily_means(rows)
    return float(days.mean(axis=0)[1]) if len(days) else float("nan")


def _predictions(
    rows: Sequence[asyncpg.Record], forecasts: Mapping[str, Floats], losses: Mapping[str, Losses]
) -> dict[str, Any]:
    degraded: dict[str, int] = {}
    for row in rows:
        for code in filter(None, row["degraded"].split(",")):
            degraded[code] = degraded.get(code, 0) + 1
    known = np.isfinite(forecasts["outcome"])
    abstained = ~(np.isfinite(forecasts["p_up"]) & np.isfinite(forecasts["volatility"]))
    return {
        "count": len(rows),
        "n_scored": len(losses[SERVED].key),
        "n_effective": float(np.nansum(forecasts["uniqueness"][known])),
        "abstained": int(abstained.sum()),
        "degraded": dict(sorted(degraded.items())),
    }


def _direction(
    losses: Mapping[str, Losses],
    compared: _Compared,
    rows: Sequence[asyncpg.Record],
    forecasts: Mapping[str, Floats],
) -> dict[str, Any]:
    probabilities = np.stack([forecasts[name] for name in CLASSES], axis=1)
    outcome = forecasts["outcome"]
    as_of_ms = np.array([row["as_of_ms"] for row in rows], dtype=np.int64)
    prior = np.array([PRIOR_SERVES in row["degraded"].split(",") for row in rows], dtype=np.bool_)
    lean = np.where(prior, np.nan, probabilities[:, 2] - probabilities[:, 0])
    estimate = compared.estimate
    return {
        "log_loss": number(estimate.loss),
        "baseline_log_loss": number(estimate.baseline_loss),
        "skill": number(estimate.skill),
        "skill_interval95": interval(estimate),
        "auc": _auc(as_of_ms, lean, outcome),
        "brier": _mean(losses[SERVED].columns["brier"]),
        "ece": number(calibration_error(probabilities, outcome)),
    }


def _auc(as_of_ms: Ints, lean: Floats, outcome: Floats) -> float | None:
    """Mean of the within-day AUCs of up against down."""
    if not len(as_of_ms):
        return None
    days, which, counts = np.unique(as_of_ms // DAY_MS, return_inverse=True, return_counts=True)
    place = np.arange(len(as_of_ms)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((2, len(days), int(counts.max())), np.nan)
    order = np.argsort(which, kind="stable")
    table[0, which[order], place], table[1, which[order], place] = lean[order], outcome[order]
    return number(daily_auc(table[0], table[1]))


def _quantiles(losses: Mapping[str, Losses], compared: _Compared) -> dict[str, Any]:
    estimate = compared.estimate
    return {
        "levels": list(QUANTILE_LEVELS),
        "pinball": number(estimate.loss),
        "baseline_pinball": number(estimate.baseline_loss),
        "skill": number(estimate.skill),
        "skill_interval95": interval(estimate),
        "coverage80": _mean(losses[SERVED].columns["covered"]),
    }


def _volatility(losses: Mapping[str, Losses], compared: _Compared) -> dict[str, Any]:
    served, estimate = losses[SERVED], compared.estimate
    judged = np.isfinite(served.columns["log_loss"])
    return {
        "qlike": number(estimate.loss),
        "excluded": int((judged & ~np.isfinite(served.columns["qlike"])).sum()),
        "baselines": {
            "ewma": number(compared.baselines["ewma.volatility"]),
            "har": number(compared.baselines["har.volatility"]),
            "garch": None,
        },
        "skill_over_best": number(estimate.skill),
        "skill_interval95": interval(estimate),
    }


def _per_instrument(
    losses: Mapping[str, Losses],
    compared: Mapping[Target, _Compared],
    instruments: Mapping[int, Instrument],
) -> list[dict[str, Any]]:
    served = losses[SERVED]
    names = {"direction": Target.DIRECTION, "quantile": Target.QUANTILES}
    names |= {"volatility": Target.VOLATILITY}
    rows = []
    for place, instrument in sorted(instruments.items(), key=lambda item: item[1]):
        ours = served.instrument == place
        rows.append(
            {
                "symbol": instrument.symbol,
                "n": int(ours.sum()),
                **{
                    f"{name}_skill": _skill_of(compared[target].rows, place)
                    for name, target in names.items()
                },
                "coverage80": _mean(served.columns["covered"][ours]),
            }
        )
    return rows


def _skill_of(rows: ScoredRows, place: int) -> float | None:
    days = daily_means(rows.where(rows.instrument == place))
    if not len(days):
        return None
    loss, baseline = days.mean(axis=0)
    return number(float(1 - loss / baseline)) if baseline > 0 else None


def _signals(rows: Sequence[asyncpg.Record], cost_bps: float) -> dict[str, Any]:
    flat: dict[str, int] = {}
    for row in rows:
        if row["side"] == "flat":
            flat[row["gate"]] = flat.get(row["gate"], 0) + 1
    returns = np.array([r["realized_return"] for r in rows if r["realized_return"] is not None])
    return {
        "count": len(rows),
        "flat": dict(sorted(flat.items())),
        "net_return": float(returns.sum()) if len(returns) else None,
        "cost_bps": cost_bps,
        "hit_rate": float((returns > 0).mean()) if len(returns) else None,
    }


def _account(row: Mapping[str, Any]) -> dict[str, Any]:
    moments = ("from", "as_of", "known_at")
    return {**row, **{name: rfc3339(row[name]) for name in moments}}


def _model(row: asyncpg.Record, weights: Mapping[str, float]) -> dict[str, Any]:
    return {
        "target": row["target"],
        "name": row["name"],
        "version": row["version"],
        "kind": row["kind"],
        "role": role_of([row["alias"]]),
        "trained_until": _time(row["trained_until"]),
        "effective_from": _time(row["effective_from"]),
        "loss": row["loss"],
        "weight": weights.get(row["name"]) if row["alias"] == "champion" else None,
    }


def _event(payload: bytes) -> dict[str, Any]:
    document = orjson.loads(payload)
    named = f"{document['model']} {document['version']}"
    return {
        "at": document["at"],
        "kind": document["kind"],
        "detail": f"{named}: {document['detail']}",
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
