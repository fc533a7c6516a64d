"""A subscription that goes on where another ended, and what is told instead where it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from typing import Any

import asyncpg
import orjson
import pytest

from backend.api import answers, subscribing
from backend.api.limits import Limits
from backend.api.state import ApiState
from domain.market import rfc3339
from tests.doubles import ManualClock
from tests.served_market import TICKS, ServedMarket, drop_events, serving
from tests.subscriber import Client, ending

SIGNALS = "signals.1h.simulated.BTC/USDT"
CANDLES = "candles.1h.simulated.ETH/USDT"


@pytest.fixture
async def client(market: ServedMarket) -> AsyncIterator[Client]:
    async with market.connect() as socket:
        subscriber = Client(socket)
        await subscriber.next()
        yield subscriber


async def epoch_of(market: ServedMarket, stream: str) -> str:
    sought = "SELECT epoch FROM stream_events WHERE stream = $1 LIMIT 1"
    return str(await market.pool.fetchval(sought, stream))


async def until_live(client: Client, streams: int = 1) -> list[dict[str, Any]]:
    """Frames up to the mark of the last of some streams."""
    frames: list[dict[str, Any]] = []
    while streams:
        frames.append(await client.frame())
        streams -= frames[-1]["type"] == "live"
    return frames


async def test_what_was_missed_is_told_again_and_then_what_happens(
    market: ServedMarket, client: Client
) -> None:
    epoch = await epoch_of(market, SIGNALS)
    since = {SIGNALS: {"epoch": epoch, "offset": TICKS - 3}}

    reply = await client.ask("subscribe", streams=[SIGNALS], since=since)
    *missed, live = await until_live(client)
    await market.tick(TICKS)
    update = await client.next()

    assert reply["result"]["streams"] == [
        {"stream": SIGNALS, "epoch": epoch, "offset": TICKS, "recovered": True, "replay": 3}
    ]
    assert [each["offset"] for each in missed] == [TICKS - 2, TICKS - 1, TICKS]
    assert [each["data"] for each in missed] == (await market.told(SIGNALS))[TICKS - 3 : TICKS]
    assert all(each["replay"] for each in missed)
    assert (live["epoch"], live["offset"]) == (epoch, TICKS)
    assert (update["offset"], "replay" in update) == (TICKS + 1, False)


async def test_the_chain_goes_through_what_is_told_again(
    market: ServedMarket, client: Client
) -> None:
    epoch = await epoch_of(market, SIGNALS)
    await client.ask("subscribe", streams=[SIGNALS], since={"*": {"epoch": epoch, "offset": 0}})
    frames = [str(await client.socket.recv()) for _ in range(TICKS + 1)]
    await market.tick(TICKS)
    frames.append(str(await client.socket.recv()))
    previous = "0" * 64
    for frame in frames:
        said = orjson.loads(frame)
        if said["type"] == "live":
            continue
        data = frame.partition('"data":')[2].rpartition(',"seq":')[0]
        fields = ("previous_hash", "stream", "epoch", "offset", "event", "as_of", "ts")
        text = "".join(f"{said[name]}\n" for name in fields) + data
        assert said["previous_hash"] == previous
        assert sha256(text.encode()).hexdigest() == said["hash"]
        previous = said["hash"]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ({"epoch": "another", "offset": TICKS - 1}, "epoch_changed"),
        ({"offset": TICKS + 1}, "epoch_changed"),
        ({"epoch": "ours", "offset": TICKS + 1}, "unknown_offset"),
        ({"epoch": "ours", "offset": TICKS - 11}, "too_far"),
    ],
)
async def test_where_not_all_can_be_told_nothing_of_it_is_and_the_reason_is_said(
    market_url: str, manual_clock: ManualClock, place: dict[str, Any], reason: str
) -> None:
    limits = Limits(replay_max=10)
    async with (
        serving(market_url, manual_clock, limits=limits) as market,
        market.connect() as socket,
    ):
        client, epoch = Client(socket), await epoch_of(market, SIGNALS)
        place = {**place, **({"epoch": epoch} if place.get("epoch") == "ours" else {})}
        await client.next()

        reply = await client.ask("subscribe", streams=[SIGNALS], since={SIGNALS: place})
        snapshot, live = await until_live(client)

    (told,) = reply["result"]["streams"]
    assert (told["recovered"], told["reason"], told["offset"]) == (False, reason, TICKS)
    assert (snapshot["type"], snapshot["offset"], live["offset"]) == ("snapshot", TICKS, TICKS)


async def test_events_that_are_not_in_the_log_any_more_are_not_passed_over(
    market: ServedMarket, client: Client
) -> None:
    epoch = await epoch_of(market, SIGNALS)
    await market.pool.execute(
        "DELETE FROM stream_blocks WHERE log = 'signals.1h.simulated' AND block < 10"
    )

    reply = await client.ask(
        "subscribe", streams=[SIGNALS], since={SIGNALS: {"epoch": epoch, "offset": 5}}
    )

    assert reply["result"]["streams"][0]["reason"] == "offset_expired"
    assert [each["type"] for each in await until_live(client)] == ["snapshot", "live"]


@pytest.mark.parametrize("behind", [-1, 0])
async def test_where_older_events_are_no_longer_kept_a_resume_begins_with_them_or_not_at_all(
    market: ServedMarket, client: Client, behind: int
) -> None:
    epoch = await epoch_of(market, SIGNALS)
    dropped = await drop_events(market, 10)
    moment = await market.pool.fetchval("SELECT max(published_at) FROM stream_bases")
    by_offset = {SIGNALS: {"epoch": epoch, "offset": dropped + behind}}
    by_time = {SIGNALS: {"time": rfc3339(moment + timedelta(milliseconds=1 + behind))}}

    said = await client.ask("subscribe", streams=[SIGNALS], since=by_offset)
    frames = await until_live(client)
    await client.ask("unsubscribe", streams=[SIGNALS])
    again = await client.ask("subscribe", streams=[SIGNALS], since=by_time)

    for reply in (said, again):
        told = reply["result"]["streams"][0]
        assert told["recovered"] == (behind == 0)
        assert told.get("reason") == (None if behind == 0 else "offset_expired")
    kinds = [frame["type"] for frame in frames]
    expected = ["update"] * (TICKS - dropped) if behind == 0 else ["snapshot"]
    assert kinds == [*expected, "live"]


async def test_a_hole_that_shows_during_a_replay_ends_the_connection(
    market: ServedMarket, client: Client
) -> None:
    epoch = await epoch_of(market, SIGNALS)
    await market.pool.execute(
        "DELETE FROM stream_blocks WHERE log = 'signals.1h.simulated' AND block = 20"
    )

    await client.ask("subscribe", streams=[SIGNALS], since={"*": {"epoch": epoch, "offset": 5}})

    assert await ending(client.socket) == (4511, {"code": "position_lost", "retry_ms": 1_000})


async def test_a_replay_can_begin_at_a_time(market: ServedMarket, client: Client) -> None:
    close = market.batches[TICKS - 4].as_of
    reply = await client.ask(
        "subscribe", streams=["signals.*.*.*", CANDLES], since={"time": rfc3339(close)}
    )
    frames = await until_live(client, streams=4)

    assert {each["replay"] for each in reply["result"]["streams"]} == {4}
    told = [each for each in frames if each["type"] == "update"]
    assert min(each["ts"] for each in told) >= rfc3339(close)
    assert len(told) == 4 * 4


async def test_the_head_is_a_place_to_begin_at(market: ServedMarket, client: Client) -> None:
    reply = await client.ask("subscribe", streams=[SIGNALS, "gaps"], since="head")
    frames = await until_live(client, streams=2)

    assert [each["replay"] for each in reply["result"]["streams"]] == [0, 0]
    assert {each["type"] for each in frames} == {"live"}


async def test_a_stream_without_an_event_can_be_had_from_its_first_on(
    market: ServedMarket, client: Client
) -> None:
    await market.pool.execute("TRUNCATE stream_blocks, stream_heads")

    first = await client.ask("subscribe", streams=[SIGNALS], since={"*": {"offset": 0}})
    begun = await until_live(client)
    later = await client.ask("subscribe", 2, streams=[CANDLES], since={"*": {"offset": 3}})

    (told,) = first["result"]["streams"]
    assert (told["recovered"], told["replay"], [each["offset"] for each in begun]) == (True, 0, [0])
    assert later["result"]["streams"][0]["reason"] == "unknown_offset"


async def test_a_replay_longer_than_the_queue_waits_for_the_client(
    market_url: str, manual_clock: ManualClock
) -> None:
    limits = Limits(queue_bytes=8_000)
    async with (
        serving(market_url, manual_clock, limits=limits) as market,
        market.connect(max_queue=1) as socket,
    ):
        client = Client(socket)
        await client.next()
        await client.ask("subscribe", streams=["*.*.simulated.*"], since={"*": {"offset": 0}})
        told = [each for each in await until_live(client, 9) if each["type"] == "update"]

    assert len(told) == 9 * TICKS


async def test_a_stream_that_comes_to_be_joins_the_pattern_that_takes_it_in(
    market: ServedMarket, client: Client
) -> None:
    await client.ask("subscribe", streams=["candles.*.*.*"], since="head")
    await until_live(client, 3)
    (event, *_) = await market.commit(TICKS)
    new = event._replace(stream="candles.1h.simulated.NEW/USDT", offset=1)
    other = new._replace(stream="signals.1h.simulated.NEW/USDT")

    market.state.hub.publish([other, new])
    joined, update = await client.next(), await client.next()
    held = await client.ask("list", 2)

    assert (joined["type"], joined["stream"], joined["offset"]) == ("joined", new.stream, 0)
    assert (update["stream"], update["offset"]) == (new.stream, 1)
    assert new.stream in [each["stream"] for each in held["result"]["streams"]]


async def test_who_left_a_pattern_is_not_given_what_comes_to_be(
    market: ServedMarket, client: Client
) -> None:
    await client.ask("subscribe", streams=["candles.*.*.*"], since="head")
    await until_live(client, 3)
    await client.ask("unsubscribe", 2, streams=["candles.*.*.*"])
    (event, *_) = await market.commit(TICKS)

    market.state.hub.publish([event._replace(stream="candles.1h.simulated.NEW/USDT", offset=1)])

    assert (await client.ask("ping", 3))["type"] == "pong"


async def test_a_stopping_server_sends_what_is_queued_before_it_says_goodbye(
    market: ServedMarket, client: Client
) -> None:
    await client.ask("subscribe", streams=[SIGNALS], since="head")
    await until_live(client)
    told = await market.commit(TICKS)
    market.state.hub.publish(told)

    await market.state.hub.drain()

    update, goodbye = await client.next(), await client.next()
    assert (update["offset"], goodbye["type"]) == (TICKS + 1, "shutdown")
    assert await ending(client.socket) == (4501, {"code": "draining", "retry_ms": 500})
    async with market.connect() as late:
        assert (await ending(late))[0] == 4501


async def test_who_leaves_without_what_is_queued_holds_no_stop_up(
    market_url: str, manual_clock: ManualClock
) -> None:
    limits = Limits(queue_bytes=10**8, grace_ms=10**9, write_timeout_ms=10**9)
    async with (
        serving(market_url, manual_clock, limits=limits) as market,
        market.connect() as socket,
    ):
        await socket.recv()
        (connection,) = market.state.hub.connections
        connection.push(b'{"type":"%b"' % bytes(2**25))  # more than both ends hold
        stopping = asyncio.create_task(market.state.hub.drain())
        await asyncio.sleep(0)

        socket.transport.abort()

        await asyncio.wait_for(stopping, 60)


async def test_a_client_that_lags_gets_the_newest_of_a_stream_and_the_count_of_the_rest(
    market_url: str, manual_clock: ManualClock
) -> None:
    limits = Limits(queue_bytes=200_000)
    async with (
        serving(market_url, manual_clock, limits=limits) as market,
        market.connect(max_queue=1) as socket,
    ):
        client = Client(socket)
        await client.next()
        await client.ask("subscribe", streams=[CANDLES], deliver="latest", since="head")
        await until_live(client)
        (event,) = [one for one in await market.commit(TICKS) if one.stream == CANDLES]
        text = orjson.dumps({"horizon": 4, "text": "x" * 15_000})
        count = 2_000
        for number in range(count):
            market.state.hub.publish([event._replace(payload=text, offset=event.offset + number)])
            await asyncio.sleep(0)
        told: list[int] = []
        conflated = 0
        while not told or told[-1] != event.offset + count - 1:
            update = await client.next()
            told.append(update["offset"])
            conflated += update.get("conflated", 0)

    assert told == sorted(told)
    assert conflated == count - len(told) > 0


async def test_pages_of_the_log_in_both_directions(market: ServedMarket, client: Client) -> None:
    told = await market.told(SIGNALS)

    forward = await client.ask("history", stream=SIGNALS, limit=20)
    rest = await client.ask("history", stream=SIGNALS, since=forward["result"]["next"], limit=20)
    backward = await client.ask("history", stream=SIGNALS, order="desc", limit=7)
    before = await client.ask(
        "history", stream=SIGNALS, order="desc", since=backward["result"]["next"], limit=100
    )
    span = {
        "from": rfc3339(market.batches[4].as_of),
        "to": rfc3339(market.batches[6].as_of + timedelta(seconds=1)),
    }
    between = await client.ask("history", stream=SIGNALS, **span)

    assert [one["data"] for page in (forward, rest) for one in page["result"]["data"]] == told
    assert [one["data"] for page in (backward, before) for one in page["result"]["data"]] == told[
        ::-1
    ]
    assert (rest["result"]["next"], before["result"]["next"]) == (None, None)
    assert [one["offset"] for one in between["result"]["data"]] == [5, 6, 7]


async def test_history_of_what_is_not_there_is_an_error(client: Client) -> None:
    unknown = await client.ask("history", stream="signals.1h.simulated.BTC/USD")
    beyond = await client.ask("history", stream=SIGNALS, since={"offset": TICKS + 2})
    anew = await client.ask("history", stream=SIGNALS, since={"offset": 2, "epoch": "another"})

    assert unknown["error"]["code"] == "unknown_stream"
    assert unknown["error"]["suggestions"][0] == SIGNALS
    assert (beyond["error"]["code"], anew["error"]["code"]) == ("unknown_offset", "epoch_changed")


class Meanwhile:
    """Commits a tick at one border of the reads of a subscription, and another at the next.

    The first is published at once, the second a while later.
    """

    def __init__(self, market: ServedMarket, moment: int) -> None:
        self.number = TICKS
        self._market = market
        self._moment = moment
        self._borders = 0

    async def at_border(self) -> None:
        if self._borders in (self._moment, self._moment + 1):
            events, publish = await self._market.commit(self.number), self._market.state.hub.publish
            self.number += 1
            if self._borders == self._moment:
                publish(events)
            else:
                asyncio.get_running_loop().call_later(0.05, publish, events)
        self._borders += 1

    @asynccontextmanager
    async def reading(self, state: ApiState) -> AsyncIterator[asyncpg.Connection]:
        await self.at_border()
        async with answers.reading(state) as connection:
            yield connection
        await self.at_border()


@pytest.mark.parametrize("moment", range(8))
async def test_nothing_falls_between_the_log_and_the_live_edge(
    market: ServedMarket, client: Client, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile = Meanwhile(market, moment)
    monkeypatch.setattr(subscribing, "reading", meanwhile.reading)

    await client.ask("subscribe", streams=[SIGNALS, CANDLES], since={SIGNALS: {"offset": 0}})
    frames = await until_live(client, 2)
    while meanwhile.number < TICKS + 2:  # the borders lie behind the last read
        await meanwhile.at_border()
    while not all(offsets_of(frames, each)[-1:] == [TICKS + 2] for each in (SIGNALS, CANDLES)):
        frames.append(await client.frame())

    assert offsets_of(frames, SIGNALS) == list(range(1, TICKS + 3))
    candles = offsets_of(frames, CANDLES)
    assert candles == list(range(candles[0], TICKS + 3))


def offsets_of(frames: list[dict[str, Any]], stream: str) -> list[int]:
    told = [one for one in frames if one["type"] in ("update", "snapshot")]
    return [one["offset"] for one in told if one["stream"] == stream]


async def test_another_event_in_the_place_of_the_last_is_told_apart_by_its_hash(
    market: ServedMarket, client: Client
) -> None:
    epoch = await epoch_of(market, SIGNALS)
    said = "SELECT encode(hash, 'hex') FROM stream_events WHERE stream = $1 AND \"offset\" = 5"
    known = await market.pool.fetchval(said, SIGNALS)
    place = {"epoch": epoch, "offset": 5}

    same = await client.ask("subscribe", streams=[SIGNALS], since={"*": {**place, "hash": known}})
    await until_live(client)
    await client.ask("unsubscribe", streams=[SIGNALS])
    other = await client.ask(
        "subscribe", streams=[SIGNALS], since={"*": {**place, "hash": "0" * 64}}
    )

    assert same["result"]["streams"][0]["recovered"]
    (refused,) = other["result"]["streams"]
    assert (refused["recovered"], refused["reason"]) == (False, "epoch_changed")
