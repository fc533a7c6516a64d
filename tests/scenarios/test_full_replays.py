"""Half a year of three markets under the settings of the release: who is given a seat."""

from __future__ import annotations

import asyncio

import pytest

from backend.settings import Settings
from tests.scenarios.conftest import Replays, Run
from tests.scenarios.judging import hourly, judge_noise, judge_planted
from tests.scenarios.market import HORIZON, Scenario, clustered_noise, noise, planted

pytestmark = pytest.mark.canaries

H4 = hourly(HORIZON)
BARS = 183 * 24  # six monthly fits
MARKETS = {"walk": noise, "clustered": clustered_noise, "signal": planted}


@pytest.fixture(scope="module")
def full(replay: Replays) -> dict[str, Run]:
    return replay(
        {
            name: Scenario(series=market(BARS, seed=11), settings=Settings())
            for name, market in MARKETS.items()
        }
    )


@pytest.mark.parametrize("market", ["walk", "clustered"])
def test_half_a_year_of_noise_gives_no_side_and_no_signal(
    full: dict[str, Run], market: str
) -> None:
    verdict = asyncio.run(judge_noise(full[market].url, H4))

    assert not verdict.told
    assert not verdict.skilled
    assert verdict.opened == 0, verdict  # whoever has a seat has it for the flat class alone


def test_half_a_year_of_the_planted_signal_gives_boosters_their_seats(full: dict[str, Run]) -> None:
    verdict = asyncio.run(judge_planted(full["signal"].url, H4))

    assert not verdict.missed, verdict
