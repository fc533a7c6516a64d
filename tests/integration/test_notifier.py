"""What the record has new is entered once, with how far it was read, whoever starts and when."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import orjson
import pytest

from backend import damaged
from backend.notify.notifier import PAGE
from backend.store.gaps import GapLedger
from backend.store.instruments import Instruments
from backend.store.recorder import Recorder
from collectors.gaps import Cause, Gap, GapState
from domain.events import ModelEvent
from domain.market import Timeframe, to_ms
from domain.sources import UNASKED
from services.notifications.rules import Rule
from tests.doubles import START
from tests.integration.notified import ALL, MINUTE, Notified, notified
from tests.integration.store_samples import INSTRUMENTS, at

HOUR = timedelta(hours=1)
OPENED = [("signal.opened", str(one)) for one in INSTRUMENTS]
STALE, FRESH = ("predictions.stale", "binance 1h"), ("predictions.fresh", "binance 1h")


@pytest.fixture
async def record(database_url: str) -> AsyncIterator[Notified]:
    async with notified(database_url) as found:
        yield found


async def test_what_happened_before_is_told_to_nobody_and_what_happens_then_is(
    record: Notified,
) -> None:
    await record.signals(1)
    notifier = await record.notifier()
    await notifier.look()
    assert await record.entered() == []

    await record.signals(2)
    await notifier.look()

    assert await record.entered() == OPENED
    (row, *_) = await record.rows()
    body = orjson.loads(row["body"])
    assert (row["state"], row["attempts"], row["channel"]) == ("pending", 0, "ops")
    assert (body["id"], body["market"], body["offset"]) == (row["id"], "live", 2)
    assert row["at"] == at(2)


async def test_a_log_that_did_not_exist_is_read_from_its_first_event(record: Notified) -> None:
    notifier = await record.notifier()

    await record.signals(1)
    await notifier.look()

    assert await record.entered() == OPENED


async def test_whoever_starts_again_goes_on_where_it_was_and_enters_nothing_twice(
    record: Notified,
) -> None:
    first = await record.notifier()
    await record.signals(1)
    await first.look()
    await record.signals(2)  # and then it is killed

    second = await record.notifier()
    await second.look()
    await second.look()
    await first.look()  # it was not dead

    assert await record.entered() == OPENED * 2
    assert len({row["id"] for row in await record.rows()}) == 6


async def test_what_a_lost_machine_takes_from_the_outbox_is_entered_again_under_its_ids(
    record: Notified,
) -> None:
    await record.notifier()
    kept = dict(await record.pool.fetch("SELECT log, position FROM notification_cursors"))
    await record.signals(1)
    await (await record.notifier()).look()
    before = await record.rows()
    # Commits that did not wait for the disk are gone together.
    await record.pool.execute("DELETE FROM notifications")
    await record.pool.execute("DELETE FROM notification_cursors")
    await record.pool.executemany(
        "INSERT INTO notification_cursors VALUES ($1, $2)", [*kept.items()]
    )

    await (await record.notifier()).look()

    after = await record.rows()
    assert [(row["id"], row["body"]) for row in after] == [
        (row["id"], row["body"]) for row in before
    ]


async def test_rules_that_were_switched_off_begin_anew(record: Notified) -> None:
    await record.notifier()
    await record.signals(1)
    await record.notifier(replace(ALL, events=("source.down",)))  # signals are not read any more

    again = await record.notifier()
    await again.look()
    assert await record.entered() == []

    await record.signals(2)
    await again.look()
    assert await record.entered() == OPENED


async def test_more_than_a_page_is_read_whole_and_in_order(record: Notified) -> None:
    notifier = await record.notifier(replace(ALL, instruments=("*:BTC/USDT",)))
    for tick in range(1, PAGE + 4):
        await record.signals(tick)

    await notifier.look()

    assert [row["at"] for row in await record.rows()] == [at(one) for one in range(1, PAGE + 4)]


async def test_each_channel_gets_its_own_and_flat_signals_are_told_to_nobody(
    record: Notified,
) -> None:
    notifier = await record.notifier(
        Rule(events=("signal.opened",), channels=("ops", "phone"), minimum_strength=0.3),
        Rule(events=("signal.opened",), channels=("phone",), instruments=("*:BTC/USDT",)),
    )
    await record.signals(1)
    await record.signals(2, strength=0.4)
    await record.signals(3, side="flat", status="flat", gate="cost", strength=0.9)

    await notifier.look()

    told = [(row["channel"], row["at"]) for row in await record.rows()]
    assert sorted(told) == [("ops", at(2))] * 3 + [("phone", at(1))] + [("phone", at(2))] * 3


async def test_gaps_and_promotions_are_told(record: Notified) -> None:
    notifier = await record.notifier()
    recorder = Recorder(record.pool, Instruments(record.pool))
    promoted = ModelEvent(
        exchange="binance", timeframe=Timeframe.H1, horizon=4, at=START, kind="promoted",
        target="direction", model="lightgbm.direction", version="2", detail="it beats the prior",
    )  # fmt: skip
    missing = Gap(
        instrument=INSTRUMENTS[1],
        timeframe=Timeframe.H1,
        from_ms=to_ms(at(1)),
        to_ms=to_ms(at(2)),
        cause=Cause.SILENCE,
        state=GapState.FOUND,
    )
    await recorder.commit_learning([promoted], published_at=START)
    await GapLedger(record.pool, Instruments(record.pool)).record([missing], at=START)

    await notifier.look()

    assert sorted(await record.entered()) == [
        ("gap.opened", "binance:BTC/USDT"),
        ("model.promoted", "binance 1h lightgbm.direction"),
    ]


async def test_an_event_that_was_altered_is_passed_over_and_named(
    record: Notified, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = await record.notifier()
    await record.signals(1)
    await record.signals(2)
    await record.pool.execute("UPDATE stream_blocks SET payloads = 'gone' WHERE block = 1")

    with caplog.at_level(logging.WARNING):
        await notifier.look()

    assert [row["at"] for row in await record.rows()] == [at(2)] * 3
    named = [one.message for one in caplog.records if one.name == "backend.damaged"]
    fault = "it was edited; no channel is told of it"
    streams = [f"signals.1h.{one.exchange}.{one.symbol}" for one in INSTRUMENTS]
    assert sorted(named) == [f"event 1 of {stream}: {fault}" for stream in streams]
    assert len(damaged.troubles()) == 3


async def test_one_outage_of_a_source_is_one_notification_whatever_starts_meanwhile(
    record: Notified,
) -> None:
    notifier = await record.notifier()
    for state, reason in (
        ("down", UNASKED), ("ok", ""), ("down", "HTTP 500"), ("down", "HTTP 502"),
        ("off", "the system is stopped"), ("down", UNASKED),
    ):  # fmt: skip
        await record.source(state, reason)
        await notifier.look()
        record.clock.advance(MINUTE)

    again = await record.notifier()
    await record.source("down", "HTTP 500")
    await again.look()
    record.clock.advance(MINUTE)
    await record.source("ok")
    await again.look()

    assert await record.entered() == [("source.down", "news"), ("source.ok", "news")]


async def test_an_outage_that_began_and_ended_while_nobody_looked_is_told_whole(
    record: Notified,
) -> None:
    notifier = await record.notifier()
    await record.source("down", "HTTP 500")
    await record.source("stale", "nothing new", source="index")
    record.clock.advance(MINUTE)
    await record.source("ok")

    await notifier.look()

    assert await record.entered() == [
        ("source.stale", "index"),
        ("source.down", "news"),
        ("source.ok", "news"),
    ]


async def test_predictions_that_grow_stale_are_told_once_and_once_when_they_are_fresh(
    record: Notified,
) -> None:
    record.predicted()
    notifier = await record.notifier()
    await notifier.look()
    assert await record.entered() == []

    record.clock.advance(HOUR + MINUTE)
    await notifier.look()
    record.clock.advance(MINUTE)
    again = await record.notifier()  # a kill within the outage
    await again.look()
    assert await record.entered() == [STALE]
    body = orjson.loads((await record.rows())[0]["body"])
    assert [one["symbol"] for one in body["data"]["instruments"]] == [
        "ADA/USDT",
        "BTC/USDT",
        "ETH/USDT",
    ]

    record.predicted(0, 1)
    await again.look()
    record.predicted(2)
    await again.look()
    await again.look()

    assert await record.entered() == [STALE, FRESH, FRESH]
    record.clock.advance(HOUR + MINUTE)
    await again.look()
    assert await record.entered() == [STALE, FRESH, FRESH, STALE]


async def test_what_is_not_watched_for_a_while_is_neither_stale_nor_fresh(
    record: Notified,
) -> None:
    record.predicted()
    notifier = await record.notifier()
    record.clock.advance(HOUR + MINUTE)
    await notifier.look()

    record.status.instruments = INSTRUMENTS[1:]  # an exchange that is late at the next start
    await notifier.look()
    assert await record.entered() == [STALE]

    record.predicted()
    await notifier.look()
    assert await record.entered() == [STALE, FRESH]
    data = orjson.loads((await record.rows())[1]["body"])["data"]
    assert len(data["instruments"]) == 3


async def test_while_it_starts_nothing_is_stale(record: Notified) -> None:
    record.predicted(0, 1)  # one is not predicted yet
    notifier = await record.notifier()
    record.clock.advance(2 * HOUR)

    await notifier.look()

    assert await record.entered() == []
