"""A state folder belongs to one simulated market."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.played import FILE, refuse_another, remember
from domain.errors import StateFolderError, UsageError

SEVEN = {"--seed": "7", "--signal": "1.0", "--timeframes": "1h"}


def test_a_folder_that_holds_no_market_takes_any(tmp_path: Path) -> None:
    refuse_another(tmp_path / "none yet", SEVEN)
    refuse_another(tmp_path, SEVEN)


def test_a_folder_takes_its_own_market_again(tmp_path: Path) -> None:
    remember(tmp_path, SEVEN)
    refuse_another(tmp_path, dict(SEVEN))


@pytest.mark.parametrize(
    "other",
    [
        {**SEVEN, "--seed": "8"},
        {**SEVEN, "--signal": "0.0"},
        {**SEVEN, "--timeframes": "1m"},
        {"--data": "/data", "--exchange": "binance", "--timeframes": "1h"},
    ],
)
def test_a_folder_refuses_another_market(tmp_path: Path, other: dict[str, str]) -> None:
    remember(tmp_path, SEVEN)

    with pytest.raises(UsageError) as refused:
        refuse_another(tmp_path, other)

    said = str(refused.value)
    assert "holds the market of --seed 7, --signal 1.0, --timeframes 1h" in said
    assert f"{next(iter(other))} {next(iter(other.values()))}" in said.partition("asked for")[2]
    assert said.endswith("pass another --state")


def test_a_folder_whose_market_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")

    with pytest.raises(StateFolderError, match=r"market\.json cannot be read"):
        refuse_another(tmp_path, SEVEN)
