"""What the system needs and does not have at the moment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from domain.market import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something fails; it ends by itself once that is mended.

    Attributes:
        about: `database`, `broker`, `clock`, `background`: work beside the ticks, or `record`: a
            row of the database that is not as it was written.
        since: by the machine's clock.
        reason: one line, without a secret.
        grave: whether nobody is to rely on the system meanwhile.
    """

    about: str
    since: datetime
    reason: str
    grave: bool = False

    def __str__(self) -> str:
        return f"{self.about}: {self.reason} (since {rfc3339(self.since)})"


def each_once(told: Iterable[Trouble]) -> list[Trouble]:
    """What several say in the same words is one thing, since the first of them."""
    found: dict[tuple[str, str, bool], Trouble] = {}
    for one in told:
        key = (one.about, one.reason, one.grave)
        before = found.setdefault(key, one)
        found[key] = replace(before, since=min(before.since, one.since))
    return list(found.values())
