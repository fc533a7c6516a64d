"""The rows of a candidate set are made where they are waited for: hot for members, else cold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from backend.panel import Panel, PanelKey, cold_stages
from domain.events import FeatureBatch, Floats, PredictionBatch, Role, Target
from domain.market import Timeframe
from services.signals.policy import PolicySettings
from tests.doubles import ManualClock
from tests.factories import BTC, ETH, candle_batches
from tests.second_set import BOTH, SECOND

KEY = PanelKey(exchange="simulated", timeframe=Timeframe.H1)
NAME = "reader_second.direction"
FIRST = "ohlcv@1"


@dataclass(frozen=True)
class Reader:
    """A model of the candidate's own column."""

    name: str = NAME
    version: str = "1"
    target: Target = Target.DIRECTION
    candles: str = SECOND.id

    def predict(self, features: FeatureBatch) -> Floats:
        fallen = np.nan_to_num(features.column("drawdown_12"))
        rise = 0.5 - 0.1 * np.tanh(fallen)
        return np.column_stack((0.9 - rise, np.full(len(features), 0.1), rise))


def ticked(role: Role | None, count: int = 20) -> tuple[list[object], list[object]]:
    """What the hot and the cold chain made of the last of some ticks."""
    panel = Panel(KEY, [4], clock=ManualClock(), policy=PolicySettings(), sets=BOTH, online={})
    if role is not None:
        panel.rooms[4].predictor.seat(Reader(), role)
    *ticks, last = candle_batches([BTC, ETH], count)
    for batch in ticks:
        panel.cold.run(batch, *panel.hot.run(batch)[0])
    hot, _ = panel.hot.run(last)
    return hot, panel.cold.run(last, *hot)[0]


def sets_in(events: list[object]) -> list[str]:
    return [one.feature_set.id for one in events if isinstance(one, FeatureBatch)]


def said(events: list[object], model: str) -> list[PredictionBatch]:
    return [one for one in events if isinstance(one, PredictionBatch) and one.model == model]


@pytest.mark.parametrize(
    ("role", "hot_sets", "cold_sets"),
    [
        (None, [FIRST], [SECOND.id]),
        (Role.CHALLENGER, [FIRST], [SECOND.id]),
        (Role.MEMBER, [SECOND.id, FIRST], []),
    ],
)
def test_rows_are_made_once_and_hot_only_for_members(
    role: Role | None, hot_sets: list[str], cold_sets: list[str]
) -> None:
    hot, cold = ticked(role)

    assert (sets_in(hot), sets_in(cold)) == (hot_sets, cold_sets)
    assert len(said(hot, "served")) == 1


@pytest.mark.parametrize("role", [Role.CHALLENGER, Role.MEMBER])
def test_a_model_reads_the_rows_of_its_set_and_says_so(role: Role) -> None:
    hot, cold = ticked(role)
    (rows,) = [
        one
        for one in (*hot, *cold)
        if isinstance(one, FeatureBatch) and one.feature_set == SECOND.feature_set
    ]

    (row,) = said([*hot, *cold], NAME)

    assert (row.feature_set, row.role) == (SECOND.id, role)
    assert np.array_equal(row.probabilities, Reader().predict(rows))
    (served,) = said(hot, "served")
    assert served.feature_set == FIRST
    assert (NAME in served.members) == (
        role is Role.MEMBER and "no_skill" not in served.degraded[0]
    )


def test_what_is_served_without_it_is_the_same_to_the_bit() -> None:
    alone = Panel(KEY, [4], clock=ManualClock(), policy=PolicySettings(), online={})
    *ticks, last = candle_batches([BTC, ETH], 20)
    for batch in ticks:
        alone.cold.run(batch, *alone.hot.run(batch)[0])
    hot, _ = alone.hot.run(last)

    (served,), (beside,) = said(hot, "served"), said(ticked(Role.CHALLENGER)[0], "served")

    assert np.array_equal(served.volatility, beside.volatility, equal_nan=True)
    assert np.array_equal(served.quantiles, beside.quantiles, equal_nan=True)
    assert cold_stages(alone)[0].name == "members"
    assert b"ohlcv@2" not in alone.snapshot()
