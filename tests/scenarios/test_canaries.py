"""Canaries: noise scores as noise, a planted signal is found, and nothing sees the future."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest
from pydantic import SecretStr

from backend.models import Wanted, reproduce_model
from backend.settings import Settings
from tests.scenarios.conftest import BARS, SEEN, Replays, Run
from tests.scenarios.judging import (
    CHANCE,
    aucs,
    changed,
    hourly,
    judge_noise,
    judge_planted,
    side_skills,
)
from tests.scenarios.market import (
    BOOSTERS,
    HORIZON,
    OF_DIRECTION,
    Scenario,
    clustered_noise,
    noise,
    planted,
)

H4 = hourly(HORIZON)


@pytest.mark.parametrize("market", ["noise", "planted"])
def test_every_kind_was_fitted_and_did_predict(runs: dict[str, Run], market: str) -> None:
    run = runs[market]
    counts = dict(
        run.rows("SELECT model, count(*) FROM ml_predictions WHERE p_up IS NOT NULL GROUP BY 1")
    )
    versions = dict(run.rows("SELECT name, max(version) FROM ml_models_metadata GROUP BY 1"))

    assert all(counts[name] > 1_000 for name in (*BOOSTERS, "logistic.direction"))
    assert counts["river.direction"] > 1_000
    assert all(versions[name] >= 4 for name in BOOSTERS)


def test_nothing_is_to_be_had_on_noise(runs: dict[str, Run]) -> None:
    verdict = asyncio.run(judge_noise(runs["noise"].url, H4))

    assert not verdict.told
    assert not verdict.skilled
    assert not verdict.lifted
    assert verdict.opened == 0


def test_the_planted_signal_is_found_and_promoted(runs: dict[str, Run]) -> None:
    verdict = asyncio.run(judge_planted(runs["planted"].url, H4))

    assert not verdict.missed, verdict


def test_who_is_not_seated_challenges_what_serves(runs: dict[str, Run]) -> None:
    query = """
    SELECT "trigger", verdict, decided_at, evidence ->> 'look' FROM promotion_decisions
    WHERE target = 'direction' ORDER BY id
    """
    decisions = runs["planted"].rows(query)
    lifted = [at for _, verdict, at, _ in decisions if verdict == "cold_start"]
    looks = [row for row in decisions if row[0] == "challenge"]
    ended = {at for _, verdict, at, _ in looks if verdict in {"promote", "reject"}}
    told = [one for one in runs["planted"].report["events"] if "(look " in one["detail"]]

    assert all(at <= lifted[0] for trigger, _, at, _ in decisions if trigger == "cold_start")
    assert [look for _, _, _, look in looks[:2]] == ["0", "1"]
    assert {datetime.fromisoformat(one["at"]) for one in told} == ended
    assert {one["kind"] for one in told} <= {"promoted", "rejected"}
    assert ended


@pytest.mark.parametrize("name", ["logistic.direction@1", "xgboost.direction"])
def test_a_version_is_fitted_again_from_its_row_to_the_bit(
    runs: dict[str, Run], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    settings = Settings(database_url=SecretStr(runs["planted"].url))
    wanted = Wanted.parse(name, None, None, None)

    assert asyncio.run(reproduce_model(wanted, settings)) == 0
    assert "the same artifact" in capsys.readouterr().out


def test_what_was_said_is_the_same_without_the_future(runs: dict[str, Run]) -> None:
    until = last(runs["truncated"])

    assert asyncio.run(changed(runs["truncated"].url, runs["planted"].url, until)) == set()


def test_what_was_said_is_the_same_before_a_shock(runs: dict[str, Run]) -> None:
    until = last(runs["truncated"])

    assert asyncio.run(changed(runs["shocked"].url, runs["planted"].url, until)) == set()


def test_fitted_models_spoke_before_the_future_was_taken_away(runs: dict[str, Run]) -> None:
    until = last(runs["truncated"])
    query = "SELECT max(version) FROM ml_predictions WHERE model = $1 AND as_of <= $2"

    assert {runs["planted"].rows(query, name, until)[0][0] for name in BOOSTERS} == {"2"}
    assert len(runs["truncated"].rows("SELECT DISTINCT as_of FROM ml_features_ohlcv")) == SEEN


def last(run: Run) -> datetime:
    """The newest close of a replay."""
    as_of: datetime = run.rows("SELECT max(as_of) FROM ml_features_ohlcv")[0][0]
    return as_of


@pytest.mark.canaries
@pytest.mark.parametrize("seed", range(10))
def test_noise_of_any_seed_tells_no_side(replay: Replays, seed: int) -> None:
    """Odd seeds: walks that move together and whose volatility clusters."""
    market = clustered_noise if seed % 2 else noise
    scenario = Scenario(series=market(BARS, seed=seed), settings=OF_DIRECTION)
    run = replay({f"noise_{seed}": scenario})[f"noise_{seed}"]
    # Ten seeds, one test of all their models; an interval of 95 % would miss one in twenty.
    verdict = asyncio.run(judge_noise(run.url, H4, CHANCE / 10))
    sides = asyncio.run(side_skills(run.url, H4))

    assert not verdict.told
    assert verdict.opened == 0
    assert max(skill.skill for skill in sides.values()) < 0.01


@pytest.mark.canaries
@pytest.mark.parametrize("seed", range(10))
def test_the_signal_of_any_seed_is_found(replay: Replays, seed: int) -> None:
    scenario = Scenario(series=planted(BARS, seed=seed), settings=OF_DIRECTION)
    run = replay({f"planted_{seed}": scenario})[f"planted_{seed}"]
    found = asyncio.run(aucs(run.url, H4))

    assert all(found[name].value > 0.55 and found[name].p < CHANCE for name in BOOSTERS), found
