"""Fitted models on disk, named by their content and verified before they are opened."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from domain.errors import ArtifactError
from domain.events import Target
from services.models.boosted import BoostedDirection, BoostedQuantiles, BoostedVolatility
from services.models.bundle import read_bundle
from services.models.engines import ENGINES
from services.models.forecaster import Forecaster
from services.models.logistic import Logistic

BOOSTED: Mapping[Target, Callable[..., Forecaster]] = {
    Target.DIRECTION: BoostedDirection,
    Target.VOLATILITY: BoostedVolatility,
    Target.QUANTILES: BoostedQuantiles,
}


def open_model(artifact: bytes, version: str) -> Forecaster:
    """The model that `artifact` describes.

    Raises:
        ArtifactError: it is no bundle, of an unknown kind, or the library cannot read it.
    """
    description, files = read_bundle(artifact)
    kind = description.get("kind")
    try:
        if kind == "logistic":
            return Logistic(description, version)
        if kind in ENGINES:
            return BOOSTED[Target(description["target"])](description, files, version)
    except (KeyError, ValueError) as error:
        raise ArtifactError(f"the description of a {kind} model is incomplete") from error
    raise ArtifactError(f"unknown kind of model: {kind!r}")


class ArtifactStore:
    """A folder of files `<sha256>`; writing the same content twice changes nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, artifact: bytes) -> str:
        """Write durably under the SHA-256 of the content, and return it."""
        sha256 = hashlib.sha256(artifact).hexdigest()
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(artifact)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(self._folder / sha256)
        return sha256

    def read(self, sha256: str) -> bytes:
        """The content named `sha256`.

        Raises:
            ArtifactError: the file is missing, or its content is another.
        """
        try:
            artifact = (self._folder / sha256).read_bytes()
        except OSError as error:
            raise ArtifactError(f"artifact {sha256} cannot be read: {error.strerror}") from error
        if hashlib.sha256(artifact).hexdigest() != sha256:
            raise ArtifactError(f"artifact {sha256} was altered: its content has another hash")
        return artifact

    def load(self, *, name: str, version: str, sha256: str) -> Forecaster:
        """The model `name` from the file `sha256`, to be known as `version`.

        Raises:
            ArtifactError: missing, altered, unreadable, or the file of another model.
        """
        model = open_model(self.read(sha256), version)
        if model.name != name:
            raise ArtifactError(f"artifact {sha256} holds {model.name}, not {name}")
        return model
