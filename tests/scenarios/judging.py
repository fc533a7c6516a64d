"""The canaries' verdicts on a replay's rows: what leaked, what was missed, what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import numpy as np

from domain.events import Floats, Target
from domain.losses import BASELINES, LOSS_OF
from domain.market import Horizon, Timeframe
from services.scores.skill import DAY_MS, ScoredRows, SkillEstimate, pooled_skill
from tests.scenarios.market import BOOSTERS
from tests.scenarios.shifts import auc_against_shifts

_FORECASTS = """
SELECT p.model, (extract(epoch FROM p.as_of) * 1000)::bigint AS as_of_ms, instrument_id,
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
_LIFTED = """
SELECT DISTINCT name FROM promotion_decisions
WHERE verdict = 'cold_start' OR (verdict, "trigger") = ('promote', 'challenge')
"""
_OPENED = "SELECT count(*) FROM trading_signals WHERE side <> 'flat'"
_SAID = {
    "features": (
        "SELECT instrument_id, as_of, coverage, row_hash FROM ml_features_ohlcv"
        " WHERE as_of <= $1 ORDER BY 1, 2"
    ),
    "labels": (
        "SELECT instrument_id, as_of, direction_known_at, outcome, weight, log_return,"
        " realized_volatility, uniqueness FROM ml_labels WHERE known_at <= $1 ORDER BY 1, 2"
    ),
    "predictions": (
        "SELECT instrument_id, as_of, role, model, version, p_down, p_up, q10, q50, q90,"
        " volatility, degraded FROM ml_predictions WHERE as_of <= $1 ORDER BY 1, 2, 3, 4"
    ),
    "signals": (
        "SELECT instrument_id, as_of, side, strength, gate FROM trading_signals"
        " WHERE as_of <= $1 ORDER BY 1, 2"
    ),
}
# They lean with what was frequent of late; their AUC on noise is below one half by construction.
PRIORS = {*BASELINES[Target.DIRECTION], "pool.direction", "served"}
CHANCE = 0.001  # for all models together
FOUND = 0.6  # AUC of a booster on the planted signal
# By symbol: the databases of two systems number their instruments each in its own way.
# What a prediction was made of in time: a busy machine misses ticks, and makes them good later.
_LIVED = """
SELECT symbol, as_of, row_hash FROM ml_features_ohlcv AS f JOIN instruments USING (instrument_id)
WHERE as_of > $1 AND EXISTS (
    SELECT FROM ml_predictions AS p WHERE role = 'champion' AND origin = 'live'
        AND p.instrument_id = f.instrument_id AND p.timeframe = f.timeframe
        AND p.as_of = f.as_of AND p.feature_revision = f.revision
) ORDER BY 1, 2
"""
_SERVED = """
SELECT symbol, as_of, degraded, p_down, p_up, q10, q50, q90, volatility
FROM ml_predictions JOIN instruments USING (instrument_id)
WHERE as_of > $1 AND role = 'champion' AND origin = 'live' ORDER BY 1, 2
"""
NEAR = 1e-9  # of a live prediction and its repetition


@dataclass(frozen=True, slots=True)
class Auc:
    """Mean AUC of up against down at a close, and how likely chance gives one as far from ½."""

    value: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseVerdict:
    """What must not be on a market without direction; all empty where nothing leaks."""

    told: dict[str, Auc]  # models whose AUC is not chance
    skilled: dict[str, SkillEstimate]  # models with skill in the side
    lifted: set[str]  # models that were given a seat
    opened: int  # signals that are not flat


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedVerdict:
    """What must be found of the planted signal, and was missed."""

    boosters: dict[str, Auc]  # without the AUC that they ought to have
    pool: SkillEstimate | None  # the pool's skill, where its interval includes 0
    unseated: bool  # no booster was given a seat
    silent: bool  # no signal was opened

    @property
    def missed(self) -> bool:
        return bool(self.boosters or self.pool or self.unseated or self.silent)


