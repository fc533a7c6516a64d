"""How good a recipe is by the rows before the locked holdout, which a search never reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from domain.events import Floats, Ints
from domain.losses import Answer, deciding_loss
from services.models.artifacts import open_model
from services.models.catalogue import BUILT_IN, Catalogue
from services.models.devices import settled
from services.models.fitting import FitTask, known, train
from services.models.forecaster import Table
from services.models.sample import knowledge_ms
from services.models.walk_forward import History, walk_forward

DAY_MS = 86_400_000


def losses_of_folds(task: FitTask, catalogue: Catalogue = BUILT_IN) -> tuple[float, ...]:
    """The deciding loss on each fold before the holdout: the mean of its daily means.

    Args:
        task: its recipe is fitted once a fold; its split is of no matter.
        catalogue: has the kind of the recipe.

    Returns:
        As many as there are folds with rows; NaN for one on which nothing could be scored.

    Raises:
        ValueError: no row can be used.
        UsageError: its device cannot be had.
    """
    task = replace(task, recipe=settled(task.recipe, catalogue.kinds[task.recipe.kind]))
    target = task.recipe.target
    examples = known(task.examples, target)
    if not len(examples):
        raise ValueError("no rows to fit on")
    times = History.of(examples, knowledge_ms(examples, target), embargo_ms=task.horizon_ms)
    found = []
    for split in walk_forward(times):
        model = open_model(train(task, catalogue, examples.take(split.train)), "tried", catalogue)
        tested = examples.take(split.test)
        answer = Answer(
            outcome=tested.outcome,
            log_return=tested.log_return,
            realized_volatility=tested.realized_volatility,
        )
        losses = deciding_loss(target, model.forecast(Table.of(tested)), answer)
        found.append(mean_of_days(tested.as_of_ms, losses))
    return tuple(found)


def mean_of_days(as_of_ms: Ints, losses: Floats) -> float:
    """Each UTC day counts once, however many rows of it were scored; NaN where none was.

    >>> mean_of_days(np.array([0, 1, 86_400_000]), np.array([1.0, 3.0, 8.0]))
    5.0
    """
    scored = np.isfinite(losses)
    days, which = np.unique(as_of_ms[scored] // DAY_MS, return_inverse=True)
    if not len(days):
        return float("nan")
    sums = np.bincount(which, weights=losses[scored])
    return float((sums / np.bincount(which)).mean())
