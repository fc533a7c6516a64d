"""Fitted models on disk, named by their content and verified before they are opened."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from domain.errors import ArtifactError, ArtifactMissingError
from services.models.bundle import read_bundle
from services.models.catalogue import BUILT_IN, Catalogue
from services.models.derived import Deriving
from services.models.dissimilarity import Reference
from services.models.forecaster import Forecaster


def open_model(artifact: bytes, version: str, catalogue: Catalogue = BUILT_IN) -> Forecaster:
    """The model that `artifact` describes.

    Raises:
        ArtifactError: it is no bundle, of a kind that is not in the catalogue, or the kind
            cannot read it.
    """
    description, files = read_bundle(artifact)
    name = description.get("kind")
    kind = catalogue.kinds.get(str(name))
    if kind is None:
        raise ArtifactError(f"unknown kind of model: {name!r}; a plug-in may be switched off")
    try:
        sets = catalogue.sets(description.get("features", ()))
    except KeyError as error:
        raise ArtifactError(
            f"unknown feature set {error}; a plug-in may be switched off"
        ) from error
    try:
        reference = description.pop("reference", None)
        candles = str(description.pop("candles", ""))
        model = kind.open(description, files, version)
        opened = Deriving(model, sets) if sets else model
        opened.candles = candles
        if reference is not None:  # artifacts of earlier builds have none
            opened.reference = Reference.read(reference)
    except (KeyError, ValueError) as error:
        raise ArtifactError(f"the description of a {name} model is incomplete") from error
    return opened


class ArtifactStore:
    """A folder of files `<sha256>`; writing the same content twice changes nothing.

    Args:
        folder: made at the first `save`.
        catalogue: the kinds that may be opened.
    """

    def __init__(self, folder: Path, catalogue: Catalogue = BUILT_IN) -> None:
        self._folder = folder
        self.catalogue = catalogue

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
            ArtifactMissingError: the file is missing.
            ArtifactError: its content is another.
        """
        try:
            artifact = (self._folder / sha256).read_bytes()
        except OSError as error:
            words = f"artifact {sha256} cannot be read: {error.strerror}"
            raise ArtifactMissingError(words) from error
        if hashlib.sha256(artifact).hexdigest() != sha256:
            raise ArtifactError(f"artifact {sha256} was altered: its content has another hash")
        return artifact

    def load(self, *, name: str, version: str, sha256: str) -> Forecaster:
        """The model `name` from the file `sha256`, to be known as `version`.

        Raises:
            ArtifactError: missing, altered, unreadable, or the file of another model.
        """
        model = self.open(self.read(sha256), version)
        if model.name != name:
            raise ArtifactError(f"artifact {sha256} holds {model.name}, not {name}")
        return model

    def open(self, artifact: bytes, version: str) -> Forecaster:
        """See `open_model`."""
        return open_model(artifact, version, self.catalogue)
