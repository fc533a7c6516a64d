"""What every channel of notifications promises; a new adapter joins by one more subject."""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from yarl import URL

from backend.notify.apprise_channel import open_service
from backend.notify.webhook import Webhook
from backend.setting_tables import webhook_key
from domain.errors import ChannelGoneError, UndeliveredError, UsageError
from domain.ports import Channel
from services.notifications.events import noticed
from services.notifications.wording import body_of, notification
from tests.doubles import START, ManualClock, RecordingChannel
from tests.notices import place, signal_row
from tests.receiver import SECRET, TOKEN, Receiver, hangs, hangs_up, receiver, says

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # apprise imports it

NOTICE = noticed("opened", START, place("signals.1h.binance.BTC/USDT"), signal_row())
assert NOTICE is not None
TOLD = notification(body_of(NOTICE, "0123abcd", "live"))
AT_MOST_S, HASTY_S = 60.0, 0.3  # of a try; of one that is to run out


@dataclass
class Subject:
    """A channel, its receiver, and how it is made to fail."""

    channel: Channel
    receiver: Receiver
    fail: Callable[[int], Awaitable[None]]  # the next try is answered so
    hang: Callable[[asyncio.Event], Awaitable[None]]
    received: Callable[[], int]


@asynccontextmanager
async def webhook(found: Receiver, at_most_s: float = AT_MOST_S) -> AsyncIterator[Channel]:
    async with aiohttp.ClientSession() as session:
        yield Webhook(
            session,
            URL(found.url),
            webhook_key(SECRET),
            clock=ManualClock(),
            timeout=aiohttp.ClientTimeout(total=at_most_s),
        )


@asynccontextmanager
async def service(found: Receiver, at_most_s: float = AT_MOST_S) -> AsyncIterator[Channel]:
    waits = f"rto={at_most_s}&cto={at_most_s}"
    made = open_service("phone", f"json://user:{TOKEN}@127.0.0.1:{found.port}/{TOKEN}?{waits}")
    yield made
    await made.close()


@asynccontextmanager
async def double(found: Receiver, at_most_s: float = AT_MOST_S) -> AsyncIterator[Channel]:
    del found
    yield RecordingChannel(at_most_s=at_most_s)


Open = Callable[[Receiver, float], AbstractAsyncContextManager[Channel]]


@pytest.fixture(params=[webhook, service, double])
def kind(request: pytest.FixtureRequest) -> Open:
    made: Open = request.param
    return made


@pytest.fixture
async def subject(kind: Open) -> AsyncIterator[Subject]:
    async with opened(kind, AT_MOST_S) as found:
        yield found


@asynccontextmanager
async def opened(kind: Open, at_most_s: float) -> AsyncIterator[Subject]:
    async with receiver() as found, kind(found, at_most_s) as channel:
        recording = channel if isinstance(channel, RecordingChannel) else None
        answers = recording.answers if recording else None

        async def fail(status: int) -> None:
            if answers is not None:
                answers.append(status)
            else:
                found.answers.append(says(status, Location=f"http://127.0.0.1:{found.port}/x"))

        async def hang(until: asyncio.Event) -> None:
            if answers is not None:
                answers.append(until)
            else:
                found.answers.append(hangs(until))

        yield Subject(
            channel=channel,
            receiver=found,
            fail=fail,
            hang=hang,
            received=lambda: len(recording.got if recording else found.got),
        )


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """All that reaches the log at its most talkative; caplog hears what goes no further too."""
    lines: list[str] = []
    root, before = logging.getLogger(), logging.getLogger().level
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(f"{record.getMessage()} {record.__dict__}")  # type: ignore[method-assign]
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    root.setLevel(before)


async def refusal_of(channel: Channel) -> UndeliveredError:
    with pytest.raises(UndeliveredError) as refused:
        await channel.send(TOLD)
    return refused.value


async def test_who_returns_has_delivered(subject: Subject) -> None:
    await subject.channel.send(TOLD)
    await subject.channel.send(TOLD)

    assert subject.received() == 2


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_whoever_is_refused_is_told_and_may_come_again(subject: Subject, status: int) -> None:
    await subject.fail(status)

    assert str(status) in str(await refusal_of(subject.channel))
    await subject.channel.send(TOLD)


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_no_redirection_is_followed(subject: Subject, status: int) -> None:
    await subject.fail(status)

    await refusal_of(subject.channel)

    assert subject.received() == 1


async def test_a_receiver_that_hangs_is_waited_for_a_bounded_time(kind: Open) -> None:
    released = asyncio.Event()
    async with opened(kind, HASTY_S) as subject:
        await subject.hang(released)

        async with asyncio.timeout(60):
            await refusal_of(subject.channel)
        released.set()


async def test_what_goes_wrong_is_one_line_without_the_address_or_a_secret(
    subject: Subject, logged: list[str]
) -> None:
    errors = []
    for status in (500, 302, 410):
        await subject.fail(status)
        errors.append(await refusal_of(subject.channel))
    if not isinstance(subject.channel, RecordingChannel):
        subject.receiver.answers.append(hangs_up())
        errors.append(await refusal_of(subject.channel))
    await subject.channel.send(TOLD)

    told = [*map(str, errors), *("".join(traceback.format_exception(one)) for one in errors)]
    assert [one for one in told[: len(errors)] if "\n" in one] == []
    told += logged
    for secret in (TOKEN, SECRET, SECRET.removeprefix("whsec_")):
        assert [one for one in told if secret in one] == []


async def test_a_try_that_hangs_does_not_begin_another(kind: Open) -> None:
    released = asyncio.Event()
    async with opened(kind, HASTY_S) as subject:
        for _ in range(3):
            await subject.hang(released)
        tries = (refusal_of(subject.channel) for _ in range(2))
        await asyncio.gather(*tries, return_exceptions=True)
        released.set()

        assert subject.received() <= 2


async def test_a_webhook_is_signed_named_and_says_by_its_id_that_it_comes_again() -> None:
    async with receiver() as found, webhook(found) as channel:
        found.answers.append(says(500))
        await refusal_of(channel)
        await channel.send(TOLD)

    first, second = found.got
    assert first == second
    assert (first.id, first.signed, first.body) == (TOLD.id, True, TOLD.body)


async def test_410_says_that_nothing_more_is_wanted() -> None:
    async with receiver() as found, webhook(found) as channel:
        found.answers.append(says(410))

        assert isinstance(await refusal_of(channel), ChannelGoneError)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("Mon, 01 Jan 2024 00:01:00 GMT", 60.0),
        ("soon", None),
        ("999999", 21_600.0),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", None),
    ],
)
async def test_a_webhook_hears_when_it_may_come_again(value: str, seconds: float | None) -> None:
    async with receiver() as found, webhook(found) as channel:
        found.answers.append(says(429, Retry_After=value))
        pause = (await refusal_of(channel)).retry_after

    assert (pause and pause.total_seconds()) == seconds


async def test_a_service_is_told_the_words() -> None:
    async with receiver() as found, service(found) as channel:
        await channel.send(TOLD)

    (got,) = found.got
    assert (got.json()["title"], got.json()["message"]) == (TOLD.title, TOLD.text)


@pytest.mark.parametrize(
    "address",
    [
        "tgram://123456789:abcdefg_hijklmnop/12315544/",
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
        "mailto://me:password@example.org",
    ],
)
async def test_the_services_that_are_promised_are_known(address: str) -> None:
    await open_service("phone", address).close()


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)

    with pytest.raises(UsageError, match=r"notify\.channels\.phone needs apprise: install alph"):
        open_service("phone", "json://127.0.0.1/")
