"""Feeds of a real server: what they tell, where they begin, and what ends them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
import pytest

from alphapulse_client import (
    Client,
    ClientError,
    Feed,
    HistoryLostError,
    MemoryPositions,
    Position,
    ProblemError,
    Snapshot,
    StoppedError,
    Update,
)
from backend.api.limits import Limits
from backend.store.stream_log import Drafts, StreamLog
from domain.keys import ApiKey
from tests.doubles import START, ManualClock
from tests.keyed import keyed
from tests.killed_bot import Moment, run_and_kill, worked_on
from tests.served_market import MEMBERS, TICKS, ServedMarket, serving

SIGNALS = "signals.1h.simulated.BTC/USDT"
NEW = "signals.1h.simulated.NEW/USDT"


async def told(feed: Feed[Any], count: int) -> list[Any]:
    """The next few of a feed that ends with them."""
    async with aclosing(feed):
        return [await anext(feed) for _ in range(count)]


async def test_rows_have_the_fields_of_the_interface(market: ServedMarket) -> None:
    async with Client(market.url) as client:
        (signal,) = await told(client.signals("1h", "ETH/USDT", since="start"), 1)
        (said,) = await told(client.predictions("1h", "ETH/USDT", since="start"), 1)
        (candle,) = await told(client.candles("1h", "ETH/USDT", since="start"), 1)

    close = market.batches[0].as_of
    assert (signal.side, signal.as_of, signal.update.event) == ("long", close, "opened")
    assert (signal.votes, signal.closed_at) == ({"logistic.direction": 0.4}, None)
    assert (said.made_at, said.degraded) == (close + timedelta(milliseconds=120), [])
    assert (candle.close_time, candle.exchange) == (close, "simulated")
    assert said.p_up == pytest.approx(0.4)


async def test_a_feed_goes_from_the_past_into_the_present(market: ServedMarket) -> None:
    async with Client(market.url) as client:
        feed = client.updates(SIGNALS, since=market.batches[TICKS - 2].as_of)
        async with aclosing(feed):
            past = [await anext(feed), await anext(feed)]
            waiting = asyncio.ensure_future(anext(feed))
            await market.tick(TICKS)
            now = await waiting

    assert [each.offset for each in (*past, now)] == [TICKS - 1, TICKS, TICKS + 1]
    assert [each.replay for each in (*past, now)] == [True, True, False]
    assert now.payload == orjson.dumps((await market.told(SIGNALS))[-1]).decode()


class Saved(MemoryPositions):
    """Tells when something was saved."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()

    async def save(self, moved: Mapping[str, Position]) -> None:
        await super().save(moved)
        self.event.set()


async def test_a_feed_begins_at_the_head_unless_told_otherwise(market: ServedMarket) -> None:
    positions = Saved()
    async with (
        Client(market.url) as client,
        aclosing(client.signals("1h", positions=positions)) as feed,
    ):
        waiting = asyncio.ensure_future(anext(feed))
        await positions.event.wait()
        await market.tick(TICKS)
        first = await waiting

    assert first.update.offset == TICKS + 1


async def test_heartbeats_prove_that_all_was_told(market: ServedMarket) -> None:
    positions = Saved()
    async with (
        Client(market.url) as client,
        aclosing(client.updates(SIGNALS, positions=positions)) as feed,
    ):
        waiting = asyncio.ensure_future(anext(feed))
        await positions.event.wait()
        await market.tick(TICKS)
        await waiting
        assert feed.complete_through() is None

        (connection,) = market.state.hub.connections
        connection.heartbeat("2024-01-01T00:00:01.000Z", full=True)
        await market.tick(TICKS + 1)
        await anext(feed)

        assert feed.complete_through() == START + timedelta(seconds=1)
        assert feed.heads[SIGNALS].offset == TICKS + 2


@pytest.mark.parametrize("begin", ["start", "time"])
async def test_what_is_too_far_for_the_socket_is_read_by_pages(
    market_url: str, manual_clock: ManualClock, begin: str
) -> None:
    limits = Limits(replay_max=10)
    async with serving(market_url, manual_clock, limits=limits) as market:
        since: Any = market.batches[4].as_of if begin == "time" else begin
        async with Client(market.url) as client:
            updates = await told(client.updates("signals.*.*.*", since=since), 3 * 25)

    for stream, events in groupby(sorted(updates, key=place), lambda each: each.stream):
        first = 1 if begin == "start" else 5
        offsets = [each.offset for each in events]
        assert offsets == list(range(first, first + len(offsets))), stream


def place(update: Update) -> tuple[str, int]:
    return update.stream, update.offset


async def test_what_the_log_has_no_more_is_said_and_not_skipped(market: ServedMarket) -> None:
    await market.pool.execute(
        "DELETE FROM stream_blocks WHERE log = 'signals.1h.simulated' AND block < 10"
    )
    epoch = await market.pool.fetchval("SELECT epoch FROM stream_heads LIMIT 1")
    positions = MemoryPositions()
    await positions.save({SIGNALS: Position(epoch, 5)})
    async with Client(market.url) as client:
        with pytest.raises(HistoryLostError, match="gone: "):
            await told(client.updates(SIGNALS, positions=positions), 1)
        feed = client.updates(SIGNALS, positions=positions, on_gap="snapshot")
        async with aclosing(feed):
            snapshot = await anext(feed)
            await market.tick(TICKS)
            update = await anext(feed)

    assert isinstance(snapshot, Snapshot)
    assert (snapshot.offset, len(snapshot.data)) == (TICKS, 1)
    assert (type(update), update.offset) == (Update, TICKS + 1)


