"""What part each model has in what is served."""

from __future__ import annotations

from collections.abc import Sequence

from backend.api.state import Weight
from backend.observer import Observer
from backend.runner import Runner


class Seating:
    """Knows the pools of panels.

    Args:
        watches: every panel that there is; it grows.
    """

    def __init__(self, watches: Sequence[tuple[Runner, Observer]]) -> None:
        self._watches = watches

    def weights(self) -> list[Weight]:
        """What part each member has in its pool now, the largest of a pool first."""
        found = [
            Weight(
                exchange=runner.panel.key.exchange,
                timeframe=runner.panel.key.timeframe.value,
                horizon=steps,
                target=name.rpartition(".")[2],
                model=name,
                weight=weight,
            )
            for runner, _ in self._watches
            for steps, rooms in runner.panel.rooms.items()
            for name, weight in rooms.predictor.weights().items()
        ]
        return sorted(
            found,
            key=lambda one: (one.exchange, one.timeframe, one.horizon, one.target, -one.weight),
        )
