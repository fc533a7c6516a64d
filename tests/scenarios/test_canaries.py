"""Canaries: noise scores as noise, a planted signal is found, and nothing sees the future."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from backend.store.columns import CandleSeries
from backend.store.database import create_database, drop_database
from domain.events import Target
from domain.losses import BASELINES
from tests.scenarios.judging import aucs, holm_rejects, hourly, side_skills, skills
from tests.scenarios.market import (
    HORIZON,
    head,
    noise,
    planted,
    replayed,
    rows,
    settings,
    shocked,
)

BARS = 1_500
SEEN = 600  # candles before the future that is taken away or changed
BOOSTERS = ("catboost.direction", "lightgbm.direction", "xgboost.direction")
PRIORS = {*BASELINES[Target.DIRECTION], "pool.direction", "served"}
CHANCE = 0.001  # for all models together


@dataclass(frozen=True)
class Run:
    """A replay's database and its report."""

    url: str
    report: dict[str, Any]

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        return asyncio.run(rows(self.url, query, *arguments))


@pytest.fixture(scope="module")
def replay(
    server_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, list[CandleSeries]], Run]]:
    """Replays into databases of their own, which end with the module."""
    made: list[str] = []

    def run(name: str, series: list[CandleSeries]) -> Run:
        url = asyncio.run(create_database(server_url, f"canary_{name}"))
        made.append(f"canary_{name}")
        report = asyncio.run(replayed(url, tmp_path_factory.mktemp(name), series, settings()))
        return Run(url, report)

    yield run
    for name in made:
        asyncio.run(drop_database(server_url, name))


@pytest.fixture(scope="module")
def planted_run(replay: Callable[[str, list[CandleSeries]], Run]) -> Run:
    return replay("planted", planted(BARS))


@pytest.fixture(scope="module")
def noise_run(replay: Callable[[str, list[CandleSeries]], Run]) -> Run:
    return replay("noise", noise(BARS))


def test_every_kind_was_fitted_and_did_predict(noise_run: Run, planted_run: Run) -> None:
    for run in (noise_run, planted_run):
        counts = dict(
            run.rows("SELECT model, count(*) FROM ml_predictions WHERE p_up IS NOT NULL GROUP BY 1")
        )
        versions = dict(run.rows("SELECT name, max(version) FROM ml_models_metadata GROUP BY 1"))

        assert all(counts[name] > 1_000 for name in (*BOOSTERS, "logistic.direction"))
        assert counts["river.direction"] > 1_000
        assert all(versions[name] >= 4 for name in BOOSTERS)


def test_no_model_tells_up_from_down_on_noise(noise_run: Run) -> None:
    found = asyncio.run(aucs(noise_run.url, hourly(HORIZON)))

    p_values = {name: auc.p for name, auc in found.items() if name not in PRIORS}
    assert holm_rejects(p_values, CHANCE) == set(), found


def test_no_model_has_skill_in_the_side_on_noise(noise_run: Run) -> None:
    found = asyncio.run(side_skills(noise_run.url, hourly(HORIZON)))

    assert {name for name, skill in found.items() if skill.low > 0} == set(), found


def test_nothing_is_promoted_on_noise_and_no_signal_is_opened(noise_run: Run) -> None:
    lifted = noise_run.rows(
        "SELECT name, decided_at FROM promotion_decisions WHERE verdict = 'cold_start'"
    )

    assert lifted == []
    assert noise_run.rows("SELECT count(*) FROM trading_signals WHERE side <> 'flat'") == [(0,)]


