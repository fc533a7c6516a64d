"""Source: what every adapter does with what its source sends, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from aiohttp import web

from collectors.pacing import LONGEST_PAUSE
from collectors.sources import session as sessions
from domain.errors import SourceUnavailableError
from domain.market import to_ms
from domain.ports import Source
from domain.sources import Answer, Dating, Measurement, TextItem
from tests.doubles import ManualClock
from tests.source_site import Site, site, status, tagged
from tests.source_subjects import ERROR_PAGE, NOON, SECRET, SUBJECTS, Subject

LARGEST = 6 * 2**20  # bytes that the session of these tests allows
every_web_source = pytest.mark.parametrize(
    "subject", [one for one in SUBJECTS if one.web], ids=lambda one: one.name
)
only_reddit = pytest.mark.parametrize(
    "subject", [one for one in SUBJECTS if one.name == "reddit"], ids=lambda one: one.name
)


@dataclass
class Setting:
    """A source, the site that stands in for it, and its clock."""

    subject: Subject
    source: Source
    site: Site
    clock: ManualClock

    async def poll(self, body: object) -> Answer:
        """Ask once, after the pause that politeness asks for."""
        self.subject.serve(self.site, body)
        self.clock.advance(self.subject.pause)
        return await self.source.poll()


@pytest.fixture(params=SUBJECTS, ids=lambda one: one.name)
def subject(request: pytest.FixtureRequest) -> Subject:
    made: Subject = request.param
    return made


@pytest.fixture
async def setting(subject: Subject) -> AsyncIterator[Setting]:
    clock = ManualClock(NOON - subject.pause)
    async with site() as stand_in, sessions.open_session(largest=LARGEST) as session:
        source = subject.make(session, clock, stand_in)
        yield Setting(subject, source, stand_in, clock)
        await source.close()


def facts(answer: Answer) -> tuple[TextItem | Measurement, ...]:
    return (*answer.items, *answer.measurements)


def summary(one: TextItem | Measurement) -> tuple[object, ...]:
    if isinstance(one, TextItem):
        return one.item_id, one.published_ms, one.title
    return one.instrument, one.event_ms, one.value


async def turns() -> None:
    """Let everything happen that needs nothing but its turn."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_is_told_carries_the_time_at_which_it_was_fetched(setting: Setting) -> None:
    answer = await setting.poll(setting.subject.good)

    assert setting.source.name == setting.subject.name
    assert [summary(one) for one in facts(answer)] == list(setting.subject.told)
    assert {one.known_ms for one in facts(answer)} == {to_ms(NOON)}
    assert {one.source for one in answer.items} <= {setting.subject.name}
    assert answer.refused == ()


async def test_an_error_page_is_refused_with_its_bytes_and_a_reason(setting: Setting) -> None:
    answer = await setting.poll(ERROR_PAGE)

    assert facts(answer) == ()
    assert [(one.source, one.raw, one.size) for one in answer.refused] == [
        (setting.subject.name, ERROR_PAGE, len(ERROR_PAGE))
    ]
    assert answer.refused[0].reason


async def test_an_empty_list_tells_nothing(setting: Setting) -> None:
    assert facts(await setting.poll(setting.subject.empty)) == ()


async def test_rows_of_wrong_types_are_refused_and_the_others_are_told(setting: Setting) -> None:
    answer = await setting.poll(setting.subject.wrong_types)

    assert len(facts(answer)) == setting.subject.readable
    assert answer.refused
    assert all(one.reason and one.raw for one in answer.refused)


async def test_an_identity_is_told_once_and_a_contradiction_is_refused(setting: Setting) -> None:
    if setting.subject.twice is None:
        pytest.skip("a source of one row")

    answer = await setting.poll(setting.subject.twice)

    assert len(facts(answer)) == setting.subject.distinct
    contradicting = [one for one in answer.refused if "contradicts" in one.reason]
    assert len(contradicting) == (setting.subject.distinct == 2)


async def test_a_huge_body_is_not_read_to_its_end(setting: Setting) -> None:
    answer = await setting.poll(b"[" + b" " * (LARGEST + 2**20) + setting.subject.good)

    assert facts(answer) == ()
    assert len(answer.refused) == 1
    assert "more than" in answer.refused[0].reason
    assert len(answer.refused[0].raw) <= 65_536


async def test_a_time_to_come_is_clamped_to_the_time_of_the_fetch(setting: Setting) -> None:
    answer = await setting.poll(setting.subject.ahead)

    (one,) = facts(answer)
    assert (one.published_ms if isinstance(one, TextItem) else one.event_ms) == to_ms(NOON)
    assert [item.dating for item in answer.items] == [Dating.CLAMPED] * len(answer.items)


@pytest.mark.parametrize("code", [400, 403, 404, 500, 503])
async def test_a_status_of_failure_is_no_answer(setting: Setting, code: int) -> None:
    if code in {400, 404} and not setting.subject.web:
        pytest.skip("ccxt reads an exchange's own «no» from these")

    with pytest.raises(SourceUnavailableError, match=str(code)):
        await setting.poll(status(code, body=b"no"))


async def test_a_pause_that_is_asked_for_is_handed_on(setting: Setting) -> None:
    with pytest.raises(SourceUnavailableError) as refused:
        await setting.poll(status(429, {"Retry-After": "90"}))

    assert refused.value.retry_after == timedelta(seconds=90)


