"""Each canary is turned red by a fault planted on purpose, so that green means something."""

from __future__ import annotations

import asyncio

import pytest

from tests.scenarios.conftest import BARS, Replays, Run
from tests.scenarios.judging import changed, hourly, judge_noise, judge_planted
from tests.scenarios.market import (
    BOOSTERS,
    HORIZON,
    NO_FITS,
    Scenario,
    clustered_noise,
    head,
    noise,
    planted,
    settings,
    shocked,
)
from tests.scenarios.mutations import normalised, peeking, shuffled_labels, shuffled_split

H4 = hourly(HORIZON)
SEEN = 120
ONE_BOOSTER = ("lightgbm.direction",)


@pytest.fixture(scope="module")
def mutated(replay: Replays) -> dict[str, Run]:
    """Short replays with a look-ahead or a normaliser over the whole history in the features."""
    leaky, future = noise(BARS // 2), planted(SEEN + 24)
    dearer, short = shocked(future, SEEN), head(future, SEEN)
    one = settings(kinds=ONE_BOOSTER)
    return replay(
        {
            "peeking_on_noise": Scenario(series=leaky, settings=one, alter=peeking(leaky)),
            "peeking": Scenario(series=future, settings=NO_FITS, alter=peeking(future)),
            "peeking_head": Scenario(series=short, settings=NO_FITS, alter=peeking(short)),
            "normalised": Scenario(series=future, settings=NO_FITS, alter=normalised(future)),
            "normalised_dearer": Scenario(
                series=dearer, settings=NO_FITS, alter=normalised(dearer)
            ),
        }
    )


@pytest.mark.long
def test_a_feature_that_peeks_one_candle_ahead_turns_the_noise_canary_red(
    mutated: dict[str, Run],
) -> None:
    verdict = asyncio.run(judge_noise(mutated["peeking_on_noise"].url, H4))

    assert set(ONE_BOOSTER) <= verdict.told.keys() & verdict.skilled.keys()


def test_a_market_without_the_signal_turns_the_planted_canary_red(runs: dict[str, Run]) -> None:
    verdict = asyncio.run(judge_planted(runs["noise"].url, H4))

    assert verdict.boosters.keys() == set(BOOSTERS)
    assert verdict.pool is not None
    assert verdict.unseated
    assert verdict.silent


@pytest.mark.long
def test_a_feature_that_peeks_one_candle_ahead_turns_the_truncation_canary_red(
    mutated: dict[str, Run],
) -> None:
    kinds = differing(mutated, "peeking_head", "peeking")

    assert "features" in kinds
    assert "labels" not in kinds


@pytest.mark.long
def test_a_normaliser_over_the_whole_history_turns_the_shock_canary_red(
    mutated: dict[str, Run],
) -> None:
    kinds = differing(mutated, "normalised_dearer", "normalised")

    assert "features" in kinds
    assert "labels" not in kinds


def differing(mutated: dict[str, Run], one: str, other: str) -> set[str]:
    ((until,),) = mutated["peeking_head"].rows("SELECT max(as_of) FROM ml_features_ohlcv")
    return asyncio.run(changed(mutated[one].url, mutated[other].url, until))


@pytest.mark.canaries
def test_a_shuffled_split_turns_the_noise_canary_red(replay: Replays) -> None:
    one = settings(kinds=BOOSTERS)
    scenario = Scenario(series=noise(BARS), settings=one, fit=shuffled_split)
    verdict = asyncio.run(judge_noise(replay({"split": scenario})["split"].url, H4))

    assert verdict.lifted & set(BOOSTERS)
    assert not verdict.told  # the rows that are judged were not shuffled: only the seats are wrong


@pytest.mark.canaries
def test_shuffled_labels_turn_the_planted_canary_red(replay: Replays) -> None:
    """River still learns from the true ones; the boosters find nothing."""
    one = settings(kinds=BOOSTERS)
    scenario = Scenario(series=planted(BARS), settings=one, fit=shuffled_labels)
    verdict = asyncio.run(judge_planted(replay({"labels": scenario})["labels"].url, H4))

    assert verdict.boosters.keys() == set(BOOSTERS)
    assert verdict.unseated


@pytest.mark.canaries
def test_the_same_market_with_the_signal_off_turns_the_planted_canary_red(replay: Replays) -> None:
    scenario = Scenario(series=clustered_noise(BARS), settings=settings())
    verdict = asyncio.run(judge_planted(replay({"off": scenario})["off"].url, H4))

    assert verdict.boosters.keys() == set(BOOSTERS)
    assert verdict.pool is not None
    assert verdict.silent
