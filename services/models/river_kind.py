"""What learns by River as a kind of model: the columns it reads, its library loaded late."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Final

from domain.events import Target
from domain.ports import Learner

# River learns a label in time proportional to its columns; these say most of what the rest do.
ONLINE_COLUMNS: Final = (
    "log_return_1",
    "log_return_4",
    "log_return_24",
    "realized_volatility_24",
    "volatility_ratio_24_168",
    "rsi_14",
    "adx_14",
    "macd_histogram_ratio",
    "bollinger_position",
    "position_in_range_24",
    "mfi_14",
    "volume_z_24",
    "market_return_1",
    "return_rank_1",
    "return_rank_24",
    "volatility_rank",
)


@dataclass(frozen=True, slots=True)
class RiverKind:
    """The class `learner` of `module`, which is imported where one begins: River costs seconds."""

    name: str
    module: str
    learner: str
    target: Target = Target.DIRECTION
    columns: tuple[str, ...] = ONLINE_COLUMNS
    distributions: tuple[str, ...] = ("river",)

    def begin(self, columns: tuple[str, ...], horizon: int) -> Learner:
        learner: Learner = getattr(importlib.import_module(self.module), self.learner)(
            columns, horizon=horizon
        )
        return learner


RIVER: Final = RiverKind(name="river", module="services.models.online", learner="RiverSoftmax")
# Plug-ins of the release. A label costs the tree about half a millisecond, the forest four.
HOEFFDING_TREE: Final = RiverKind(
    name="hoeffding_tree", module="services.models.river_trees", learner="HoeffdingTree"
)
ADAPTIVE_FOREST: Final = RiverKind(
    name="adaptive_forest", module="services.models.river_trees", learner="AdaptiveForest"
)
