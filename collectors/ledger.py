"""What became of each hole of a series: the entries of the gap ledger, and how they change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from collectors.gaps import Cause, Range


class EntryState(StrEnum):
    """Where a hole stands."""

    OPEN = "open"
    REPAIRING = "repairing"  # the exchange has been asked for it
    FILLED = "filled"
    UNFILLABLE = "unfillable"  # the exchange answered, and does not have it


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Candles of one series that are missing, or were."""

    span: Range
    cause: Cause
    state: EntryState
    detected_ms: int
    attempts: int = 0
    filled_ms: int | None = None


# The entries of a series that are not filled: sorted, none overlaps another, and none
# touches another of its state.
Missing = tuple[Entry, ...]


def found(entries: Missing, ranges: Iterable[Range], cause: Cause, at_ms: int) -> Missing:
    """These are missing; what is listed already stays as it is."""
    listed = [entry.span for entry in entries]
    new = [
        Entry(span=part, cause=cause, state=EntryState.OPEN, detected_ms=at_ms)
        for span in united(ranges)
        for part in without(span, listed)
    ]
    return _joined([*entries, *new])


def attempted(entries: Missing, span: Range) -> Missing:
    """The exchange is asked for `span`; what it is known not to have stays unfillable."""

    def mark(entry: Entry) -> Entry:
        if entry.state is EntryState.UNFILLABLE or not overlap(entry.span, span):
            return entry
        return replace(entry, state=EntryState.REPAIRING, attempts=entry.attempts + 1)

    return _joined(map(mark, entries))


def given_up(entries: Missing, span: Range) -> Missing:
    """The exchange does not have what is missing of `span`."""
    return _joined(_within(entries, span, lambda e: replace(e, state=EntryState.UNFILLABLE)))


def filled(
    entries: Missing, ranges: Sequence[Range], at_ms: int
) -> tuple[Missing, tuple[Entry, ...]]:
    """These are there now: the entries that stay, and those that are filled."""
    parts: list[Entry] = list(entries)
    for span in ranges:
        parts = _within(parts, span, lambda e: replace(e, state=EntryState.FILLED, filled_ms=at_ms))
    kept = [entry for entry in parts if entry.state is not EntryState.FILLED]
    done = [entry for entry in parts if entry.state is EntryState.FILLED]
    return _joined(kept), _joined(done)


def part(entry: Entry, span: Range) -> Entry:
    """What the ledger says of `span`, which lies within the entry's."""
    return replace(entry, span=span)


def without(span: Range, others: Iterable[Range]) -> list[Range]:
    """What of `span` is in none of `others`, oldest first.

    >>> without(Range(0, 9), [Range(2, 4), Range(8, 12)])
    [Range(from_ms=0, to_ms=2), Range(from_ms=4, to_ms=8)]
    """
    parts = []
    cursor = span.from_ms
    for other in sorted(others):
        if other.to_ms <= cursor or other.from_ms >= span.to_ms:
            continue
        if other.from_ms > cursor:
            parts.append(Range(cursor, other.from_ms))
        cursor = other.to_ms
    if cursor < span.to_ms:
        parts.append(Range(cursor, span.to_ms))
    return parts


def united(ranges: Iterable[Range]) -> list[Range]:
    """The same points in as few ranges as can be, oldest first.

    >>> united([Range(4, 6), Range(0, 2), Range(1, 4)])
    [Range(from_ms=0, to_ms=6)]
    """
    merged: list[Range] = []
    for span in sorted(ranges):
        if merged and span.from_ms <= merged[-1].to_ms:
            merged[-1] = Range(merged[-1].from_ms, max(merged[-1].to_ms, span.to_ms))
        else:
            merged.append(span)
    return merged


def overlap(one: Range, other: Range) -> bool:
    """Whether they have a point in common."""
    return one.from_ms < other.to_ms and other.from_ms < one.to_ms


def _within(entries: Iterable[Entry], span: Range, change: Callable[[Entry], Entry]) -> list[Entry]:
    """The entries with `change` made to their parts within `span`."""
    parts = []
    for entry in entries:
        if not overlap(entry.span, span):
            parts.append(entry)
            continue
        common = Range(max(entry.span.from_ms, span.from_ms), min(entry.span.to_ms, span.to_ms))
        parts += [replace(entry, span=rest) for rest in without(entry.span, [common])]
        parts.append(change(replace(entry, span=common)))
    return parts


def _joined(entries: Iterable[Entry]) -> Missing:
    """Neighbours of one state become one entry, with the cause and time of the older."""
    joined: list[Entry] = []
    for entry in sorted(entries, key=lambda each: each.span):
        last = joined[-1] if joined else None
        if last and last.state is entry.state and last.span.to_ms == entry.span.from_ms:
            first = min(last, entry, key=lambda each: each.detected_ms)
            joined[-1] = replace(
                first,
                span=Range(last.span.from_ms, entry.span.to_ms),
                attempts=max(last.attempts, entry.attempts),
            )
        else:
            joined.append(entry)
    return tuple(joined)
