"""How often the panels of the page are computed."""

from __future__ import annotations

from backend.cadence import FOLDED_DAYS, FOLDING_EVERY_S, LOOK_EVERY_S, REST, Cadence


def test_a_slow_panel_rests_longer_than_a_quick_one() -> None:
    cadence = Cadence(["quick", "slow"], folded="slow")
    cadence.computed("quick", began=100.0, ended=100.1)
    cadence.computed("slow", began=100.0, ended=101.0)

    assert cadence.due(100.1 + 0.1 * REST + 1e-6) == ["quick"]
    assert cadence.due(101.0 + REST) == ["quick", "slow"]


def test_scores_are_computed_again_once_the_history_is_folded() -> None:
    cadence = Cadence(["scores", "other"], folded="scores")
    for name in ("scores", "other"):
        cadence.computed(name, began=0.0, ended=10.0)  # from rows, before any day was folded

    cadence.folded(FOLDED_DAYS)
    assert (cadence.pause_s, cadence.due(11.0)) == (FOLDING_EVERY_S, [])
    cadence.folded(3)
    assert (cadence.pause_s, cadence.due(12.0)) == (LOOK_EVERY_S, ["scores"])

    cadence.computed("scores", began=12.0, ended=12.1)
    cadence.folded(1)  # a day that has passed since
    assert cadence.due(13.0) == []
