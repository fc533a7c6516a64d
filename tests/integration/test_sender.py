"""The outbox of a channel: tried again and again under one id, in order, and never too fast."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from backend.notify.notifications import NO_CHANNEL
from backend.notify.sender import GONE_REST, LEAST_TRIES, LONGEST_RETRY
from backend.store.outbox import Entry
from domain.errors import ChannelGoneError, UndeliveredError
from domain.notifications import Notification
from services.notifications.events import noticed
from tests.doubles import RecordingChannel
from tests.integration.notified import MINUTE, Notified, notified
from tests.notices import place, signal_row

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
async def record(database_url: str) -> AsyncIterator[Notified]:
    async with notified(database_url) as found:
        yield found


async def enter(record: Notified, *symbols: str, channel: str = "ops") -> list[str]:
    """Enter a signal of each symbol; the ids."""
    entries = []
    for offset, symbol in enumerate(symbols, start=1):
        stream = f"signals.1h.binance.{symbol}"
        row = signal_row(symbol=symbol)
        notice = noticed("opened", record.clock.now(), place(stream, offset), row)
        assert notice is not None
        entries.append(Entry.of(notice, channel, "live"))
    await record.outbox.enter(entries, {}, at=record.clock.now())
    return [one.id for one in entries]


class TimedChannel(RecordingChannel):
    """One that notes when it was tried, and refuses chosen ids."""

    def __init__(self, record: Notified, refused: Sequence[str] = ()) -> None:
        super().__init__()
        self.tried: list[tuple[datetime, str]] = []
        self._record, self.refused = record, set(refused)

    async def send(self, notification: Notification) -> None:
        self.tried.append((self._record.clock.now(), notification.id))
        if notification.id in self.refused:
            raise UndeliveredError("HTTP 500")
        await super().send(notification)

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.got]


async def states(record: Notified) -> list[str]:
    return [row["state"] for row in await record.rows()]


async def test_what_waits_is_sent_in_the_order_in_which_it_was_entered(record: Notified) -> None:
    ids = await enter(record, "BTC/USDT", "ETH/USDT", "ADA/USDT", "BTC/USDT")

    await record.drive(record.sender(), SECOND)

    assert [one.id for one in record.channel.got] == ids
    rows = await record.rows()
    assert {(row["state"], row["attempts"], row["error"]) for row in rows} == {("sent", 1, None)}
    assert {row["sent_at"] for row in rows} == {rows[0]["created_at"]}


async def test_what_fails_is_tried_again_under_its_id_until_it_is_taken(record: Notified) -> None:
    (identity,) = await enter(record, "BTC/USDT")
    record.channel.answers += [500, 503, 404, 429, 302]

    await record.drive(record.sender(), HOUR)

    assert [one.id for one in record.channel.got] == [identity] * 6
    assert len({one.body for one in record.channel.got}) == 1
    (row,) = await record.rows()
    assert (row["state"], row["attempts"], row["error"]) == ("sent", 6, None)


async def test_one_subject_keeps_its_order_and_holds_up_no_other(record: Notified) -> None:
    first, second, other = await enter(record, "BTC/USDT", "BTC/USDT", "ETH/USDT")
    channel = TimedChannel(record, [first])
    sender = record.sender(channel=channel)

    await record.drive(sender, MINUTE)
    assert channel.ids == [other]
    assert await states(record) == ["pending", "pending", "sent"]

    channel.refused.clear()
    await record.drive(sender, HOUR)
    assert channel.ids == [other, first, second]


async def test_what_is_never_taken_is_a_dead_letter_told_once_and_may_be_raised(
    record: Notified, caplog: pytest.LogCaptureFixture
) -> None:
    (identity,) = await enter(record, "BTC/USDT")
    channel = TimedChannel(record, [identity])
    sender = record.sender(channel=channel)

    with caplog.at_level(logging.WARNING):
        await record.drive(sender, DAY - HOUR)
        assert await states(record) == ["pending"]
        await record.drive(sender, 3 * HOUR)

    (row,) = await record.rows()
    assert (row["state"], row["error"]) == ("dead", "HTTP 500")
    assert row["attempts"] == len(channel.tried) >= 20
    told = Counter(one.message for one in caplog.records if one.name == "backend.notify.sender")
    assert told == {
        "a notification is a dead letter": 1,
        "a channel does not take notifications": 1,
    }
    moments = [at for at, _ in channel.tried]
    pauses = [after - before for before, after in pairwise(moments)]
    assert max(pauses) <= LONGEST_RETRY
    assert max(pauses[10:]) > 10 * max(pauses[:3])

    await record.drive(sender, DAY)
    assert len(channel.tried) == row["attempts"]
    channel.refused.clear()
    assert await record.outbox.raise_dead([identity], channel=None, at=record.clock.now()) == [
        identity
    ]
    await record.drive(sender, MINUTE)
    assert channel.ids == [identity]
    assert await states(record) == ["sent"]


async def test_what_waited_while_nothing_ran_is_tried_more_than_once(record: Notified) -> None:
    await enter(record, "BTC/USDT")
    record.clock.advance(7 * DAY)
    record.channel.answers += [500] * (LEAST_TRIES - 1)

    await record.drive(record.sender(), HOUR)

    assert await states(record) == ["sent"]
    assert "late by 168 h" in record.channel.got[-1].text


async def test_a_channel_that_asks_for_a_pause_has_it_for_everything(record: Notified) -> None:
    await enter(record, "BTC/USDT", "ETH/USDT")
    channel = TimedChannel(record)
    channel.answers.append(UndeliveredError("HTTP 429", 10 * MINUTE))
    sender = record.sender(channel=channel)

    await record.drive(sender, HOUR)

    first, *others = [at for at, _ in channel.tried]
    assert len(others) == 2
    assert all(at - first >= 10 * MINUTE for at in others)


async def test_a_channel_that_is_gone_has_its_letters_dead_and_is_asked_after_a_rest(
    record: Notified,
) -> None:
    await enter(record, "BTC/USDT", "ETH/USDT")
    channel = TimedChannel(record)
    channel.answers.append(ChannelGoneError("HTTP 410"))
    sender = record.sender(channel=channel)
    await record.drive(sender, MINUTE)
    assert await states(record) == ["dead", "dead"]

    (later,) = await enter(record, "ADA/USDT")
    await record.drive(sender, 2 * HOUR)

    assert [one for _, one in channel.tried[1:]] == [later]
    assert channel.tried[1][0] - channel.tried[0][0] >= GONE_REST
    assert await states(record) == ["dead", "dead", "sent"]


@pytest.mark.parametrize("failing", [False, True])
async def test_no_minute_has_more_tries_than_it_may(record: Notified, failing: bool) -> None:  # noqa: FBT001
    ids = await enter(record, *(f"C{number}/USDT" for number in range(40)))
    channel = TimedChannel(record, ids if failing else ())

    await record.drive(record.sender(channel=channel, per_minute=7), 5 * MINUTE)

    moments = [at for at, _ in channel.tried]
    assert len(moments) == 35 or failing  # who fails rests besides
    for at in moments:
        assert sum(at <= other < at + MINUTE for other in moments) <= 7


async def test_channels_do_not_wait_for_each_other(record: Notified) -> None:
    await enter(record, "BTC/USDT", channel="phone")
    (mine,) = await enter(record, "BTC/USDT")

    await record.drive(record.sender(), SECOND)

    assert [one.id for one in record.channel.got] == [mine]


async def test_what_waits_for_a_channel_that_is_gone_from_the_settings_is_dead(
    record: Notified,
) -> None:
    await enter(record, "BTC/USDT", channel="phone")
    await enter(record, "BTC/USDT")

    assert await record.outbox.bury_others(["ops"], NO_CHANNEL) == 1

    rows = {row["channel"]: row for row in await record.rows()}
    assert (rows["phone"]["state"], rows["phone"]["error"]) == ("dead", NO_CHANNEL)
    assert rows["ops"]["state"] == "pending"
    counted = {(one.channel, one.state): one.count for one in await record.outbox.unsent()}
    assert counted == {("ops", "pending"): 1, ("phone", "dead"): 1}


async def test_what_was_sent_is_forgotten_when_it_is_old_and_nothing_else(
    record: Notified,
) -> None:
    await enter(record, "BTC/USDT", "ETH/USDT")
    await record.drive(record.sender(), SECOND)
    await enter(record, "ADA/USDT", channel="phone")

    assert await record.outbox.forget(record.clock.now() - DAY) == 0
    assert await record.outbox.forget(record.clock.now() + DAY) == 2

    assert await states(record) == ["pending"]
