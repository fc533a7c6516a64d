"""The state of a learner as bytes: JSON, in which floats come back to the bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from domain.errors import ArtifactError


def write_state(name: str, horizon: int, content: Mapping[str, Any]) -> bytes:
    document = {"model": name, "horizon": horizon, **content}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def read_state(state: bytes, name: str, horizon: int) -> dict[str, Any]:
    """The content that `write_state` was given.

    Raises:
        ArtifactError: not JSON, or the state of another model or horizon.
    """
    try:
        document: dict[str, Any] = json.loads(state)
    except ValueError as error:
        raise ArtifactError(f"the state of {name} cannot be read: {error}") from error
    owner = (document.get("model"), document.get("horizon"))
    if owner != (name, horizon):
        raise ArtifactError(f"the state of {owner} was given to {name}, horizon {horizon}")
    return document
