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

CLASSES = 3

Raw = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeParameters:
    """What a recipe of a booster says. Labels overlap, so leaves are large."""

    trees: int = 100  # boosting rounds
    learning_rate: float = 0.05
    depth: int = 4
    min_child: float = 200.0  # rows in a leaf; for xgboost the sum of hessians
    feature_fraction: float = 0.5
    row_fraction: float = 0.7
    l2: float = 10.0
    device: str = "cpu"  # or cuda; of xgboost and catboost


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """What an engine fits: classes from 0 on, or a number's mean, or its quantiles `levels`."""

    inputs: Floats  # (m, k), NaN = unknown
    answers: Floats  # (m,)
    weights: Floats  # (m,)
    objective: str  # classes, mean, quantile
    levels: tuple[float, ...] = ()
    classes: int = CLASSES
    parameters: TreeParameters
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

    def contributions(self, payload: bytes, inputs: Floats) -> Floats:
        """What each input adds to the raw scores, by the library's exact TreeSHAP.

        Their sum over the last axis is the raw score within 1e-4 (Lundberg et al. 2020).

        Args:
            payload: that `load` could read.
            inputs: (n, k).

        Returns:
            (n, outputs, k + 1); the last is the score that is expected of the training rows.
        """
        ...


class XGBoost:
    """UBJSON; `inplace_predict` on the booster."""

    suffix = "ubj"

    def train(self, task: Task) -> list[bytes]:
        library = load_library("xgboost")
        wanted = task.parameters
        parameters: dict[str, Any] = {
            "tree_method": "hist",
            "max_depth": wanted.depth,
            "eta": wanted.learning_rate,
            "min_child_weight": wanted.min_child,
            "colsample_bynode": wanted.feature_fraction,
            "subsample": wanted.row_fraction,
            "lambda": wanted.l2,
            "device": wanted.device,
            "seed": task.seed,
            "nthread": 1,
            "verbosity": 0,
        }
        if task.objective == "classes":
            parameters |= {"objective": "multi:softprob", "num_class": task.classes}
        else:
            parameters |= {"objective": "reg:squarederror"}
        data = library.QuantileDMatrix(
            task.inputs, label=task.answers, weight=task.weights, nthread=1
        )
        booster = library.train(parameters, data, num_boost_round=wanted.trees)
        return [bytes(booster.save_raw("ubj"))]

    def _read(self, payload: bytes) -> Any:  # noqa: ANN401 - the libraries are untyped
        library = load_library("xgboost")
        booster = library.Booster()
        try:
            booster.load_model(bytearray(payload))
        except library.core.XGBoostError as error:
            raise ArtifactError("XGBoost cannot read the model") from error
        booster.set_param({"nthread": 1})
        return booster

    def load(self, payload: bytes) -> Raw:
        booster = self._read(payload)

        def raw(inputs: Floats) -> Floats:
            scores = booster.inplace_predict(inputs, predict_type="margin", missing=np.nan)
            return np.asarray(scores, dtype=np.float64)

        return raw

    def contributions(self, payload: bytes, inputs: Floats) -> Floats:
        data = load_library("xgboost").DMatrix(inputs, missing=np.nan, nthread=1)
        found = self._read(payload).predict(data, pred_contribs=True, strict_shape=True)
        return np.asarray(found, dtype=np.float64)


class LightGBM:
    """The library's text format, read by our own kernel."""

    suffix = "txt"

    def train(self, task: Task) -> list[bytes]:
        library = load_library("lightgbm")
        wanted = task.parameters
        objectives: Mapping[str, list[dict[str, Any]]] = {
            "classes": [{"objective": "multiclass", "num_class": task.classes}],
            "mean": [{"objective": "regression"}],
            "quantile": [{"objective": "quantile", "alpha": level} for level in task.levels],
        }
        shared: dict[str, Any] = {
            "max_depth": wanted.depth,
            "num_leaves": 2**wanted.depth,
            "learning_rate": wanted.learning_rate,
            "min_data_in_leaf": int(wanted.min_child),
            "feature_fraction": wanted.feature_fraction,
            "bagging_fraction": wanted.row_fraction,
            "bagging_freq": 1,
            "lambda_l2": wanted.l2,
            "seed": task.seed,
            "num_threads": 1,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }
        # Sorting the inputs into bins is a third of the time, and the same for every level.
        data = library.Dataset(task.inputs, label=task.answers, weight=task.weights, params=shared)
        boosters = [
            library.train(objective | shared, data, num_boost_round=wanted.trees)
            for objective in objectives[task.objective]
        ]
        return [str(booster.model_to_string()).encode() for booster in boosters]

    def load(self, payload: bytes) -> Raw:
        from services.models.trees import (  # noqa: PLC0415 - numba, which few commands need
            read_lightgbm,
        )

        try:
            return read_lightgbm(payload.decode()).raw
        except UnicodeDecodeError as error:
            raise ArtifactError("LightGBM cannot read the model") from error

    def contributions(self, payload: bytes, inputs: Floats) -> Floats:
        booster = load_library("lightgbm").Booster(model_str=payload.decode())
        found = booster.predict(inputs, pred_contrib=True, num_threads=1)
        width = inputs.shape[1] + 1
        return np.asarray(found, dtype=np.float64).reshape(len(inputs), -1, width)


class CatBoost:
    """The library's binary format, without the time and the random id of the training."""

    suffix = "cbm"

    def train(self, task: Task) -> list[bytes]:
        library = load_library("catboost")
        wanted = task.parameters
        parameters: dict[str, Any] = {
            "iterations": wanted.trees,
            "depth": wanted.depth,
            "learning_rate": wanted.learning_rate,
            "l2_leaf_reg": wanted.l2,
            "bootstrap_type": "Bernoulli",
            "subsample": wanted.row_fraction,
            "boosting_type": "Plain",
            "border_count": 64,
            "leaf_estimation_iterations": 1,
            "random_seed": task.seed,
            "thread_count": 1,
            "logging_level": "Silent",
            "allow_writing_files": False,
        }
        # On a GPU it cannot leave features out.
        parameters |= (
            {"task_type": "GPU"} if wanted.device == "cuda" else {"rsm": wanted.feature_fraction}
        )
        if task.objective == "classes":
            parameters |= {"loss_function": "MultiClass", "classes_count": task.classes}
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

    def _read(self, payload: bytes) -> Any:  # noqa: ANN401 - the libraries are untyped
        library = load_library("catboost")
        model = library.CatBoost()
        try:
            model.load_model(blob=payload)
        except library.CatBoostError as error:
            raise ArtifactError("CatBoost cannot read the model") from error
        return model

    def load(self, payload: bytes) -> Raw:
        model = self._read(payload)

        def raw(inputs: Floats) -> Floats:
            scores = model.predict(inputs, prediction_type="RawFormulaVal", thread_count=1)
            return np.asarray(scores, dtype=np.float64)

        return raw

    def contributions(self, payload: bytes, inputs: Floats) -> Floats:
        found = self._read(payload).get_feature_importance(
            load_library("catboost").Pool(inputs), type="ShapValues", thread_count=1
        )
        width = inputs.shape[1] + 1
        return np.asarray(found, dtype=np.float64).reshape(len(inputs), -1, width)


ENGINES: Mapping[str, Engine] = {
    "xgboost": XGBoost(),
    "lightgbm": LightGBM(),
    "catboost": CatBoost(),
}
