"""The signal policies that there are: those of this release, and the port of plug-ins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from services.signals.policy import SignalPolicy
from services.signals.profit import ProfitPolicy


@dataclass(frozen=True, slots=True)
class PolicyKind:
    """A signal policy by its name.

    Args:
        name: as `signals.policy` spells it.
        begin: the class; called with `horizon` and `settings` once for each panel and horizon.
    """

    name: str
    begin: type[SignalPolicy]


THRESHOLDS: Final = PolicyKind("thresholds", SignalPolicy)
PROFIT: Final = PolicyKind("profit", ProfitPolicy)
POLICIES: Final[Mapping[str, PolicyKind]] = {one.name: one for one in (THRESHOLDS, PROFIT)}
