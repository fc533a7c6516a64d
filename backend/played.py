"""Which simulated market a state folder belongs to, and where that market goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from backend.store.state import write_secret
from domain.errors import StateFolderError, UsageError

FILE = "market.json"


def refuse_another(folder: Path, market: Mapping[str, str]) -> None:
    """See that nothing is stored in `folder`, or that it is of `market`.

    Args:
        folder: of the state; it need not exist.
        market: what decides its candles, by name. Symbols do not: those of one market agree.

    Raises:
        UsageError: the folder holds another market.
        StateFolderError: what it says of its market cannot be read.
    """
    try:
        held = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise StateFolderError(f"{folder / FILE} cannot be read: {error}") from error
    if held != dict(market):
        raise UsageError(
            f"the state folder {folder} holds the market of {_words(held)}; asked for was "
            f"{_words(market)}; pass another --state"
        )


def remember(folder: Path, market: Mapping[str, str]) -> None:
    """Let `folder` belong to `market` from now on."""
    write_secret(folder / FILE, json.dumps(market, indent=2) + "\n")


def _words(market: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {text}" for name, text in market.items())
