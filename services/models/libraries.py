"""Importing the learning libraries late, and without scikit-learn where it is not used."""

from __future__ import annotations

import importlib
import sys
from threading import Lock
from typing import Any, Final

_TURN: Final = Lock()  # of imports: explanations are made in threads


def load_library(name: str) -> Any:  # noqa: ANN401 - the libraries are untyped
    """Import `name` when first needed.

    XGBoost, LightGBM and River import scikit-learn for parts that are not used here, which
    costs seconds and over 60 MB. They do without it when it cannot be imported.
    """
    with _TURN:
        if name in sys.modules or "sklearn" in sys.modules:
            return importlib.import_module(name)
        sys.modules["sklearn"] = None  # type: ignore[assignment]  # means: not importable
        try:
            return importlib.import_module(name)
        finally:
            del sys.modules["sklearn"]
