"""What one kind is fitted with for one target; a recipe's hash is its identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from domain.events import Target

PAST: Final = "past"  # the parameter of a kind that reads sequences
LONGEST_PAST: Final = 512  # candles: so many rows are kept of each instrument
_NAMES: Final = ("kind", "target", "candles", "features", "n_trials")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The parameters of a fit. What they mean is the kind's to know."""

    kind: str
    target: Target
    parameters: Mapping[str, Any] = field(default_factory=dict)  # JSON numbers, words
    candles: str = ""  # the candle feature set that it reads: `ohlcv@2`; empty: the release's
    features: tuple[str, ...] = ()  # sets of plug-ins that it reads: `tempo@1`
    n_trials: int = 1  # how many were tried before this one was chosen, itself among them

    @property
    def name(self) -> str:
        """As settings and rows name it: `lightgbm.direction`."""
        return f"{self.kind}.{self.target}"

    @property
    def past(self) -> int:
        """How many candles before a row a model of it reads."""
        return past_in(self.parameters)

    @property
    def sha256(self) -> str:
        content = json.dumps(self.written(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    def written(self) -> dict[str, Any]:
        """As the registry keeps it; `read` is the way back."""
        more: dict[str, Any] = {"features": [*self.features]} if self.features else {}
        if self.candles:
            more["candles"] = self.candles
        if self.n_trials > 1:
            more["n_trials"] = self.n_trials
        return {**self.parameters, "kind": self.kind, "target": self.target, **more}

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Recipe:
        """From what `written` gave.

        Raises:
            KeyError, ValueError: it names no kind, or no target.
        """
        return cls(
            kind=written["kind"],
            target=Target(written["target"]),
            parameters={name: one for name, one in written.items() if name not in _NAMES},
            candles=written.get("candles", ""),
            features=tuple(written.get("features", ())),
            n_trials=int(written.get("n_trials", 1)),
        )

    def changed(self, **parameters: Any) -> Recipe:  # noqa: ANN401 - as in JSON
        """The same with other values of those parameters that it has."""
        known = {name: one for name, one in parameters.items() if name in self.parameters}
        return replace(self, parameters={**self.parameters, **known})


def past_in(parameters: Mapping[str, Any]) -> int:
    """See `Recipe.past`."""
    candles = parameters.get(PAST)
    return candles if isinstance(candles, int) else 0