async def append(market: ServedMarket, count: int) -> None:
    """Events of a stream that there was not."""
    log = StreamLog()
    async with market.pool.acquire() as connection:
        await log.open(connection, [[NEW]])
        extension = log.extend(START)
        for number in range(count):
            extension.add(Drafts("opened", START, [NEW], [orjson.dumps({"number": number})]))
        async with connection.transaction():
            await extension.write(connection)


async def test_a_stream_that_came_to_be_meanwhile_is_told_from_its_first_event(
    market: ServedMarket,
) -> None:
    positions = MemoryPositions()
    async with Client(market.url) as client:
        feed = client.updates(
            "signals.1h.*.*", since=market.batches[TICKS - 2].as_of, positions=positions
        )
        await told(feed, 2)
        await append(market, 2)

        later = await told(client.updates("signals.1h.*.*", positions=positions), 2 * 3 - 1 + 2)

    new = [each for each in later if each.stream == NEW]
    assert [(each.offset, dict(each.data)) for each in new] == [
        (1, {"number": 0}),
        (2, {"number": 1}),
    ]


async def test_a_client_that_lags_is_told_the_newest_where_that_is_enough(
    market_url: str, manual_clock: ManualClock
) -> None:
    count = 300
    padding = orjson.dumps({"horizon": 4, "text": "x" * 15_000})
    positions = Saved()
    async with (
        serving(market_url, manual_clock, limits=Limits(queue_bytes=200_000)) as market,
        Client(market.url) as client,
    ):
        feed = client.updates(SIGNALS, deliver="latest", positions=positions)
        async with aclosing(feed), market.pool.acquire() as connection:
            waiting = asyncio.ensure_future(anext(feed))
            await positions.event.wait()
            log = StreamLog()
            await log.open(connection, [[SIGNALS]])
            extension = log.extend(START)
            for _ in range(count):
                extension.add(Drafts("opened", START, [SIGNALS], [padding]))
            async with connection.transaction():
                await extension.write(connection)
            market.state.hub.publish(extension.events)
            told = [await waiting]
            while told[-1].offset < TICKS + count:
                told.append(await anext(feed))

    assert len(told) < count
    assert len(told) + sum(each.conflated for each in told) == count
    assert {each.digest == each.hash for each in told} == {True}


async def test_a_name_that_is_none_is_answered_with_the_nearest(market: ServedMarket) -> None:
    async with Client(market.url) as client:
        with pytest.raises(ProblemError, match=f"did you mean {SIGNALS}") as problem:
            await anext(client.signals("1h", "BTC/USD", exchange="simulated"))
    assert problem.value.code == "unknown_stream"


async def test_a_server_that_wants_no_more_is_not_asked_again(
    market_url: str, manual_clock: ManualClock
) -> None:
    limits = Limits(connections=0)
    async with (
        serving(market_url, manual_clock, limits=limits) as market,
        Client(market.url) as client,
    ):
        with pytest.raises(StoppedError) as stopped:
            await anext(client.signals("1h"))
    assert (stopped.value.code, stopped.value.reason) == (4409, "too_many_connections")


async def test_a_key_is_shown_to_the_server_and_to_nobody_else(
    market_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with keyed(market_url) as doors:
        good, bad = await doors.key(), ApiKey.fresh()
        async with Client(doors.market.url, good.spelt()) as client:
            await told(client.signals("1h", since="start"), 1)
            await client.verify(SIGNALS)
            shown = [repr(client), repr(vars(client))]
        async with Client(doors.market.url, bad.spelt()) as client:
            errors = [await failure(anext(client.signals("1h")))]
            errors.append(await failure(client.verify(SIGNALS)))

    assert isinstance(errors[0], StoppedError)
    assert (errors[0].code, errors[0].reason) == (4401, "unauthorized")
    assert isinstance(errors[1], ProblemError)
    assert (errors[1].status, errors[1].code) == (401, "unauthorized")
    told_anybody = "\n".join([caplog.text, *shown, *(f"{each!r} {each}" for each in errors)])
    for key in (good, bad):
        assert key.spelt().rpartition("_")[2] not in told_anybody


async def failure(work: Any) -> ClientError:
    with pytest.raises(ClientError) as raised:
        await work
    return raised.value


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8000", "ws://127.0.0.1", "http://", "http://me:secret@127.0.0.1", "http://h?key=1"],
)
def test_an_address_is_one_and_holds_no_secret(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url (must|may)") as refused:
        Client(url)
    assert "secret" not in str(refused.value)


async def test_a_bot_that_is_killed_goes_on_where_it_was(
    market: ServedMarket, tmp_path: Path
) -> None:
    """What it was working on when it was killed is told again, and nothing else."""
    plan: list[tuple[int, Moment]] = [(17, "after"), (30, "before"), (20, "after")]
    ends = [
        await asyncio.to_thread(run_and_kill, market.url, tmp_path, events, moment)
        for events, moment in plan
    ]

    work = worked_on(tmp_path)
    assert ends == [-9] * len(plan)
    again = [number for number, one in enumerate(work) if one in work[:number]]
    assert again == [17]  # after the first kill; the second came before the work
    once = [one for number, one in enumerate(work) if number not in again]
    for member in MEMBERS:
        offsets = [offset for stream, offset in once if stream.endswith(member.symbol)]
        assert offsets == list(range(1, len(offsets) + 1))
