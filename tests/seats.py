"""A running system's models, as far as orders and pools go."""

from __future__ import annotations

from dataclasses import dataclass, field

from backend.api.state import RolledBack, Weight
from backend.settings import UnknownModelError
from domain.errors import UsageError

NAME = "lightgbm.direction"


@dataclass
class Book:
    """A system whose version 3 has a seat at two horizons."""

    orders: list[tuple[str, int | None]] = field(default_factory=list)

    def weights(self) -> list[Weight]:
        return [
            Weight(
                exchange="simulated",
                timeframe="1h",
                horizon=4,
                target="direction",
                model=NAME,
                weight=1.0,
            )
        ]

    async def roll_back(
        self,
        model: str,
        *,
        exchange: str | None = None,
        timeframe: str | None = None,
        horizon: int | None = None,
    ) -> RolledBack:
        if model != NAME:
            raise UnknownModelError(model, [NAME])
        if horizon is None:
            raise UsageError(f"{model} is at simulated 1hx4, simulated 1hx24")
        self.orders.append((model, horizon))
        return RolledBack(
            exchange=exchange or "simulated",
            timeframe=timeframe or "1h",
            horizon=horizon,
            model=model,
            version=3,
            previous=2 if horizon == 4 else None,
        )
