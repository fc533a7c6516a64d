"""What a replay's rows say of every model: its AUC against chance, and its skill."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg
import numpy as np

from domain.events import Floats, Target
from domain.losses import BASELINES, LOSS_OF
from domain.market import Horizon, Timeframe
from services.scores.metrics import auc_against_shifts
from services.scores.skill import DAY_MS, ScoredRows, SkillEstimate, pooled_skill

_FORECASTS = """
SELECT p.model, p.role, (extract(epoch FROM p.as_of) * 1000)::bigint AS as_of_ms, instrument_id,
       p.p_up - p.p_down AS lean, l.outcome
FROM ml_predictions p JOIN ml_labels l USING (instrument_id, timeframe, horizon, as_of)
WHERE p.p_up IS NOT NULL AND l.outcome IS NOT NULL AND l.known_at IS NOT NULL
ORDER BY p.model, p.as_of, instrument_id
"""
_SIDES = """
SELECT p.model, (extract(epoch FROM p.as_of) * 1000)::bigint AS as_of_ms, instrument_id,
       p.p_up / (p.p_up + p.p_down) AS side, l.outcome
FROM ml_predictions p JOIN ml_labels l USING (instrument_id, timeframe, horizon, as_of)
WHERE p.p_up IS NOT NULL AND l.outcome <> 0 AND l.known_at IS NOT NULL
ORDER BY p.model, p.as_of, instrument_id
"""
_LOSSES = """
SELECT model, (extract(epoch FROM as_of) * 1000)::bigint AS as_of_ms, instrument_id,
       log_loss, pinball, qlike
FROM ml_prediction_outcomes
"""


@dataclass(frozen=True, slots=True)
class Auc:
    """Mean within-day AUC of up against down, and how likely chance gives one as far from ½."""

    value: float
    p: float


async def aucs(url: str, horizon: Horizon) -> dict[str, Auc]:
    """Of every model that forecast a direction, its roles together."""
    connection = await asyncpg.connect(url)
    records = await connection.fetch(_FORECASTS)
    await connection.close()
    found = {}
    for model in sorted({record["model"] for record in records}):
        rows = [r for r in records if r["model"] == model]
        lean, outcome = _by_day(rows)
        shortest = max(1, -(-horizon.steps * horizon.timeframe.ms // DAY_MS))
        value, _, _, p = auc_against_shifts(lean, outcome, shortest)
        found[model] = Auc(value, p)
    return found


async def skills(url: str, target: Target, horizon: Horizon) -> dict[str, SkillEstimate]:
    """Of every model of `target`, against the better of its baselines."""
    connection = await asyncpg.connect(url)
    records = await connection.fetch(_LOSSES)
    await connection.close()
    losses: dict[str, dict[tuple[int, int], float]] = {}
    for record in records:
        loss = record[LOSS_OF[target]]
        if loss is not None:
            key = (record["as_of_ms"], record["instrument_id"])
            losses.setdefault(record["model"], {})[key] = loss
    baseline = min(BASELINES[target], key=lambda name: np.mean([*losses[name].values()]))
    return {
        model: _skill(losses[model], losses[baseline], horizon)
        for model in sorted(losses)
        if model.endswith(f".{target}") and model not in BASELINES[target]
    }


async def side_skills(url: str, horizon: Horizon) -> dict[str, SkillEstimate]:
    """Skill in telling up from down, given that a barrier was touched, against a coin.

    The whole log loss of a direction is no test of noise: how often a barrier is touched
    depends on how far the EWMA that set it was off, and that can be learnt even of a
    random walk. Which barrier cannot.
    """
    connection = await asyncpg.connect(url)
    records = await connection.fetch(_SIDES)
    await connection.close()
    found = {}
    for model in sorted({record["model"] for record in records}):
        rows = [r for r in records if r["model"] == model]
        said = np.array([r["side"] for r in rows])
        up = np.array([r["outcome"] for r in rows]) > 0
        found[model] = pooled_skill(
            ScoredRows(
                as_of_ms=np.array([r["as_of_ms"] for r in rows], dtype=np.int64),
                instrument=np.array([r["instrument_id"] for r in rows], dtype=np.int64),
                loss=-np.log(np.clip(np.where(up, said, 1 - said), 1e-15, 1.0)),
                baseline_loss=np.full(len(rows), np.log(2)),
            ),
            horizon,
        )
    return found


def holm_rejects(p_values: dict[str, float], alpha: float) -> set[str]:
    """The names whose p-value is significant at `alpha` for all of them together."""
    rejected: set[str] = set()
    for tested, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        if not p_values[name] < alpha / (len(p_values) - tested):
            break
        rejected.add(name)
    return rejected


def hourly(steps: int) -> Horizon:
    return Horizon(Timeframe.H1, steps)


def _by_day(rows: list[asyncpg.Record]) -> tuple[Floats, Floats]:
    """(days, rows of a day) of leans and outcomes; days without a row are left out."""
    days: dict[int, list[asyncpg.Record]] = {}
    for row in rows:
        days.setdefault(row["as_of_ms"] // DAY_MS, []).append(row)
    width = max(len(day) for day in days.values())
    lean, outcome = (np.full((len(days), width), np.nan) for _ in range(2))
    for number, day in enumerate(days.values()):
        lean[number, : len(day)] = [row["lean"] for row in day]
        outcome[number, : len(day)] = [row["outcome"] for row in day]
    return lean, outcome


def _skill(
    ours: dict[tuple[int, int], float], theirs: dict[tuple[int, int], float], horizon: Horizon
) -> SkillEstimate:
    shared = sorted(ours.keys() & theirs.keys())
    return pooled_skill(
        ScoredRows(
            as_of_ms=np.array([key[0] for key in shared], dtype=np.int64),
            instrument=np.array([key[1] for key in shared], dtype=np.int64),
            loss=np.array([ours[key] for key in shared]),
            baseline_loss=np.array([theirs[key] for key in shared]),
        ),
        horizon,
    )
