"""A tick that is made again says nothing anew of what stands of it."""

from __future__ import annotations

import numpy as np

from backend.panel import Panel, PanelKey
from backend.warmup import play
from domain.events import PredictionBatch, Role, SignalBatch
from domain.market import Timeframe
from services.signals.policy import PolicySettings
from tests.doubles import ManualClock
from tests.factories import BTC, ETH, candle_batches

H1 = Timeframe.H1
NEAR, FAR = 4, 24
TICK = candle_batches([BTC, ETH], 1, seed=5)[0]


def made() -> Panel:
    key = PanelKey(exchange=BTC.exchange, timeframe=H1)
    clock = ManualClock(TICK.as_of)  # within the bar: live
    return Panel(key, [NEAR, FAR], clock=clock, policy=PolicySettings())


def opened(events: list[object]) -> set[tuple[int, str]]:
    return {
        (signal.horizon, signal.instrument.symbol)
        for event in events
        if isinstance(event, SignalBatch)
        for signal in event.signals
    }


def test_signals_follow_only_what_is_said_for_the_first_time() -> None:
    events = play(made(), [TICK], {})
    served = [
        one for one in events if isinstance(one, PredictionBatch) and one.role is Role.CHAMPION
    ]
    near = next(one for one in served if one.horizon == NEAR)
    every = opened(events)

    again = play(made(), [TICK], {TICK.as_of: [near.take(np.array([0]))]})

    assert every == {(horizon, one.symbol) for horizon in (NEAR, FAR) for one in (BTC, ETH)}
    assert opened(again) == every - {(NEAR, near.instruments[0].symbol)}
