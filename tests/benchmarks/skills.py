"""Skill instrument by instrument, and its spread over them."""

from __future__ import annotations

import math

import numpy as np

from domain.market import Horizon
from services.scores.skill import ScoredRows, SkillEstimate, pooled_skill


def skill_by_instrument(
    rows: ScoredRows, horizon: Horizon, seed: int = 0
) -> dict[int, SkillEstimate]:
    """`pooled_skill` of each instrument that has a row."""
    return {
        instrument: pooled_skill(rows.where(rows.instrument == instrument), horizon, seed)
        for instrument in np.unique(rows.instrument).tolist()
    }


def spread(skills: dict[int, SkillEstimate]) -> tuple[float, float]:
    """Median over instruments and the share above 0; NaN when no skill is known."""
    known = np.array([one.skill for one in skills.values() if not math.isnan(one.skill)])
    if not len(known):
        return math.nan, math.nan
    return float(np.median(known)), float(np.mean(known > 0.0))
