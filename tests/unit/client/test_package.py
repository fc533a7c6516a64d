"""The package stands on its own, and its rows are those that the server describes."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import alphapulse_client
from alphapulse_client import (
    Candle,
    CandleRow,
    FeatureRow,
    GapChange,
    GapRow,
    ModelChange,
    Prediction,
    PredictionRow,
    Signal,
    SignalRow,
)
from alphapulse_client.conversation import FIRST_FRAME_S, SUB_PROTOCOL
from alphapulse_client.times import TIMES, TIMES_BY_NAME
from backend.api import (
    messages,
    schemas,
    schemas_comparison,
    schemas_jobs,
    schemas_notifications,
    schemas_scores,
    schemas_watched,
)
from backend.api.limits import Limits
from tests.house import ROOT, SOURCES

FOLDER = Path(alphapulse_client.__file__).parent
DESCRIBED = (
    schemas,
    schemas_comparison,
    schemas_jobs,
    schemas_notifications,
    schemas_scores,
    schemas_watched,
)
AT_USE = {"pandas", "polars", "pyarrow"}  # optional


def imported(path: Path, *, at_use: bool) -> Iterator[str]:
    """The packages that a file imports, at its top or within its functions."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if (node in tree.body) == at_use:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)


def test_it_imports_its_two_dependencies_and_nothing_of_the_server() -> None:
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]
    needed = {each.partition(">")[0] for each in project["dependencies"]}
    ours = sys.stdlib_module_names | {"alphapulse_client"}

    files = sorted(FOLDER.glob("*.py"))
    first = {name for path in files for name in imported(path, at_use=False)}
    later = {name for path in files for name in imported(path, at_use=True)}
    assert first - ours == needed == {"httpx", "websockets"}
    assert later - ours <= AT_USE


def test_the_server_imports_nothing_of_it() -> None:
    files = [
        path
        for folder in (*SOURCES, "migrations")
        if folder != "client"
        for path in (ROOT / folder).rglob("*.py")
    ]
    everywhere = {
        name for path in files for where in (False, True) for name in imported(path, at_use=where)
    }

    assert "pyarrow" in everywhere
    assert "alphapulse_client" not in everywhere


@pytest.mark.parametrize(
    ("row", "described"),
    [
        (Candle, schemas.CandleRow),
        (Prediction, schemas.PredictionRow),
        (Signal, schemas.SignalRow),
        (GapChange, schemas.GapRow),
        (CandleRow, schemas.CandleRow),
        (FeatureRow, schemas.FeatureRow),
        (PredictionRow, schemas.PredictionRow),
        (SignalRow, schemas.SignalRow),
        (GapRow, schemas.GapRow),
    ],
)
def test_a_row_has_the_fields_that_the_server_describes(
    row: type[Any], described: type[BaseModel]
) -> None:
    names = [each.name.rstrip("_") for each in fields(row) if each.name != "update"]

    assert names == [each.alias or name for name, each in described.model_fields.items()]


def test_every_time_of_a_row_is_read_as_one() -> None:
    described = [
        model
        for module in DESCRIBED
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, BaseModel)
    ]
    kinds: dict[str, set[bool]] = {
        each.name: {each.type == "datetime"} for each in fields(ModelChange)
    }
    for model in described:
        for name, each in model.model_fields.items():
            is_time = datetime in (each.annotation, *get_args(each.annotation))
            kinds.setdefault(each.alias or name, set()).add(is_time)

    assert {name for name, kind in kinds.items() if kind == {True}} == TIMES | TIMES_BY_NAME
    assert {name for name, kind in kinds.items() if len(kind) > 1} == set()


def test_it_speaks_the_protocol_of_the_server() -> None:
    assert get_args(messages.Welcome.model_fields["api"].annotation) == (SUB_PROTOCOL,)


def test_it_hears_that_a_key_is_wanted() -> None:
    """A server waits for a caller to say who it is before it says `unauthorized`."""
    assert Limits().auth_ms / 1_000 < FIRST_FRAME_S