@pytest.mark.parametrize(
    ("told", "pause"),
    [
        ("999999999999", LONGEST_PAUSE),
        ("\N{SUPERSCRIPT TWO}", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
async def test_a_pause_out_of_measure_is_bounded_or_none(
    setting: Setting, told: str, pause: timedelta | None
) -> None:
    with pytest.raises(SourceUnavailableError) as refused:
        await setting.poll(status(429, {"Retry-After": told}))

    assert refused.value.retry_after == pause


async def test_a_site_that_is_away_is_no_answer(setting: Setting) -> None:
    def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    with pytest.raises(SourceUnavailableError, match=setting.subject.name.partition(".")[0]):
        await setting.poll(hang_up)


async def test_an_answer_that_is_cut_is_no_answer(setting: Setting) -> None:
    def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n[")
        request.transport.close()
        return web.Response()

    with pytest.raises(SourceUnavailableError):
        await setting.poll(cut)


async def test_a_source_that_failed_answers_again(setting: Setting) -> None:
    with pytest.raises(SourceUnavailableError):
        await setting.poll(status(500))

    assert len(facts(await setting.poll(setting.subject.good))) == len(setting.subject.told)


@every_web_source
async def test_what_did_not_change_is_not_sent_again(setting: Setting, subject: Subject) -> None:
    first = await setting.poll(tagged(subject.good, '"1"'))
    second = await setting.poll(tagged(subject.good, '"1"'))
    third = await setting.poll(tagged(subject.good, '"2"'))

    assert len(facts(first)) == len(facts(third)) == len(subject.told)
    assert second == Answer()
    sent = [one.headers.get("If-None-Match") for one in setting.site.asked(subject.path)]
    assert sent == [None, '"1"', '"1"']


@every_web_source
@pytest.mark.parametrize("etag", [b'"\x01"', b'"\xfc"', b""], ids=repr)
async def test_a_validator_that_cannot_be_sent_back_is_not(
    setting: Setting, subject: Subject, etag: bytes
) -> None:
    def untidy(request: web.Request) -> web.Response:
        assert request.transport is not None
        head = b"HTTP/1.1 200 OK\r\nETag: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        request.transport.write(head % (etag, len(subject.good)) + subject.good)
        request.transport.close()
        return web.Response()

    for _ in range(2):
        assert len(facts(await setting.poll(untidy))) == len(subject.told)
        assert "If-None-Match" not in setting.site.requests[-1].headers


@every_web_source
async def test_what_could_not_be_read_is_asked_for_again(
    setting: Setting, subject: Subject
) -> None:
    await setting.poll(tagged(ERROR_PAGE, '"1"'))

    assert len(facts(await setting.poll(tagged(subject.good, '"1"')))) == len(subject.told)


@every_web_source
async def test_the_time_of_the_last_change_is_told_back(setting: Setting, subject: Subject) -> None:
    changed = "Mon, 01 Jan 2024 11:00:00 GMT"
    await setting.poll(status(200, {"Last-Modified": changed}, subject.good))

    await setting.poll(subject.good)

    assert setting.site.requests[-1].headers["If-Modified-Since"] == changed


@every_web_source
async def test_requests_keep_their_distance_whatever_became_of_the_last(
    setting: Setting, subject: Subject
) -> None:
    with pytest.raises(SourceUnavailableError):
        await setting.poll(status(500))
    subject.serve(setting.site, subject.good)

    asked = asyncio.ensure_future(setting.source.poll())
    await turns()
    setting.clock.advance(subject.pause - timedelta(milliseconds=1))
    await turns()

    assert len(setting.site.asked(subject.path)) == 1

    setting.clock.advance(timedelta(milliseconds=1))
    await asked

    assert len(setting.site.asked(subject.path)) == 2


@every_web_source
async def test_a_date_is_a_pause_as_well(setting: Setting, subject: Subject) -> None:
    with pytest.raises(SourceUnavailableError) as refused:
        await setting.poll(status(503, {"Retry-After": "Mon, 01 Jan 2024 12:02:00 GMT"}))

    assert refused.value.retry_after == timedelta(minutes=2)


@only_reddit
@pytest.mark.parametrize(
    ("code", "tokens"), [(401, 2), (403, 2), (404, 1), (429, 1), (500, 1), (503, 1)]
)
async def test_a_token_is_asked_for_anew_where_it_does_not_let_us_in(
    setting: Setting, code: int, tokens: int
) -> None:
    with pytest.raises(SourceUnavailableError):
        await setting.poll(status(code))
    await setting.poll(setting.subject.good)

    assert len(setting.site.asked("/token")) == tokens


@only_reddit
@pytest.mark.parametrize("code", [429, 503])
async def test_who_gives_tokens_may_ask_for_a_pause_too(setting: Setting, code: int) -> None:
    setting.site.answers = {"/token": status(code, {"Retry-After": "90"})}

    with pytest.raises(SourceUnavailableError) as refused:
        await setting.source.poll()

    assert refused.value.retry_after == timedelta(seconds=90)


@pytest.mark.parametrize(
    "subject", [one for one in SUBJECTS if one.secret], ids=lambda one: one.name
)
async def test_a_secret_is_nowhere_in_what_comes_out(
    setting: Setting, subject: Subject, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    said: list[object] = []
    echo = b"<html>?auth_token=" + SECRET.encode() + b"&amp;{query}</html>"
    for body in (
        status(200, body=echo),
        status(403, body=echo),
        status(302, {"Location": f"/elsewhere?auth_token={SECRET}"}),
        subject.good,
        subject.wrong_types,
    ):
        try:
            said.append(await setting.poll(body))
        except SourceUnavailableError as error:
            said += [error, error.__cause__, error.__context__]
    said += [setting.source.__dict__["_address"], caplog.text]

    spellings = (SECRET, "s3cr3t", "of%2Bthe", "of+the")
    assert [one for one in said for spelling in spellings if spelling in repr(one)] == []
    assert not setting.site.asked("/elsewhere")
