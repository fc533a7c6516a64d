"""A GPU that settings ask for and that no library finds is told at the start, in one line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from backend.executor import ProcessExecutor
from backend.plugins import SwitchedOn, catalogue_of
from backend.settings import Settings
from services.models.devices import CUDA, settled


async def refuse_absent(settings: Settings) -> None:
    """Ask the libraries of the models that are fitted, in a process that ends with the answer.

    Raises:
        UsageError: `cuda` is asked for, and one of them cannot be fitted on it.
    """
    if settings.training.device != CUDA:
        return
    executor = ProcessExecutor(nice=0)
    try:
        future = executor.submit(_settle, settings.training.kinds, settings.plugins)
        await asyncio.wrap_future(future)
    finally:
        executor.close()


def _settle(names: Sequence[str], plugins: SwitchedOn) -> None:
    catalogue = catalogue_of(plugins)
    for name, recipe in catalogue.recipes.items():
        if name in names:
            settled(recipe.changed(device=CUDA), catalogue.kinds[recipe.kind])
