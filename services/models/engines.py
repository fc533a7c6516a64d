"""Three boosting libraries behind one pair of functions, one thread, deterministic."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from domain.errors import ArtifactError
from domain.events import Floats
from services.models.libraries import load_library
from services.models.recipes import Recipe

CLASSES = 3

Raw = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """What an engine fits: classes 0–2, or a number's mean, or its quantiles `levels`."""

    inputs: Floats  # (m, k), NaN = unknown
    answers: Floats  # (m,)
    weights: Floats  # (m,)
    objective: str  # classes, mean, quantile
    levels: tuple[float, ...] = ()
    recipe: Recipe
    seed: int


class Engine(Protocol):
    """A boosting library: `train` writes its native format, `load` reads it."""

    suffix: str

    def train(self, task: Task) -> list[bytes]:
        """One model; of quantiles, one for each level."""
        ...

    def load(self, payload: bytes) -> Raw:
        """A function from inputs (n, k) to raw scores: (n, 3) for classes, else (n,).

        Raises:
            ArtifactError: the library cannot read `payload`.
        """
        ...


class XGBoost:
    """UBJSON; `inplace_predict` on the booster."""

    suffix = "ubj"

    def train(self, task: Task) -> list[bytes]:
        library = load_library("xgboost")
        recipe = task.recipe
        parameters: dict[str, Any] = {
            "tree_method": "hist",
            "max_depth": recipe.depth,
            "eta": recipe.learning_rate,
            "min_child_weight": recipe.min_child,
            "colsample_bynode": recipe.feature_fraction,
            "subsample": recipe.row_fraction,
            "lambda": recipe.l2,
            "seed": task.seed,
            "nthread": 1,
            "verbosity": 0,
        }
        if task.objective == "classes":
            parameters |= {"objective": "multi:softprob", "num_class": CLASSES}
        else:
            parameters |= {"objective": "reg:squarederror"}
        data = library.QuantileDMatrix(
            task.inputs, label=task.answers, weight=task.weights, nthread=1
        )
        booster = library.train(parameters, data, num_boost_round=recipe.trees)
        return [bytes(booster.save_raw("ubj"))]

    def load(self, payload: bytes) -> Raw:
        library = load_library("xgboost")
        booster = library.Booster()
        try:
            booster.load_model(bytearray(payload))
        except library.core.XGBoostError as error:
            raise ArtifactError("XGBoost cannot read the model") from error
        booster.set_param({"nthread": 1})

        def raw(inputs: Floats) -> Floats:
            scores = booster.inplace_predict(inputs, predict_type="margin", missing=np.nan)
            return np.asarray(scores, dtype=np.float64)

        return raw


class LightGBM:
    """The library's text format, read by our own kernel."""

    suffix = "txt"

    def train(self, task: Task) -> list[bytes]:
        library = load_library("lightgbm")
        recipe = task.recipe
        objectives: Mapping[str, list[dict[str, Any]]] = {
            "classes": [{"objective": "multiclass", "num_class": CLASSES}],
            "mean": [{"objective": "regression"}],
            "quantile": [{"objective": "quantile", "alpha": level} for level in task.levels],
        }
        shared: dict[str, Any] = {
            "max_depth": recipe.depth,
            "num_leaves": 2**recipe.depth,
            "learning_rate": recipe.learning_rate,
            "min_data_in_leaf": int(recipe.min_child),
            "feature_fraction": recipe.feature_fraction,
            "bagging_fraction": recipe.row_fraction,
            "bagging_freq": 1,
            "lambda_l2": recipe.l2,
            "seed": task.seed,
            "num_threads": 1,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }
        # Sorting the inputs into bins is a third of the time, and the same for every level.
        data = library.Dataset(task.inputs, label=task.answers, weight=task.weights, params=shared)
        boosters = [
            library.train(objective | shared, data, num_boost_round=recipe.trees)
            for objective in objectives[task.objective]
        ]
        return [str(booster.model_to_string()).encode() for booster in boosters]

    def load(self, payload: bytes) -> Raw:
        from services.models.trees import Trees  # noqa: PLC0415 - numba, which few commands need

        try:
            return Trees(payload.decode()).raw
        except UnicodeDecodeError as error:
            raise ArtifactError("LightGBM cannot read the model") from error


class CatBoost:
    """The library's binary format, without the time and the random id of the training."""

    suffix = "cbm"

    def train(self, task: Task) -> list[bytes]:
        library = load_library("catboost")
        recipe = task.recipe
        parameters: dict[str, Any] = {
            "iterations": recipe.trees,
            "depth": recipe.depth,
            "learning_rate": recipe.learning_rate,
            "l2_leaf_reg": recipe.l2,
            "rsm": recipe.feature_fraction,
            "bootstrap_type": "Bernoulli",
            "subsample": recipe.row_fraction,
            "boosting_type": "Plain",
            "border_count": 64,
            "leaf_estimation_iterations": 1,
            "random_seed": task.seed,
            "thread_count": 1,
            "logging_level": "Silent",
            "allow_writing_files": False,
        }
        if task.objective == "classes":
            parameters |= {"loss_function": "MultiClass", "classes_count": CLASSES}
        else:
            parameters |= {"loss_function": "RMSE"}
        model = library.CatBoost(parameters)
        answers = task.answers.astype(np.int64) if task.objective == "classes" else task.answers
        pool = library.Pool(task.inputs, label=answers, weight=task.weights)
        if task.objective == "classes":  # the other libraries start at the frequencies
            start = np.log(np.bincount(answers, weights=task.weights) / task.weights.sum())
            pool.set_baseline(np.tile(start, (len(answers), 1)))
            model.fit(pool)
            model.set_scale_and_bias(1.0, start.tolist())
        else:
            model.fit(pool)
        metadata = model.get_metadata()
        metadata["train_finish_time"] = metadata["model_guid"] = ""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.cbm"
            model.save_model(str(path), format="cbm")
            return [path.read_bytes()]

    def load(self, payload: bytes) -> Raw:
        library = load_library("catboost")
        model = library.CatBoost()
        try:
            model.load_model(blob=payload)
        except library.CatBoostError as error:
            raise ArtifactError("CatBoost cannot read the model") from error

        def raw(inputs: Floats) -> Floats:
            scores = model.predict(inputs, prediction_type="RawFormulaVal", thread_count=1)
            return np.asarray(scores, dtype=np.float64)

        return raw


ENGINES: Mapping[str, Engine] = {
    "xgboost": XGBoost(),
    "lightgbm": LightGBM(),
    "catboost": CatBoost(),
}
