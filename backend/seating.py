"""Orders about the models of a running system."""

from __future__ import annotations

from collections.abc import Sequence

from backend.api.state import RolledBack, Weight
from backend.observer import Observer
from backend.runner import Runner
from backend.settings import UnknownModelError
from domain.errors import UsageError


class Seating:
    """Takes orders for the panels of a running system.

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

    async def roll_back(
        self,
        model: str,
        *,
        exchange: str | None = None,
        timeframe: str | None = None,
        horizon: int | None = None,
    ) -> RolledBack:
        """Take a model's version from its place; the one before it speaks from the next close on.

        Raises:
            UnknownModelError: no version of it has a place there.
            UsageError: versions of it have places in several panels.
        """
        seated = {
            (key.exchange, key.timeframe.value, steps): observer
            for runner, observer in self._watches
            for key in [runner.panel.key]
            for steps in runner.panel.rooms
            if model in observer.learning.placed(steps)
        }
        wanted = (exchange, timeframe, horizon)
        places = [
            place
            for place in seated
            if all(one in (None, each) for one, each in zip(wanted, place, strict=True))
        ]
        if not places:
            known = {
                name
                for runner, observer in self._watches
                for steps in runner.panel.rooms
                for name in observer.learning.placed(steps)
            }
            raise UnknownModelError(model, known - {model} if seated else known)
        if len(places) > 1:
            named = ", ".join(f"{one} {each}x{steps}" for one, each, steps in places)
            raise UsageError(
                f"{model} is at {named}: choose by --exchange, --timeframe and --horizon"
            )
        ((one, each, steps),) = places
        observer = seated[one, each, steps]
        gone = observer.learning.placed(steps)[model]
        before = await observer.roll_back(steps, model)
        return RolledBack(
            exchange=one,
            timeframe=each,
            horizon=steps,
            model=model,
            version=gone,
            previous=before,
        )
