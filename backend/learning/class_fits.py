"""One fit of a model of class labels in a worker process: rows and classes from the store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from backend.learning.fits import ExamplesOrder, read_examples
from backend.store.classes import classes_of
from backend.store.database import pool_of_one
from domain.events import Examples, Ints
from domain.market import Horizon
from services.models.class_fits import ClassFit, ClassTask, fit_classes
from services.models.classified import ClassRecipe
from services.models.walk_forward import SplitKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFitOrder:
    """One model to fit on those rows of a training that have a class."""

    examples: ExamplesOrder
    recipe: ClassRecipe
    split: SplitKind
    seed: int


def fit_classes_from_store(order: ClassFitOrder) -> ClassFit:
    """Run in a worker process.

    Raises:
        ValueError: too few rows.
        StoreUnavailableError: the database is away.
    """
    rows = order.examples
    examples = read_examples(rows)
    positions, classes, known_ms = asyncio.run(_classes(order, examples))
    return fit_classes(
        ClassTask(
            recipe=order.recipe,
            horizon=rows.horizon,
            horizon_ms=rows.horizon * rows.timeframe.ms,
            columns=rows.feature_set.model_columns,
            examples=examples.take(positions),
            classes=classes,
            known_ms=known_ms,
            split=order.split,
            seed=order.seed,
        )
    )


async def _classes(order: ClassFitOrder, examples: Examples) -> tuple[Ints, Ints, Ints]:
    rows = order.examples
    async with pool_of_one(rows.database_url) as pool:
        return await classes_of(
            pool,
            examples,
            Horizon(rows.timeframe, rows.horizon),
            kind=order.recipe.label,
            names=order.recipe.classes,
            until=rows.until,
        )
