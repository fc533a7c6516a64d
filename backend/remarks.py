"""What a replay's figures of direction and of signals say, and do not say, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Section = Mapping[str, Any]  # of the report


def of_direction(direction: Section) -> Iterator[str]:
    """Whether there is skill, and what it is of."""
    whole, side = _shown(direction), _shown(direction["side"])
    if not _above(direction):
        yield f"No skill of direction is shown: {whole}."
    elif _above(direction["side"]):
        yield f"Direction has skill, {whole}, also of the side where the price moves: {side}."
    else:
        yield (
            f"The skill of direction, {whole}, is of whether a barrier is touched at all;"
            f" none is shown of which one: {side}."
        )


def of_signals(signals: Section) -> Iterator[str]:
    """How far the return of the signals is evidence."""
    count, span = signals["closed"], signals["net_return_interval95"]
    gained = (
        f"net return {signals['net_return']:.4f} of {count} signals that ended" if count else ""
    )
    if not count:
        yield "No signal with a side has ended: nothing can be said of a return."
    elif span is None:
        yield f"The {gained} is of too few days for an interval: it is no evidence."
    elif span[0] <= 0 <= span[1]:
        yield f"The {gained} is no evidence of a gain or a loss: 95 % interval {_ends(span)}."
    else:
        where = "above" if span[0] > 0 else "below"
        yield f"The {gained} lies {where} 0: 95 % interval {_ends(span)}."


def _above(section: Section) -> bool:
    span = section["skill_interval95"]
    return span is not None and span[0] > 0


def _shown(section: Section) -> str:
    if section["skill"] is None:
        return "nothing was scored"
    span = section["skill_interval95"]
    said = "too few days for an interval" if span is None else f"95 % interval {_ends(span)}"
    return f"{section['skill']:.4f}, {said}"


def _ends(span: list[float]) -> str:
    return f"[{span[0]:.4f}, {span[1]:.4f}]"
