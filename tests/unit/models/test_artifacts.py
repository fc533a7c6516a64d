"""Artifacts are named by their content, and refused when they are not what they should be."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from domain.errors import ArtifactError
from services.models.artifacts import ArtifactStore, open_model
from services.models.bundle import read_bundle, write_bundle


def test_an_artifact_is_stored_under_its_hash_once(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "new" / "folder")

    first, second = store.save(b"model"), store.save(b"model")

    assert first == second == hashlib.sha256(b"model").hexdigest()
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == [first]
    assert store.read(first) == b"model"


def test_a_missing_artifact_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        ArtifactStore(tmp_path).read("0" * 64)


def test_an_altered_artifact_is_written_anew(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    sha256 = store.save(b"model")
    (tmp_path / sha256).write_bytes(b"mode1")

    store.save(b"model")

    assert store.read(sha256) == b"model"


@pytest.mark.parametrize(
    "artifact",
    [
        b"",
        b"not a zip",
        write_bundle({"kind": "oracle"}, {}),
        write_bundle({"kind": "logistic"}, {}),
        write_bundle({"kind": "xgboost", "target": "weather"}, {}),
        write_bundle(
            {"kind": "xgboost", "target": "direction", "horizon": 4, "columns": ["a"]}, {}
        ),
    ],
)
def test_what_is_not_a_whole_model_is_refused(artifact: bytes) -> None:
    with pytest.raises(ArtifactError):
        open_model(artifact, version="1")


def test_the_artifact_of_another_model_is_refused(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    numbers = {name: [0.0] for name in ("medians", "mean", "intercepts")}
    description = {
        "kind": "logistic",
        "target": "direction",
        "horizon": 4,
        "columns": ["a"],
        "scale": [1.0],
        "coefficients": [[0.0]],
        **numbers,
    }
    sha256 = store.save(write_bundle(description, {}))

    with pytest.raises(ArtifactError, match="not xgboost"):
        store.load(name="xgboost.direction", version="1", sha256=sha256)


def test_a_bundle_gives_back_what_it_was_given_and_the_same_bytes() -> None:
    description = {"kind": "x", "bias": 0.1 + 0.2}
    files = {"booster.ubj": bytes(range(256))}

    assert read_bundle(write_bundle(description, files)) == (description, files)
    assert write_bundle(description, files) == write_bundle(description, files)
