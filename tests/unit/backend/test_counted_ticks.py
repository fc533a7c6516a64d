"""The figures of /metrics move where what they count happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from backend.metrics import REGISTRY
from backend.panel import Panel, PanelKey
from backend.runner import Runner
from domain.market import Timeframe
from services.signals.policy import PolicySettings
from tests.doubles import ManualClock
from tests.factories import BTC, ETH, candle_batches

STAGES = ("features", "predictions", "signals", "commit", "labels", "scores", "second commit")
BOTH = [BTC, ETH]


class Quiet:
    """A recorder and an observer that keep and say nothing."""

    async def commit_tick(self, events: Sequence[object], **_: Any) -> list[Any]:
        return []

    async def commit_learning(self, events: Sequence[object], **_: Any) -> list[Any]:
        return []

    def seated(self, changes: Sequence[object]) -> None: ...

    def states(self, as_of: object) -> Sequence[Any]:
        return ()

    def past(self, candles: object) -> Sequence[Any]:
        return ()

    async def after_tick(self, candles: object) -> None: ...


def read() -> dict[str, float]:
    """The figures that a tick moves."""
    found = {
        "candles": REGISTRY.get_sample_value(
            "alphapulse_candles_received_total", {"exchange": BTC.exchange}
        ),
        "served rows": REGISTRY.get_sample_value(
            "alphapulse_predictions_made_total", {"timeframe": "1h"}
        ),
    }
    for stage in STAGES:
        found[stage] = REGISTRY.get_sample_value("alphapulse_stage_seconds_count", {"stage": stage})
    return {name: value or 0.0 for name, value in found.items()}


async def test_a_tick_counts_its_candles_its_served_rows_and_its_stages() -> None:
    clock = ManualClock()
    panel = Panel(
        PanelKey(exchange=BTC.exchange, timeframe=Timeframe.H1),
        [4, 24],
        clock=clock,
        policy=PolicySettings(),
    )
    quiet = Quiet()
    runner = Runner(
        panel=panel,
        recorder=quiet,
        publish=lambda events: None,
        clock=clock,
        wall=clock,
        observer=quiet,
    )
    first, second = candle_batches(BOTH, 2)
    before = read()

    for batch in (first, second):
        await runner.on_candles(batch)
    answered = read()
    await runner.on_candles(replace(first, revision=first.revision + 1, late=True))
    revised = read()

    moved = {name: answered[name] - before[name] for name in before}
    horizons, ticks = 2, 2
    assert moved.pop("candles") == ticks * len(BOTH)
    assert moved.pop("served rows") == ticks * len(BOTH) * horizons
    assert moved == dict.fromkeys(STAGES, ticks)
    kept = {name: revised[name] - answered[name] for name in before}
    assert {name: more for name, more in kept.items() if more} == {"candles": 2, "commit": 1}
