"""On which device a fit runs: `auto` takes a GPU where the kind's library can use one."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import numpy as np

from domain.errors import UsageError
from services.models.kinds import FittedKind, OnDevices
from services.models.libraries import load_library
from services.models.recipes import Recipe

DEVICE: Final = "device"  # of a recipe's parameters, where its kind can choose
CPU: Final = "cpu"
CUDA: Final = "cuda"


def settled(recipe: Recipe, kind: FittedKind) -> Recipe:
    """The recipe with the device that its fit runs on in place of `auto`.

    Raises:
        UsageError: `cuda` is asked for, and cannot be had.
    """
    wanted = recipe.parameters.get(DEVICE, CPU)
    if wanted == CPU:
        return recipe
    words = kind.without_cuda() if isinstance(kind, OnDevices) else "it is fitted on the CPU"
    if words and wanted == CUDA:
        raise UsageError(f"{recipe.name} cannot be fitted on cuda: {words}")
    return recipe.changed(device=CPU if words else CUDA)


@lru_cache(maxsize=1)
def xgboost_without_cuda() -> str:
    """Why XGBoost can use no GPU here; empty where it can."""
    library = load_library("xgboost")
    if not library.build_info()["USE_CUDA"]:
        return "this XGBoost was built without it; install xgboost in place of xgboost-cpu"
    data = library.DMatrix(np.zeros((2, 1)), label=np.zeros(2), nthread=1)
    booster = library.train({DEVICE: CUDA, "verbosity": 0}, data, num_boost_round=1)
    used = json.loads(booster.save_config())["learner"]["generic_param"][DEVICE]
    return "" if used.startswith(CUDA) else "XGBoost finds no GPU"


@lru_cache(maxsize=1)
def catboost_without_cuda() -> str:
    """The same of CatBoost."""
    load_library("catboost")
    count = importlib.import_module("catboost.utils").get_gpu_device_count()
    return "" if count else "CatBoost finds no GPU"


@lru_cache(maxsize=1)
def jax_without_cuda() -> str:
    """The same of JAX."""
    try:
        load_library("jax").devices(CUDA)
    except RuntimeError:
        return "JAX finds no GPU, or lacks its plug-in, as of jax[cuda12]"
    return ""


WITHOUT_CUDA: Final[Mapping[str, Callable[[], str]]] = {
    "catboost": catboost_without_cuda,
    "jax": jax_without_cuda,
    "xgboost": xgboost_without_cuda,
}
