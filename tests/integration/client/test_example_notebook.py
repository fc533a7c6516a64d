"""The notebook of the examples, cell after cell against a real server."""

from __future__ import annotations

import ast
import inspect
import json
from typing import Any

import pandas as pd
import pytest

from alphapulse_client import Position
from tests.full_market import fill
from tests.house import ROOT
from tests.served_market import TICKS, ServedMarket

NOTEBOOK = ROOT / "examples/predictions.ipynb"


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text())["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


async def shown(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as IPython does: `await` at its top, its last expression is shown."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    result: Any = None
    for part in (tree, ast.Expression(last.value) if isinstance(last, ast.Expr) else None):
        if part is None:
            return None
        mode = "eval" if isinstance(part, ast.Expression) else "exec"
        code = compile(part, str(NOTEBOOK), mode, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)  # noqa: S307 - a file of ours
        if inspect.isawaitable(result):
            result = await result
    return result


async def test_every_cell_runs(market: ServedMarket, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(market)
    monkeypatch.setenv("ALPHAPULSE_URL", market.url)
    names: dict[str, Any] = {}

    _, newest, counts, ahead, joined, scores, head = [
        await shown("".join(cell["source"]), names) for cell in cells()
    ]

    assert set(newest["symbol"]) == {"BTC/USDT", "ETH/USDT", "SOL/USDT"}
    assert counts == (TICKS, TICKS)
    assert ahead == TICKS - 1  # the candle behind the newest close has not closed
    assert isinstance(joined, pd.DataFrame)
    assert len(joined) == 5
    assert len(names["known"]) == TICKS - 2
    assert list(scores["target"]) == ["direction"]
    assert isinstance(head, Position)
    assert head.offset == TICKS


def test_it_is_kept_without_outputs() -> None:
    assert [cell for cell in cells() if cell["outputs"] or cell["execution_count"]] == []
