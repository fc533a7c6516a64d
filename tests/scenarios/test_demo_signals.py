"""The synthetic market as the demo runs it gives signals that are not flat, soon."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.demo import INSTRUMENTS, TRAINING_BARS
from backend.settings import Settings
from backend.training_settings import TrainingSettings
from collectors.simulated.instruments import default_symbols
from domain.market import from_ms
from tests.scenarios.conftest import Replays
from tests.scenarios.market import H1, Scenario, planted

WITHIN = 60  # bars of the first fit
SHORT_HISTORY = 600  # bars, of which a fifth is the locked holdout: 15 blocks


def demo(seed: int, history: int) -> Scenario:
    """The demo's instruments and settings; the first fit is at its first live close."""
    series = planted(history + 1 + WITHIN, seed=seed, symbols=default_symbols(INSTRUMENTS))
    return Scenario(
        series=series,
        settings=Settings(training=TrainingSettings(every_bars=TRAINING_BARS)),
        since=from_ms(int(series[0].open_ms[history])),
        seed=seed,
    )


def bars_to_the_first_signal(replay: Replays, scenario: Scenario) -> int:
    """From the first fit, which is of all the history."""
    name = f"demo_{scenario.seed}_{len(scenario.series[0])}"
    run = replay({name: scenario})[name]
    ((fitted,),) = run.rows("SELECT min(created_at) FROM ml_models_metadata")
    ((opened,),) = run.rows("SELECT min(as_of) FROM trading_signals WHERE side <> 'flat'")

    assert scenario.since is not None
    assert fitted == scenario.since
    assert opened is not None, "every signal is flat"
    waited: timedelta = opened - fitted
    return waited // H1.duration


@pytest.mark.long
def test_a_signal_comes_soon_after_the_first_fit(replay: Replays) -> None:
    assert 1 <= bars_to_the_first_signal(replay, demo(7, SHORT_HISTORY)) <= WITHIN


@pytest.mark.canaries
@pytest.mark.parametrize("seed", range(1, 6))
def test_with_the_demos_own_history_a_signal_of_any_seed_comes_soon(
    replay: Replays, seed: int
) -> None:
    history = Settings().history_bars

    assert 1 <= bars_to_the_first_signal(replay, demo(seed, history)) <= WITHIN
