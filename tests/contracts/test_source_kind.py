"""A source of a plug-in is read as its suite asks, and asked as ours are."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from alphapulse_testing.check import BreachError, Check
from alphapulse_testing.sources import OF_SOURCES, Reading, source_checks
from collectors.sources import session as sessions
from collectors.sources.kinds import SourceKind
from domain.sources import Answer
from tests.doubles import ManualClock
from tests.source_site import site

EXAMPLE = Path(__file__).parents[2] / "examples/plugin/alphapulse_example/notices.py"
NOTICES: SourceKind = runpy.run_path(str(EXAMPLE))["NOTICES"]
KEY = "k/e+y"


@pytest.mark.parametrize("check", source_checks(NOTICES), ids=str)
def test_the_example_keeps_the_contract(check: Check) -> None:
    check()


def tomorrow(body: bytes, known_ms: int) -> Answer:
    answer = NOTICES.parse(body, known_ms)
    late = [replace(one, published_ms=known_ms + 1) for one in answer.items]
    return replace(answer, items=tuple(late))


def fearless(body: bytes, known_ms: int) -> Answer:
    """Reads what is no answer."""
    text = body.decode("latin-1") or "nothing"
    (first, *_) = NOTICES.parse(NOTICES.example, known_ms).items
    return Answer(items=(replace(first, title=text[:20]),))


def fragile(body: bytes, known_ms: int) -> Answer:
    if not body.endswith(b"}"):
        raise KeyError("notices")
    return NOTICES.parse(body, known_ms)


def other(body: bytes, known_ms: int) -> Answer:
    answer = NOTICES.parse(body, known_ms)
    return replace(answer, items=tuple(replace(one, source="coindesk") for one in answer.items))


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (replace(NOTICES, url="http://a.example"), "its_address_is_asked_over_tls"),
        (replace(NOTICES, example=b'{"notices": []}'), "its_example_tells_something"),
        (replace(NOTICES, parse=other), "what_it_tells_is_what_its_name_says"),
        (replace(NOTICES, parse=tomorrow), "a_fact_is_known_when_it_was_fetched_and_not_before"),
        (replace(NOTICES, parse=fearless), "what_is_no_answer_tells_nothing_and_breaks_nothing"),
    ],
)
def test_a_source_that_breaks_a_promise_is_caught(kind: SourceKind, promise: str) -> None:
    (check,) = (one for one in OF_SOURCES if one.__name__ == promise)

    with pytest.raises(BreachError):
        check(Reading(kind))


def test_a_source_that_breaks_on_a_cut_answer_is_caught() -> None:
    subject = Reading(replace(NOTICES, parse=fragile))
    (check,) = (one for one in OF_SOURCES if one.__name__ == "an_answer_that_is_cut_breaks_nothing")

    with pytest.raises(KeyError):
        check(subject)


async def test_it_is_asked_with_its_key_which_nobody_sees() -> None:
    clock = ManualClock()
    async with site() as stand_in, sessions.open_session() as session:
        kind = replace(NOTICES, url=stand_in.address("/notices"), key="token")
        stand_in.answers = {"/notices": NOTICES.example.replace(b"n-2", KEY.encode())}
        source = kind.source(session, clock, SecretStr(KEY))

        answer = await source.poll()

    assert stand_in.requests[-1].query["token"] == KEY
    assert [one.item_id for one in answer.items] == ["***", "n-1"]
    assert KEY not in repr(answer) + repr(source)
