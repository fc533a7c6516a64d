"""Meta-labelling: a second model says how probable it is that a signal makes money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from domain.codec import pack, unpack
from domain.events import Floats, LabelBatch, PredictionBatch
from domain.market import Instrument, to_ms
from services.signals.opinion import Opinion
from services.signals.policy import PolicySettings, SignalPolicy, agreement, favourable

# What holds a row back that could have been taken: of these it is learnt what became of them.
_TAKEABLE: Final = frozenset({"", "probability", "cost", "interval", "agreement"})
_INPUTS: Final = 6
_FAR: Final = 5.0  # an input is not believed beyond it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """The rows of one close whose side will have made money, or not."""

    rows: Mapping[Instrument, int]
    side: Floats  # (n,) −1 or +1
    inputs: Floats  # (n, 6)


class ProfitPolicy(SignalPolicy):
    """The policy of this release, and a second opinion on each side that it takes.

    `profit@1`: the side would have made money net of cost: the barrier on its side was touched
    first, or neither and its log return was above the cost of getting in and out (López de Prado
    2018, «Advances in financial machine learning», 3.6). The opinion is learnt from served live
    rows alone, which are out of sample by construction, flat ones included. It has a say once
    it is proven to be better than the frequency of profit: a side whose probability of profit is
    below break-even is flat (`profit`), and no signal is larger than that probability allows.
    """

    def __init__(self, *, horizon: int, settings: PolicySettings) -> None:
        super().__init__(horizon=horizon, settings=settings)
        self.opinion = Opinion(_INPUTS, horizon=horizon)
        self._asked: dict[int, Asked] = {}  # by as_of in ms
        self._chance: Floats = np.empty(0)  # of the served batch that is decided on

    def gates(
        self, champion: PredictionBatch, members: list[PredictionBatch], lean: Floats
    ) -> list[str]:
        gates = super().gates(champion, members, lean)
        inputs = self._inputs(champion, members, lean)
        self._ask(champion, gates, np.sign(lean), inputs)
        self._chance = self.opinion.chance(inputs)
        if self.opinion.proven:
            doubtful = ~(self._chance >= self._break_even(champion))
            gates = [
                gate or ("profit" if doubt else "")
                for gate, doubt in zip(gates, doubtful.tolist(), strict=True)
            ]
        return gates

    def stake(
        self, champion: PredictionBatch, members: list[PredictionBatch], row: int
    ) -> dict[str, Any]:
        staked = super().stake(champion, members, row)
        if self.opinion.proven:
            barrier = float(self.barriers(champion)[row])
            mean = (2 * float(self._chance[row]) - 1) * barrier - self.settings.round_trip
            largest = max(self.settings.kelly_fraction * mean / barrier**2, 0.0)
            staked["size_fraction"] = min(staked["size_fraction"], largest)
        return staked

    def on_labels(self, labels: LabelBatch) -> None:
        """Learn from the rows whose horizon has passed, one close after another."""
        if labels.horizon != self.horizon:
            return
        for as_of_ms in np.unique(labels.as_of_ms[labels.known_ms > 0]).tolist():
            asked = self._asked.pop(as_of_ms, None)
            if asked is not None:
                told = np.flatnonzero((labels.as_of_ms == as_of_ms) & (labels.known_ms > 0))
                self._learn(asked, labels.take(told))

    def snapshot(self) -> bytes:
        asked = [
            {
                "as_of_ms": as_of_ms,
                "instruments": [[one.exchange, one.symbol] for one in of.rows],
                "side": of.side,
                "inputs": of.inputs,
            }
            for as_of_ms, of in self._asked.items()
        ]
        return pack({"proven": self.proven, "opinion": self.opinion.state(), "asked": asked})

    def restore(self, data: bytes) -> None:
        super().restore(data)
        state = unpack(data)
        self.opinion.restore(state["opinion"])
        self._asked = {
            one["as_of_ms"]: Asked(
                rows={Instrument(*name): row for row, name in enumerate(one["instruments"])},
                side=one["side"],
                inputs=one["inputs"],
            )
            for one in state["asked"]
        }

    def _inputs(
        self, champion: PredictionBatch, members: list[PredictionBatch], lean: Floats
    ) -> Floats:
        """(n, 6): level, lean, side, barrier beside cost, agreement, outer quantile."""
        barrier = self.barriers(champion)
        cost = np.log(barrier / max(self.settings.round_trip, 1e-6))
        outer = favourable(champion, lean) / barrier
        columns = (
            np.ones(len(lean)),
            np.abs(lean) / max(self.settings.minimum_strength, 0.01),
            np.sign(lean),
            cost,
            agreement(members, lean),
            outer,
        )
        return np.column_stack(columns).clip(-_FAR, _FAR)

    def _break_even(self, champion: PredictionBatch) -> Floats:
        """(n,) the probability of a win of b − c that pays for a loss of b + c."""
        barrier = self.barriers(champion)
        even: Floats = (barrier + self.settings.round_trip) / (2 * barrier)
        return even

    def _ask(
        self, champion: PredictionBatch, gates: list[str], side: Floats, inputs: Floats
    ) -> None:
        known = np.isfinite(inputs).all(axis=1) & (side != 0)
        known &= np.array([gate in _TAKEABLE for gate in gates])
        rows = np.flatnonzero(known)
        # A second batch of a close is of those that came late: the first has the tick.
        if len(rows) and to_ms(champion.as_of) not in self._asked:
            named = [champion.instruments[row] for row in rows.tolist()]
            self._asked[to_ms(champion.as_of)] = Asked(
                rows={instrument: row for row, instrument in enumerate(named)},
                side=side[rows],
                inputs=inputs[rows],
            )

    def _learn(self, asked: Asked, labels: LabelBatch) -> None:
        places = np.array([asked.rows.get(one, -1) for one in labels.instruments])
        known = (places >= 0) & np.isfinite(labels.outcome) & np.isfinite(labels.log_return)
        side = asked.side[places[known]]
        outcome, weight = labels.outcome[known], labels.weight[known]
        expired = side * labels.log_return[known] > self.settings.round_trip
        won = np.where(outcome != 0, side * outcome > 0, expired)
        # Both barriers within one candle: the stop counts.
        self.opinion.learn(asked.inputs[places[known]], np.where(weight > 0, won, 0.0))
