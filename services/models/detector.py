"""River's detector of change, for those who may not know the library."""

from __future__ import annotations

from typing import Any

from services.models.libraries import load_library


def adwin(**parameters: Any) -> Any:  # noqa: ANN401 - River has no types
    """An ADWIN (Bifet and Gavaldà 2007)."""
    return load_library("river.drift").ADWIN(**parameters)
