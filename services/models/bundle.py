"""A fitted model as one file: a zip of its description and the library's own format."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from domain.errors import ArtifactError

DESCRIPTION = "model.json"


def write_bundle(description: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """The same content gives the same bytes: entries carry no time."""
    buffer = io.BytesIO()
    text = json.dumps(description, sort_keys=True, separators=(",", ":"), allow_nan=False)
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {DESCRIPTION: text.encode(), **files}.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def read_bundle(artifact: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The description and the files.

    Raises:
        ArtifactError: not a bundle, or a damaged one.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(artifact)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        description: dict[str, Any] = json.loads(files.pop(DESCRIPTION))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ArtifactError(f"the artifact is not a model bundle: {error}") from error
    return description, files
