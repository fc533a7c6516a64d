"""Everything that touches the machine: store, served API, page, metrics, command line."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
