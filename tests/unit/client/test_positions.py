"""Positions in a file: whole before and after, and never passed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alphapulse_client import FilePositions, Position, PositionsError

HERE = Position("e1", 7, "f" * 64)


async def test_what_was_saved_is_there_for_the_next_program(tmp_path: Path) -> None:
    path = tmp_path / "positions.json"
    first = FilePositions(path)
    assert await first.load() == {}

    await first.save({"gaps": Position(None, 0), "models": HERE})
    await first.save({"gaps": HERE})

    assert await FilePositions(path).load() == {"gaps": HERE, "models": HERE}
    assert os.listdir(tmp_path) == ["positions.json"]  # noqa: PTH208 - names alone


async def test_what_is_in_the_file_stays_whoever_saves_first(tmp_path: Path) -> None:
    path = tmp_path / "positions.json"
    await FilePositions(path).save({"gaps": HERE})

    await FilePositions(path).save({"models": HERE})

    assert await FilePositions(path).load() == {"gaps": HERE, "models": HERE}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"gaps": 7}', '{"gaps": {"epoch": "e", "offset": "x"}}']
)
async def test_a_file_that_cannot_be_read_is_not_begun_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "positions.json"
    path.write_text(text)

    with pytest.raises(PositionsError, match=r"positions\.json cannot be read"):
        await FilePositions(path).load()
    with pytest.raises(PositionsError):
        await FilePositions(path).save({"gaps": HERE})
    assert path.read_text() == text


async def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "positions.json"
    positions = FilePositions(path)
    await positions.save({"gaps": HERE})
    (tmp_path / "positions.json.new").mkdir()

    with pytest.raises(OSError, match=r"positions\.json\.new"):
        await positions.save({"models": HERE})
    assert await FilePositions(path).load() == {"gaps": HERE}
