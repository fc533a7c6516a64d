"""What an order removed stays away, whatever the settings name."""

from __future__ import annotations

import pytest

from backend.leaving import staying_away, why_away
from domain.market import Instrument
from tests.factories import BTC, ETH, SOL


@pytest.mark.parametrize(
    ("named", "removed", "away"),
    [
        ([BTC, ETH], {ETH}, [ETH]),
        ([BTC, ETH], {SOL}, []),
        ([ETH, SOL], {ETH, SOL}, []),  # nobody could order it back where nothing is watched
    ],
)
def test_what_was_removed_stays_away_unless_nothing_else_is_named(
    named: list[Instrument], removed: set[Instrument], away: list[Instrument]
) -> None:
    assert staying_away(named, removed) == away


def test_the_note_says_how_it_comes_back() -> None:
    assert f"`alphapulse instruments add {ETH}`" in why_away(ETH)
