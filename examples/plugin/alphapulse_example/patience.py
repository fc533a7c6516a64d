"""A signal policy: a side is taken once two closes running lean to it."""

from __future__ import annotations

from typing import Final

import numpy as np

from domain.codec import pack, unpack
from domain.events import Floats, PredictionBatch
from services.signals.kinds import PolicyKind
from services.signals.policy import PolicySettings, SignalPolicy


class Patience(SignalPolicy):
    """The policy of the release; a lean that is new at this close is flat (`patience`)."""

    def __init__(self, *, horizon: int, settings: PolicySettings) -> None:
        super().__init__(horizon=horizon, settings=settings)
        self._leant: dict[str, float] = {}  # symbol → −1, 0, +1 at the close before

    def gates(
        self, champion: PredictionBatch, members: list[PredictionBatch], lean: Floats
    ) -> list[str]:
        held_back = super().gates(champion, members, lean)
        symbols = [one.symbol for one in champion.instruments]
        sides = np.sign(np.nan_to_num(lean)).tolist()
        before = [self._leant.get(symbol, 0.0) for symbol in symbols]
        self._leant |= dict(zip(symbols, sides, strict=True))
        return [
            gate or ("" if side == earlier else "patience")
            for gate, side, earlier in zip(held_back, sides, before, strict=True)
        ]

    def snapshot(self) -> bytes:
        return pack({"proven": self.proven, "leant": self._leant})

    def restore(self, data: bytes) -> None:
        super().restore(data)
        self._leant = unpack(data)["leant"]


PATIENCE: Final = PolicyKind("patience", Patience)
