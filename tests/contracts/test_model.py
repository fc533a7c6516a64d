"""The kinds of this release keep the contract that plug-ins are asked to keep."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alphapulse_testing.check import Check
from alphapulse_testing.fitted import Fit, fitted_checks
from alphapulse_testing.learners import learner_checks, online_checks
from alphapulse_testing.panel import HORIZON, new_rows
from domain.errors import ArtifactError
from domain.ports import Learner
from services.models.artifacts import ArtifactStore
from services.models.baseline import ClassPrior, EmpiricalQuantiles, Ewma
from services.models.bundle import read_bundle, write_bundle
from services.models.catalogue import BUILT_IN
from services.models.har import Har
from services.models.variants import Variant, with_variant

BASELINES: dict[str, Callable[[], Learner]] = {
    "class_prior.direction": lambda: ClassPrior(horizon=HORIZON),
    "ewma.volatility": lambda: Ewma(horizon=HORIZON),
    "har.volatility": lambda: Har(horizon=HORIZON),
    "empirical.quantiles": lambda: EmpiricalQuantiles(horizon=HORIZON),
}
VARIED = with_variant(BUILT_IN, Variant.of("stiff", "logistic", 30, {"direction": {"l2": 500}}))
CHECKS = [
    *(
        check
        for name, begin in BASELINES.items()
        for check in learner_checks(name, begin, reads_rows=name != "class_prior.direction")
    ),
    *(check for kind in BUILT_IN.online for check in online_checks(kind)),
    *(check for kind in BUILT_IN.fitted for check in fitted_checks(kind)),
    *fitted_checks(VARIED.kinds["stiff"]),
]
FITS = {recipe.name: Fit(kind, recipe) for kind in BUILT_IN.fitted for recipe in kind.recipes}


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_the_contract_is_kept(check: Check) -> None:
    check()


def test_an_artifact_on_disk_is_opened_under_its_version(tmp_path: Path) -> None:
    store, fit = ArtifactStore(tmp_path / "artifacts"), FITS["logistic.direction"]

    sha256 = store.save(fit.artifact)
    model = store.load(name=fit.name, version="3", sha256=sha256)

    assert model.version == "3"
    assert np.array_equal(model.predict(new_rows()), fit.taught.predict(new_rows()))


@pytest.mark.parametrize("name", FITS)
def test_an_altered_artifact_is_refused(name: str, tmp_path: Path) -> None:
    store, artifact = ArtifactStore(tmp_path), FITS[name].artifact
    sha256 = store.save(artifact)
    altered = bytearray(artifact)
    altered[len(altered) // 2] ^= 1
    (tmp_path / sha256).write_bytes(altered)

    with pytest.raises(ArtifactError, match="altered"):
        store.load(name=name, version="1", sha256=sha256)


def test_quantiles_that_cross_are_sorted() -> None:
    fit = FITS["lightgbm.quantiles"]
    description, files = read_bundle(fit.artifact)
    crossed = {**files, "q10.txt": files["q90.txt"], "q90.txt": files["q10.txt"]}

    model = fit.open(write_bundle(description, crossed))

    assert np.array_equal(model.predict(new_rows()), fit.taught.predict(new_rows()))


def test_what_is_not_needed_is_not_imported(tmp_path: Path) -> None:
    names = ["xgboost.direction", "lightgbm.direction", "catboost.direction", "logistic.direction"]
    store = ArtifactStore(tmp_path)
    known = {name: store.save(FITS[name].artifact) for name in names}
    code = f"""
import pathlib, sys
from services.models.artifacts import ArtifactStore
assert "numba" not in sys.modules
assert "river" not in sys.modules
import services.models.online
from alphapulse_testing.panel import panel_batch, panel_features
store = ArtifactStore(pathlib.Path({str(tmp_path)!r}))
for name, sha256 in {known!r}.items():
    store.load(name=name, version="1", sha256=sha256).predict(panel_batch(panel_features(5)))
assert "catboost" in sys.modules
assert "sklearn" not in sys.modules
"""

    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)  # noqa: S603