async def judge_noise(url: str, horizon: Horizon, chance: float = CHANCE) -> NoiseVerdict:
    """The noise canary.

    Args:
        url: of the replay's database.
        horizon: of its predictions.
        chance: that one model of all has by chance an AUC as far from ½.
    """
    found = await aucs(url, horizon)
    p_values = {name: auc.p for name, auc in found.items() if name not in PRIORS}
    sides = await side_skills(url, horizon)
    return NoiseVerdict(
        told={name: found[name] for name in holm_rejects(p_values, chance)},
        skilled={name: skill for name, skill in sides.items() if skill.low > 0},
        lifted={name for (name,) in await rows(url, _LIFTED)},
        opened=(await rows(url, _OPENED))[0][0],
    )


async def judge_planted(url: str, horizon: Horizon) -> PlantedVerdict:
    """The planted-signal canary."""
    found = await aucs(url, horizon)
    pool = (await skills(url, Target.DIRECTION, horizon))["pool.direction"]
    lifted = {name for (name,) in await rows(url, _LIFTED)}
    return PlantedVerdict(
        boosters={
            name: found[name]
            for name in BOOSTERS
            if not (found[name].value > FOUND and found[name].p < CHANCE)
        },
        pool=None if pool.low > 0 else pool,
        unseated=not lifted & set(BOOSTERS),
        silent=(await rows(url, _OPENED))[0][0] == 0,
    )


async def changed(url: str, other: str, until: datetime) -> set[str]:
    """The kinds of rows up to `until` in which two replays differ by as much as a bit."""
    kinds = set()
    for kind, query in _SAID.items():
        said = await rows(url, query, until)
        if not said:
            raise ValueError(f"no {kind} up to {until}")
        if said != await rows(other, query, until):
            kinds.add(kind)
    return kinds


async def unrepeated(live: str, replay: str, since: datetime) -> dict[str, tuple[int, int]]:
    """What was said live after `since` and not in a replay of the same candles.

    Features count as repeated to the bit, served rows within 1e-9 and with the same codes.

    Returns:
        For each kind of row: how many were not repeated, and of how many.
    """
    features = await rows(live, _LIVED, since)
    served = await rows(live, _SERVED, since)
    again = set(await rows(replay, _LIVED, since))
    repeated = {row[:3]: np.array(row[3:], float) for row in await rows(replay, _SERVED, since)}
    unlike = 0
    for row in served:
        said = np.array(row[3:], float)
        other = repeated.get(row[:3], np.full(said.shape, np.inf))
        unlike += not np.allclose(said, other, rtol=0, atol=NEAR, equal_nan=True)
    return {
        "features": (len(set(features) - again), len(features)),
        "predictions": (unlike, len(served)),
    }


async def rows(url: str, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query, *arguments)]
    finally:
        await connection.close()


async def aucs(url: str, horizon: Horizon) -> dict[str, Auc]:
    """Of every model that forecast a direction, its roles together."""
    records = await rows(url, _FORECASTS)
    return {
        model: auc_of([record[1:] for record in records if record[0] == model], horizon)
        for model in sorted({record[0] for record in records})
    }


def auc_of(said: Sequence[tuple[Any, ...]], horizon: Horizon) -> Auc:
    """The AUC of rows (as_of in ms, instrument, lean, outcome).

    Only instruments of the same close are ranked against each other. Within a day a later row's
    features hold an earlier row's answer, which lifts whatever leans against the last move
    above one half on a pure walk.
    """
    lean, outcome = _by_close(said)
    value, _, _, p = auc_against_shifts(lean, outcome, DAY_MS // horizon.timeframe.ms)
    return Auc(value, p)


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


def _by_close(said: Sequence[tuple[Any, ...]]) -> tuple[Floats, Floats]:
    """(closes, instruments) of leans and outcomes; closes without a row are left out."""
    times, close = np.unique([row[0] for row in said], return_inverse=True)
    names, instrument = np.unique([row[1] for row in said], return_inverse=True)
    lean, outcome = (np.full((len(times), len(names)), np.nan) for _ in range(2))
    lean[close, instrument] = [row[2] for row in said]
    outcome[close, instrument] = [row[3] for row in said]
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
