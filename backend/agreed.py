"""The settings that all processes of a system must have alike, and which of them differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from backend.settings import Settings

# What decides on rows, whichever process makes them. Addresses may differ from machine to machine.
# Nor may they meet on other topics, or other clusters: of an address only the cluster counts.
WHOLE: Final = (
    "clock", "history_bars", "deadline_ms", "snapshot_bars", "watch", "build", "sources", "signals",
    "ledger", "training", "notify", "retention",
)  # fmt: skip
AGREED: Final[Mapping[str, Any]] = {**dict.fromkeys(WHOLE, True), "kafka": {"prefix": True}}
Print = tuple[str, Mapping[str, str]]  # name of a process, or of what it does; its fingerprint
DIGITS: Final = 12  # of a hash: nobody tries to find another value with the same


def fingerprint(settings: Settings, cluster: str = "") -> dict[str, str]:
    """Each of these settings by its name, as a few digits of a hash; secrets do not count.

    Args:
        settings: of a process.
        cluster: id of what carries its ticks; empty: not known, or nothing does.

    >>> "watch.symbols" in fingerprint(Settings())
    True
    """
    told = settings.model_dump(mode="json", include=AGREED)  # which masks secrets
    if cluster:
        told["bus_url"] = cluster
    return {
        name: hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:DIGITS]
        for name, value in _leaves(told)
    }


def _leaves(told: Mapping[str, Any], of: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their names, a group's as `group.name`."""
    for name, value in told.items():
        if isinstance(value, Mapping) and not of:
            yield from _leaves(value, f"{name}.")
        else:
            yield f"{of}{name}", value


def differences(prints: Sequence[Print]) -> list[str]:
    """One line for each setting that is not the same for all processes.

    >>> differences([("a", {"x": "1"}), ("b", {"x": "2"}), ("c", {"x": "1"})])
    ['setting x differs: a, c have one value; b another']
    """
    lines = []
    for name in sorted({name for _, told in prints for name in told}):
        groups: dict[str, list[str]] = {}
        for process, told in prints:
            if name in told:
                groups.setdefault(told[name], []).append(process)
        if len(groups) > 1:
            first, *others = (", ".join(dict.fromkeys(each)) for each in groups.values())
            have = "has" if ", " not in first else "have"
            rest = "; ".join(f"{one} another" for one in others)
            lines.append(f"setting {name} differs: {first} {have} one value; {rest}")
    return lines