def test_the_planted_signal_is_found_and_promoted(planted_run: Run) -> None:
    found = asyncio.run(aucs(planted_run.url, hourly(HORIZON)))
    skill = asyncio.run(skills(planted_run.url, Target.DIRECTION, hourly(HORIZON)))
    lifted = planted_run.rows(
        "SELECT DISTINCT name FROM promotion_decisions WHERE verdict = 'cold_start'"
    )

    assert all(found[name].value > 0.6 and found[name].p < CHANCE for name in BOOSTERS)
    assert skill["pool.direction"].low > 0
    assert {name for (name,) in lifted} & set(BOOSTERS)
    ((open_signals,),) = planted_run.rows(
        "SELECT count(*) FROM trading_signals WHERE side <> 'flat'"
    )
    assert open_signals > 0


@pytest.fixture(scope="module")
def truncated_run(replay: Callable[[str, list[CandleSeries]], Run]) -> Run:
    return replay("truncated", head(planted(BARS), SEEN))


@pytest.fixture(scope="module")
def shocked_run(replay: Callable[[str, list[CandleSeries]], Run]) -> Run:
    """A later history ten times as dear; a few of its candles suffice."""
    return replay("shocked", shocked(head(planted(BARS), SEEN + 24), SEEN))


SAID = {
    "features": (
        "SELECT instrument_id, as_of, coverage, row_hash FROM ml_features_ohlcv"
        " WHERE as_of <= $1 ORDER BY 1, 2"
    ),
    "labels": (
        "SELECT instrument_id, as_of, direction_known_at, outcome, weight, log_return,"
        " realized_volatility, uniqueness FROM ml_labels WHERE known_at <= $1 ORDER BY 1, 2"
    ),
    "predictions": (
        "SELECT instrument_id, as_of, role, model, version, p_down, p_up, q10, q50, q90,"
        " volatility, degraded FROM ml_predictions WHERE as_of <= $1 ORDER BY 1, 2, 3, 4"
    ),
    "signals": (
        "SELECT instrument_id, as_of, side, strength, gate FROM trading_signals"
        " WHERE as_of <= $1 ORDER BY 1, 2"
    ),
}


@pytest.mark.parametrize("kind", SAID)
def test_what_was_said_is_the_same_without_the_future(
    planted_run: Run, truncated_run: Run, kind: str
) -> None:
    ((last,),) = truncated_run.rows("SELECT max(as_of) FROM ml_features_ohlcv")

    said = truncated_run.rows(SAID[kind], last)

    assert said == planted_run.rows(SAID[kind], last)
    assert len(said) > SEEN


@pytest.mark.parametrize("kind", SAID)
def test_what_was_said_is_the_same_before_a_shock(
    planted_run: Run, truncated_run: Run, shocked_run: Run, kind: str
) -> None:
    ((last,),) = truncated_run.rows("SELECT max(as_of) FROM ml_features_ohlcv")

    assert shocked_run.rows(SAID[kind], last) == planted_run.rows(SAID[kind], last)


@pytest.mark.canaries
@pytest.mark.parametrize("seed", range(10))
def test_noise_of_any_seed_tells_no_side(
    replay: Callable[[str, list[CandleSeries]], Run], seed: int
) -> None:
    run = replay(f"noise_{seed}", noise(BARS, seed=seed))
    found = asyncio.run(aucs(run.url, hourly(HORIZON)))
    sides = asyncio.run(side_skills(run.url, hourly(HORIZON)))

    p_values = {name: auc.p for name, auc in found.items() if name not in PRIORS}
    assert holm_rejects(p_values, CHANCE / 10) == set(), found
    assert run.rows("SELECT count(*) FROM trading_signals WHERE side <> 'flat'") == [(0,)]
    assert max(skill.skill for skill in sides.values()) < 0.01


@pytest.mark.canaries
@pytest.mark.parametrize("seed", range(10))
def test_the_signal_of_any_seed_is_found(
    replay: Callable[[str, list[CandleSeries]], Run], seed: int
) -> None:
    run = replay(f"planted_{seed}", planted(BARS, seed=seed))
    found = asyncio.run(aucs(run.url, hourly(HORIZON)))

    assert all(found[name].value > 0.55 and found[name].p < CHANCE for name in BOOSTERS)
