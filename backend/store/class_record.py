"""The track record of class labels: what was said live, beside the class prior."""

from __future__ import annotations

from typing import Any, Final

import asyncpg
import numpy as np

from backend.figures import interval, number
from backend.store.classes import ScoredClasses, scored
from domain.market import EPOCH, Horizon
from services.classes.room import PRIOR
from services.scores.skill import ScoredRows, pooled_skill

# As each label was told last.
_CAME: Final = """
SELECT label_kind, class, count(*) AS count FROM (
    SELECT DISTINCT ON (instrument_id, timeframe, label_kind, as_of) label_kind, class
    FROM ml_class_labels WHERE horizon = $1 AND timeframe = $2
    ORDER BY instrument_id, timeframe, label_kind, as_of, revision DESC
) AS told GROUP BY label_kind, class ORDER BY label_kind, class
"""


async def class_record(
    connection: asyncpg.Connection, horizon: Horizon, seed: int
) -> dict[str, dict[str, Any]]:
    """By kind of label: how often each class came, and what each forecaster lost.

    Losses and skills are means of daily means, on the rows that the prior was judged on too;
    `served` is whoever served each row.
    """
    steps, timeframe = horizon.steps, horizon.timeframe.value
    found = await scored(connection, steps, timeframe=timeframe, since=EPOCH)
    record: dict[str, dict[str, Any]] = {}
    for row in await connection.fetch(_CAME, steps, timeframe):
        came = record.setdefault(row["label_kind"], {"count": 0, "void": 0, "classes": {}})
        if row["class"] is None:
            came["void"] = row["count"]
        else:
            came["classes"][row["class"]] = row["count"]
            came["count"] += row["count"]
    for kind, came in record.items():
        ours = {model: one for (of, model), one in found.items() if of == kind}
        prior = next((one for name, one in ours.items() if name.startswith(f"{PRIOR}.")), None)
        if prior is not None:
            everyone = {"served": _served([*ours.values()]), **ours}
            came["models"] = {
                name: _beside(prior, one, horizon, seed) for name, one in everyone.items()
            }
    return record


def _served(models: list[ScoredClasses]) -> ScoredClasses:
    """The rows that were served, whoever's they are."""
    joined = {
        name: np.concatenate([getattr(one, name)[one.served == 1] for one in models])
        for name in ("as_of_ms", "instrument", "served", "loss")
    }
    return ScoredClasses(**joined)


def _beside(
    prior: ScoredClasses, model: ScoredClasses, horizon: Horizon, seed: int
) -> dict[str, Any]:
    as_of_ms, theirs, ours = prior.shared(model)
    rows = ScoredRows(
        as_of_ms=as_of_ms,
        instrument=model.instrument[ours],
        loss=model.loss[ours],
        baseline_loss=prior.loss[theirs],
    )
    estimate = pooled_skill(rows, horizon, seed)
    return {
        "count": estimate.count,
        "log_loss": number(estimate.loss),
        "baseline_log_loss": number(estimate.baseline_loss),
        "skill": number(estimate.skill),
        "skill_interval95": interval(estimate),
    }
