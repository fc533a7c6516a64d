"""An exchange that falls silent: red with the reason, and nothing missing when it is over."""

from __future__ import annotations

import pytest

from tests.account import complaints
from tests.documented_receiver import Listening
from tests.integration.system.conftest import QUIET
from tests.processes import Exchange, System, until


@pytest.mark.long
def test_a_stall_turns_readiness_red_and_what_was_missed_is_made_up_for(
    stalled: System, exchange: Exchange, listener: Listening
) -> None:
    age = stalled.metric("alphapulse_prediction_age_seconds")
    # They fell silent one after the other.
    until(lambda: len(stalled.ready()[1].get("stale", ())) == len(QUIET), "red")
    status, problem = stalled.ready()

    assert (status, problem["code"]) == (503, "stale")
    assert {one["symbol"] for one in problem["stale"]} == set(QUIET)
    assert all(one["age_seconds"] > 30 for one in problem["stale"])
    assert stalled.metric("alphapulse_prediction_age_seconds") >= max(age, 30)
    assert stalled.metric("alphapulse_ready") == 0

    until(lambda: "predictions.stale binance 1m" in listener.said, "it is told")
    exchange.mend()
    stalled.wait_until_ready()
    stalled.wait_for_ticks(4)

    assert complaints(stalled, exchange) == []
    until(lambda: "predictions.fresh binance 1m" in listener.said, "that it is over is told")
    until(lambda: stalled.metric("alphapulse_prediction_age_seconds") < 30, "that they are young")
