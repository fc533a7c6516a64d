"""The table of pitfalls names what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pitfalls.table import PITFALLS, Pitfall

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("pitfall", PITFALLS, ids=lambda one: one.name)
def test_a_pitfall_can_be_planted_and_its_tests_are_there(pitfall: Pitfall) -> None:
    assert (ROOT / pitfall.file).read_text().count(pitfall.sound) == 1
    places = [word for word in pitfall.tests.split() if word.startswith("tests/")]
    assert places
    assert all((ROOT / place).exists() for place in places)
