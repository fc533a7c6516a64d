"""What is said over history is scored, and decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pytest

from backend.horizon_rooms import HorizonRooms
from backend.panel import Panel, PanelKey
from backend.warmup import play
from domain.events import CandleBatch, Origin, OutcomeBatch, PredictionBatch, Role
from domain.losses import BASELINE_NAMES
from domain.market import Timeframe
from services.signals.policy import PolicySettings
from tests.doubles import ManualClock
from tests.factories import BTC, ETH, candle_batches

T = TypeVar("T")
H1 = Timeframe.H1
HORIZON, TICKS = 4, 80
WALK = candle_batches([BTC, ETH], TICKS, seed=5)
TOLD = {(Role.CHAMPION, "served"), *((Role.MEMBER, name) for name in BASELINE_NAMES)}


def rooms_at(clock: ManualClock) -> tuple[Panel, HorizonRooms]:
    key = PanelKey(exchange=BTC.exchange, timeframe=H1)
    panel = Panel(key, [HORIZON], clock=clock, policy=PolicySettings())
    return panel, panel.rooms[HORIZON]


def gates(rooms: HorizonRooms) -> list[bytes]:
    return [gate.snapshot() for gate in rooms.gates.values()]


def of(events: Sequence[object], kind: type[T]) -> list[T]:
    return [one for one in events if isinstance(one, kind)]


@pytest.fixture
def clock() -> ManualClock:
    """Stands at the close of the last tick."""
    clock = ManualClock()
    clock.advance(WALK[-1].as_of - clock.now())
    return clock


def test_over_history_the_served_rows_and_their_baselines_are_said_and_scored_once(
    clock: ManualClock,
) -> None:
    panel, _ = rooms_at(clock)

    events = play(panel, WALK, {})

    said = of(events, PredictionBatch)
    past = [one for one in said if one.origin is Origin.BACKTEST]
    assert {(one.role, one.model) for one in past} == TOLD
    assert len(past) == len(TOLD) * (TICKS - HORIZON)
    scored = Counter(
        (one.origin, one.role, one.model, as_of_ms, instrument)
        for one in of(events, OutcomeBatch)
        for as_of_ms, instrument in zip(one.as_of_ms.tolist(), one.instruments, strict=True)
    )
    assert set(scored.values()) == {1}
    assert {key[:3] for key in scored} == {(Origin.BACKTEST, *key) for key in TOLD}
    assert len(scored) == len(TOLD) * (TICKS - HORIZON) * 2


def test_a_history_moves_no_gate(clock: ManualClock) -> None:
    panel, rooms = rooms_at(clock)
    fresh = gates(rooms)

    play(panel, WALK, {})

    assert gates(rooms) == fresh


def test_outcomes_over_history_move_no_state(clock: ManualClock) -> None:
    panel, rooms = rooms_at(clock)
    scored = of(play(panel, WALK, {}), OutcomeBatch)
    before = panel.snapshot()
    flattering = [replace(one, model="pool.direction", losses=0 * one.losses) for one in scored]

    verdicts = [verdict for one in (*scored, *flattering) for verdict in rooms.judge(one)]

    assert verdicts == []
    assert panel.snapshot() == before


def test_members_made_again_are_dated_as_the_served_row_that_stands(clock: ManualClock) -> None:
    then = ManualClock()
    first, _ = rooms_at(then)
    events: list[object] = []
    for batch in WALK:
        then.advance(batch.as_of - then.now())
        events += play(first, [batch], {})
    served = [one for one in of(events, PredictionBatch) if one.role is Role.CHAMPION]
    stands = {one.as_of: [one] for one in served}
    (kept, other) = (one.take(np.array([row])) for row, one in ((0, served[60]), (1, served[61])))
    stands[kept.as_of] = [kept]  # of the other nothing stands
    stands[other.as_of] = [replace(other, volatility=2 * other.volatility)]

    again = members_of(play(rooms_at(clock)[0], WALK, stands), [WALK[59], WALK[60], WALK[61]])

    said_then = members_of(events, [WALK[59], WALK[60], WALK[61]])
    ours = {key for key in said_then if key[0] == WALK[59].as_of} | {
        key for key in said_then if key[0] == kept.as_of and key[2] == BTC
    }
    assert len(ours) > len(BASELINE_NAMES)
    assert {key: again[key] for key in ours} == {key: said_then[key] for key in ours}
    others = {origin for key, (_, origin, _) in again.items() if key not in ours}
    assert others == {Origin.BACKTEST}


def members_of(
    events: Sequence[object], ticks: Sequence[CandleBatch]
) -> dict[tuple[object, str, object], tuple[object, Origin, bytes]]:
    wanted = {tick.as_of for tick in ticks}
    return {
        (one.as_of, one.model, instrument): (
            one.made_at,
            one.origin,
            one.probabilities[row].tobytes() + one.quantiles[row].tobytes(),
        )
        for one in of(events, PredictionBatch)
        if one.role is Role.MEMBER and one.as_of in wanted
        for row, instrument in enumerate(one.instruments)
    }
