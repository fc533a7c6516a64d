"""What regime and rotation tell of a close, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from domain.classes import NOTHING, VOID, Close
from domain.market import Instrument
from services.classes.regime import LEAST_PAST, REGIME, terciles
from services.classes.rotation import ROTATION

NAMES = tuple(Instrument("walk", f"{base}/USDT") for base in ("ADA", "BTC", "ETH", "SOL"))


def close(returns: list[float], past: int = 60, **changed: object) -> Close:
    """Of `NAMES`; the volatilities of the past are 1, 2, … of each."""
    values = np.array(returns)
    ladder = np.tile(np.arange(1.0, past + 1)[:, None], (1, len(NAMES)))
    made = Close(
        instruments=NAMES,
        known=np.ones(len(NAMES), dtype=np.bool_),
        log_return=values,
        realized_volatility=np.abs(values),
        past_log_return=ladder,
        past_realized_volatility=ladder,
    )
    return replace(made, **changed)  # type: ignore[arg-type]  # arrays


def named(classes: object) -> list[str]:
    return [REGIME.classes[int(one)] for one in np.asarray(classes)]


def test_a_regime_is_the_sign_and_the_tercile_of_the_volatility() -> None:
    told = REGIME.tell(close([-20.0, 20.1, -40.1, 40.0]))

    assert named(told) == ["down_calm", "up_usual", "down_wild", "up_usual"]


def test_limits_are_each_instruments_own() -> None:
    past = np.tile(np.arange(1.0, 61.0)[:, None], (1, 4)) * [1.0, 10.0, 1.0, 1.0]

    told = REGIME.tell(close([50.0] * 4, past_realized_volatility=past))

    assert named(told) == ["up_wild", "up_calm", "up_wild", "up_wild"]


def test_there_is_no_regime_before_enough_labels_are_known() -> None:
    past = np.tile(np.arange(1.0, LEAST_PAST + 1)[:, None], (1, 4))
    past[0, 1] = np.nan

    told = REGIME.tell(close([5.0] * 4, past_realized_volatility=past))

    assert told.tolist() == [3, NOTHING, 3, 3]


def test_what_is_void_stays_void_and_what_has_no_sign_has_no_regime() -> None:
    told = REGIME.tell(close([np.nan, 0.0, 5.0, 5.0], known=np.array([True, True, True, False])))

    assert told.tolist() == [VOID, NOTHING, 3, NOTHING]


def test_limits_part_the_past_in_thirds() -> None:
    past = np.random.default_rng(1).permutation(np.arange(99.0))[:, None]

    low, high = terciles(past)[:, 0]

    assert ((past <= low).sum(), ((past > low) & (past <= high)).sum()) == (33, 33)


@pytest.mark.parametrize(
    ("returns", "told"),
    [
        ([0.01, 0.02, 0.01, 0.03], 1),  # 0.02 against 0.0167
        ([0.01, 0.01, 0.01, 0.03], 0),
        ([0.02, 0.02, 0.02, 0.02], NOTHING),
        ([0.01, np.nan, 0.01, 0.03], VOID),
        ([0.01, 0.02, np.nan, 0.01], 1),
        ([0.01, 0.02, np.nan, np.nan], VOID),
    ],
)
def test_rotation_is_of_bitcoin_against_the_mean_of_the_others(
    returns: list[float], told: int
) -> None:
    assert ROTATION.tell(close(returns)).tolist() == [NOTHING, told, NOTHING, NOTHING]


def test_rotation_waits_for_bitcoins_label_and_counts_each_base_once() -> None:
    waits = close([0.01, 0.02, 0.01, 0.03], known=np.array([True, False, True, True]))
    twice = tuple(
        Instrument("walk", f"{base}") for base in ("ADA/USDT", "BTC/USDC", "BTC/USDT", "ETH/USDT")
    )

    assert ROTATION.tell(waits).tolist() == [NOTHING] * 4
    assert ROTATION.subjects(twice) == twice[1:2]
    assert ROTATION.tell(close([0.0, 0.01, 9.0, 0.0], instruments=twice)).tolist() == [
        NOTHING,
        1,
        NOTHING,
        NOTHING,
    ]


def test_there_is_no_rotation_without_bitcoin_or_without_others() -> None:
    assert ROTATION.subjects(tuple(one for one in NAMES if one.base != "BTC")) == ()
    assert ROTATION.subjects(NAMES[:2]) == ()
