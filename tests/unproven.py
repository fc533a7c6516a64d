"""A signal policy that stakes on what no record has proven: sides where nothing is fitted."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from domain.events import Floats, PredictionBatch, Skill
from services.signals.kinds import PolicyKind
from services.signals.policy import PolicySettings, SignalPolicy

RECORDED: Final = "binance"


class Unproven(SignalPolicy):
    """The policy of the release, on the recorded exchange as if every lean had been proven.

    Elsewhere it is that policy, as the suite asks that a plug-in must pass before it is run.
    """

    def __init__(self, *, horizon: int, settings: PolicySettings) -> None:
        super().__init__(horizon=horizon, settings=settings)
        self.proven = 1.0

    def on_skill(self, skill: Skill) -> None:
        """No verdict changes that."""

    def gates(
        self, champion: PredictionBatch, members: list[PredictionBatch], lean: Floats
    ) -> list[str]:
        if champion.exchange != RECORDED:
            return super().gates(champion, members, lean)
        harmless = replace(champion, degraded=("",) * len(champion))
        return super().gates(harmless, members, lean)


PLUGIN: Final = PolicyKind("unproven", Unproven)
