"""What every source of a plug-in must do: `source_checks(KIND)` in a parametrised test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from alphapulse_testing.check import Check, checks, require
from collectors.sources.kinds import SourceKind
from collectors.sources.payloads import UnreadableError
from domain.market import to_ms
from domain.sources import Answer, Measurement, TextItem, TextKind, tells

NOW_MS: Final = to_ms(datetime(2100, 1, 1, tzinfo=UTC))  # later than any example
EARLY_MS: Final = to_ms(datetime(2009, 1, 3, tzinfo=UTC))  # and earlier
NO_ANSWERS: Final = {
    "nothing": b"",
    "an error page": b"<!DOCTYPE html><html><title>502</title><body>Bad gateway</body></html>",
    "bytes that are no text": b"\xff\xfe\x00\x9f" * 64,
    "another document": b'{"error": {"code": 17, "message": "no"}}',
    "a list of nonsense": b'[null, 7, {"id": []}, [[]], "x"]',
    "a body that is nothing but depth": b"[" * 100_000,
}


@dataclass
class Reading:
    """A source, and how it reads."""

    kind: SourceKind

    @property
    def name(self) -> str:
        return self.kind.name

    def read(self, body: bytes, known_ms: int = NOW_MS) -> Answer:
        """What it tells of `body`; nothing where it refuses it as unreadable."""
        try:
            return self.kind.parse(body, known_ms)
        except UnreadableError:
            return Answer()


def source_checks(kind: SourceKind) -> list[Check]:
    """The suite."""
    return checks(Reading(kind), OF_SOURCES)


def its_address_is_asked_over_tls(subject: Reading) -> None:
    require(subject.kind.url.startswith("https://"), f"{subject.kind.url!r} is asked in the open")


def its_example_tells_something(subject: Reading) -> None:
    answer = subject.kind.parse(subject.kind.example, NOW_MS)
    require(_facts(answer), "nothing is told by its own example")
    require(not answer.refused, "rows of its own example are refused")


def what_it_tells_is_what_its_name_says(subject: Reading) -> None:
    answer, wanted = subject.read(subject.kind.example), tells(subject.name)
    for item in answer.items:
        require(item.source == subject.name, f"an item is of {item.source}")
        require(item.kind is wanted, f"it tells {item.kind}, and its name says {wanted}")
    for one in answer.measurements:
        require(one.metric is wanted, f"it measures {one.metric}, and its name says {wanted}")
    if isinstance(wanted, TextKind):
        require(not answer.measurements, "a source of texts measures something")


def a_fact_is_known_when_it_was_fetched_and_not_before(subject: Reading) -> None:
    for known_ms in (NOW_MS, EARLY_MS):
        for one in _facts(subject.read(subject.kind.example, known_ms)):
            happened = one.published_ms if isinstance(one, TextItem) else one.event_ms
            require(one.known_ms == known_ms, "a fact is known at another time than it was fetched")
            require(happened <= known_ms, "a fact is of a time that was still to come")


def the_same_answer_tells_the_same(subject: Reading) -> None:
    first, second = (subject.read(subject.kind.example) for _ in range(2))
    require(repr(first) == repr(second), "read twice, it tells something else")


def an_identity_is_told_once(subject: Reading) -> None:
    facts = _facts(subject.read(subject.kind.example))
    known = [_identity(one) for one in facts]
    require(len(set(known)) == len(known), "two facts have one identity")


def what_is_no_answer_tells_nothing_and_breaks_nothing(subject: Reading) -> None:
    for words, body in NO_ANSWERS.items():
        require(not _facts(subject.read(body)), f"{words} told it something")


def an_answer_that_is_cut_breaks_nothing(subject: Reading) -> None:
    whole = subject.kind.example
    told = {_identity(one) for one in _facts(subject.read(whole))}
    for share in range(1, 8):
        cut = subject.read(whole[: len(whole) * share // 8])
        require({_identity(one) for one in _facts(cut)} <= told, "a cut answer made something up")


OF_SOURCES: Final[tuple[Callable[[Reading], None], ...]] = (
    its_address_is_asked_over_tls,
    its_example_tells_something,
    what_it_tells_is_what_its_name_says,
    a_fact_is_known_when_it_was_fetched_and_not_before,
    the_same_answer_tells_the_same,
    an_identity_is_told_once,
    what_is_no_answer_tells_nothing_and_breaks_nothing,
    an_answer_that_is_cut_breaks_nothing,
)


def _facts(answer: Answer) -> tuple[TextItem | Measurement, ...]:
    return (*answer.items, *answer.measurements)


def _identity(one: TextItem | Measurement) -> tuple[object, ...]:
    if isinstance(one, TextItem):
        return (one.item_id,)
    return one.instrument, one.event_ms
