"""A page of an export that holds nothing of a column changes nothing of the file's columns."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from backend.transfer import ExportPlan, write_table
from backend.wiring import open_store
from domain.events import Role
from tests.integration.store_samples import at, predictions


@pytest.mark.parametrize("ending", ["parquet", "csv"])
async def test_a_column_without_a_value_on_the_first_page_has_them_on_the_next(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr("backend.transfer._ROWS_PER_PAGE", 1)
    member = predictions(1, role=Role.MEMBER, model="logistic.direction")
    out = tmp_path / f"predictions.{ending}"
    plan = ExportPlan(kind="predictions", out=out, since=None, until=None, symbols=None)

    async with open_store(database_url, tmp_path / "artifacts") as store:
        await store.recorder.commit_tick([member, predictions(2)], published_at=at(2))
        rows = await write_table(store, plan)

    found = pd.read_csv(out) if ending == "csv" else pd.read_parquet(out)
    assert rows == len(found) == 6
    assert found["dissimilarity"].isna().tolist() == [True] * 3 + [False, True, False]
    assert sorted(found["dissimilarity"].dropna()) == [0.5, 2.0]
    assert found["q10"].isna().tolist() == [True] * 3 + [False] * 3
