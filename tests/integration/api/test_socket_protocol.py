"""The socket from a client's side: frames, acknowledgements, offsets, errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import orjson
import pytest
import websockets

from backend.api.limits import Limits
from tests.doubles import ManualClock
from tests.served_market import TICKS, ServedMarket, serving
from tests.subscriber import Client, ending


@pytest.fixture
async def client(market: ServedMarket) -> AsyncIterator[Client]:
    async with market.connect() as socket:
        subscriber = Client(socket)
        welcome = await subscriber.next()
        assert (welcome["type"], welcome["api"], welcome["market"]) == (
            "welcome",
            "alphapulse.v1.json",
            "simulated",
        )
        yield subscriber


BTC_SIGNALS = "signals.1h.simulated.BTC/USDT"


async def test_a_stream_begins_with_its_newest_row_and_goes_on_from_there(
    market: ServedMarket, client: Client
) -> None:
    reply = await client.ask("subscribe", 7, streams=[BTC_SIGNALS])
    snapshot = await client.next()
    told = await market.tick(TICKS)
    update = await client.next()

    (event,) = [each for each in told if each.stream == BTC_SIGNALS]
    assert (reply["id"], reply["ok"]) == (7, True)
    assert reply["result"]["streams"] == [
        {"stream": BTC_SIGNALS, "epoch": event.epoch, "offset": TICKS}
    ]
    assert (snapshot["type"], snapshot["offset"]) == ("snapshot", TICKS)
    assert snapshot["data"] == (await market.told(BTC_SIGNALS))[TICKS - 1 : TICKS]
    assert (update["type"], update["offset"], update["event"]) == ("update", TICKS + 1, "opened")
    assert update["data"] == orjson.loads(event.payload)


async def test_a_client_can_recompute_the_chain(market: ServedMarket, client: Client) -> None:
    await client.ask("subscribe", streams=[BTC_SIGNALS], snapshot=False)
    await market.tick(TICKS)
    await market.tick(TICKS + 1)
    frames = [await client.socket.recv() for _ in range(3)][1:]  # behind the mark

    hashes = []
    for frame in frames:
        said = orjson.loads(frame)
        data = str(frame).partition('"data":')[2].rpartition(',"seq":')[0]
        fields = ("previous_hash", "stream", "epoch", "offset", "event", "as_of", "ts")
        text = "".join(f"{said[name]}\n" for name in fields) + data
        assert sha256(text.encode()).hexdigest() == said["hash"]
        hashes.append((said["previous_hash"], said["hash"]))
    assert hashes[1][0] == hashes[0][1]


async def test_a_wildcard_is_expanded_over_the_streams_that_exist(client: Client) -> None:
    reply = await client.ask(
        "subscribe", streams=["*.1h.simulated.ETH/USDT", "predictions.*.*.*"], snapshot=False
    )

    assert [each["stream"] for each in reply["result"]["streams"]] == [
        "candles.1h.simulated.ETH/USDT",
        "predictions.1h.simulated.ETH/USDT",
        "signals.1h.simulated.ETH/USDT",
        "predictions.1h.simulated.BTC/USDT",
        "predictions.1h.simulated.SOL/USDT",
    ]


async def test_a_stream_that_is_watched_but_has_no_event_yet_can_be_had(
    market: ServedMarket, client: Client
) -> None:
    await market.pool.execute("TRUNCATE stream_blocks, stream_heads")

    reply = await client.ask("subscribe", streams=["candles.1h.simulated.*"])
    snapshot = await client.next()

    assert [each["offset"] for each in reply["result"]["streams"]] == [0, 0, 0]
    assert (snapshot["epoch"], snapshot["data"]) == (None, [])


async def test_a_table_that_is_not_there_is_an_error_that_no_other_try_mends(
    market: ServedMarket, client: Client
) -> None:
    await market.pool.execute("DROP TABLE stream_heads CASCADE")
    reply = await client.ask("subscribe", streams=[BTC_SIGNALS])

    assert (reply["ok"], reply["error"]["code"]) == (False, "incomplete")
    assert reply["error"]["temporary"] is False
    assert (await client.ask("ping"))["type"] == "pong"


async def test_what_is_known_is_granted_and_the_rest_is_refused_with_suggestions(
    client: Client,
) -> None:
    reply = await client.ask("subscribe", streams=[BTC_SIGNALS, "signals.1h.simulated.BTC/USD"])

    (rejected,) = reply["result"]["rejected"]
    assert [each["stream"] for each in reply["result"]["streams"]] == [BTC_SIGNALS]
    assert rejected["stream"] == "signals.1h.simulated.BTC/USD"
    assert (rejected["error"]["code"], rejected["error"]["status"]) == ("unknown_stream", 404)
    assert rejected["error"]["suggestions"][0] == BTC_SIGNALS


async def test_a_subscription_of_which_nothing_exists_is_an_error_that_names_each_stream(
    market: ServedMarket, client: Client
) -> None:
    wanted = ["signals.1h.simulated.BTC/USD", "candles.4h.*.*"]

    answer = await client.ask("subscribe", 8, streams=wanted)
    alone = await client.ask("subscribe", 9, streams=wanted[:1])
    held = await client.ask("list")

    assert (answer["type"], answer["id"], answer["method"]) == ("error", 8, "subscribe")
    assert (answer["ok"], answer["error"]["code"], answer["error"]["status"]) == (
        False,
        "unknown_stream",
        404,
    )
    assert [each["stream"] for each in answer["error"]["rejected"]] == wanted
    assert answer["error"]["rejected"][0]["error"]["suggestions"][0] == BTC_SIGNALS
    assert "signals.1h.simulated.BTC/USD" in alone["error"]["detail"]
    assert held["result"]["streams"] == []


async def test_thousands_of_unknown_streams_are_each_named_and_answered_briefly(
    client: Client,
) -> None:
    wanted = [f"candles.1h.simulated.S{number}/USDT" for number in range(1_500)]
    wanted += [f"*.1h.simulated.T{number}/USDT" for number in range(100)]

    asked = orjson.dumps({"method": "subscribe", "params": {"streams": wanted}})
    await client.socket.send(asked.decode())
    answer = await client.next()

    rejected = answer["error"]["rejected"]
    assert [each["stream"] for each in rejected] == wanted
    assert [place for place, each in enumerate(rejected) if "suggestions" in each["error"]] == [
        0, 1, 2,
    ]  # fmt: skip
    assert len(orjson.dumps(answer)) < 6 * len(asked)


async def test_a_request_with_thousands_of_mistakes_is_told_the_first(client: Client) -> None:
    answer = await client.ask("subscribe", streams=[0] * 5_000)
    unknown = await client.ask("x" * 60_000)

    assert len(answer["error"]["errors"]) == 10
    assert len(unknown["error"]["detail"]) < 200


async def test_every_frame_counts_and_every_offset_follows(
    market: ServedMarket, client: Client
) -> None:
    reply = await client.ask("subscribe", streams=["*"], snapshot=False)
    offsets = {each["stream"]: each["offset"] for each in reply["result"]["streams"]}

    for number in range(TICKS, TICKS + 5):
        await market.tick(number)
    del offsets["gaps"], offsets["models"]  # nothing is missing, nothing is fitted
    frames = [await client.next() for _ in range(5 * len(offsets))]

    for frame in frames:
        offsets[frame["stream"]] += 1
        assert frame["offset"] == offsets[frame["stream"]]
    assert set(offsets.values()) == {TICKS + 5}


async def test_what_is_committed_but_not_yet_told_comes_once(
    market: ServedMarket, client: Client
) -> None:
    told = await market.commit(TICKS)

    reply = await client.ask("subscribe", streams=[BTC_SIGNALS])
    await client.next()
    market.state.hub.publish(told)
    await market.tick(TICKS + 1)
    update = await client.next()

    assert reply["result"]["streams"][0]["offset"] == TICKS + 1
    assert update["offset"] == TICKS + 2


async def test_subscribing_again_changes_nothing(market: ServedMarket, client: Client) -> None:
    await client.ask("subscribe", streams=[BTC_SIGNALS], snapshot=False)
    again = await client.ask("subscribe", 2, streams=[BTC_SIGNALS])
    await market.tick(TICKS)
    update = await client.next()

    assert again["result"]["streams"][0]["offset"] == TICKS
    assert (update["type"], update["offset"]) == ("update", TICKS + 1)


async def test_list_and_unsubscribe(market: ServedMarket, client: Client) -> None:
    await client.ask("subscribe", streams=["candles.*.*.*", BTC_SIGNALS], snapshot=False)

    gone = await client.ask("unsubscribe", streams=["candles.*.*.*", "candles.4h.x.Y"])
    held = await client.ask("LIST_SUBSCRIPTIONS")
    await market.tick(TICKS)
    update = await client.next()
    nothing = await client.ask("unsubscribe", all=True)

    assert len(gone["result"]["streams"]) == 3
    assert [each["stream"] for each in gone["result"]["rejected"]] == ["candles.4h.x.Y"]
    assert [each["stream"] for each in held["result"]["streams"]] == [BTC_SIGNALS]
    assert update["stream"] == BTC_SIGNALS
    assert len(nothing["result"]["streams"]) == 1


async def test_ping_brings_back_its_data(client: Client) -> None:
    pong = await client.ask("ping", "a", data={"sent": 1})

    assert (pong["type"], pong["id"], pong["data"]) == ("pong", "a", {"sent": 1})


BAD_FRAMES: list[tuple[str | bytes, str]] = [
    ("{", "bad_json"),
    ("[1]", "bad_json"),
    (b"\x00\x01", "bad_json"),
    ('{"id": 1}', "unknown_method"),
    ('{"id": 1, "method": "subscibe"}', "unknown_method"),
    ('{"id": 1, "method": ["list"]}', "unknown_method"),
    ('{"id": 1, "method": "subscribe"}', "bad_request"),
    ('{"id": 1, "method": "subscribe", "params": {"streams": []}}', "bad_request"),
    ('{"id": 1, "method": "subscribe", "params": {"streams": "x"}}', "bad_request"),
    ('{"id": {}, "method": "list"}', "bad_request"),
    ('{"method": "ping", "pad": "' + "x" * 70_000 + '"}', "frame_too_large"),
]


async def test_a_bad_frame_gets_an_error_and_the_connection_stays(client: Client) -> None:
    for frame, code in BAD_FRAMES:
        await client.socket.send(frame)
        error = await client.next()
        pong = await client.ask("ping")

        assert (error["type"], error["ok"], error["error"]["code"]) == ("error", False, code)
        assert set(error["error"]) >= {"type", "title", "status", "detail", "temporary", "errors"}
        assert pong["type"] == "pong"


async def test_a_malformed_request_names_the_place(client: Client) -> None:
    error = await client.ask("subscribe", streams=["a", 5])

    assert error["error"]["errors"][0]["pointer"] == "/params/streams/1"
    assert (error["id"], error["method"]) == (1, "subscribe")


async def test_too_many_requests_are_refused_for_a_while(
    market_url: str, manual_clock: ManualClock
) -> None:
    limits = Limits(requests_per_s=1, burst=5)  # 20 seconds of a loaded machine may pass
    async with (
        serving(market_url, manual_clock, limits=limits) as market,
        market.connect() as socket,
    ):
        client = Client(socket)
        await client.next()
        for number in range(25):
            await socket.send(orjson.dumps({"id": number, "method": "list"}).decode())
        answers = [await client.next() for _ in range(25)]

    refused = [each for each in answers if each["type"] == "error"]
    assert {each["error"]["code"] for each in refused} == {"rate_limited"}
    assert all(each["error"]["retry_after_ms"] > 0 for each in refused)
    assert 1 <= len(refused) <= 20


async def test_before_the_store_is_there_a_subscription_is_asked_to_wait(
    market: ServedMarket, client: Client
) -> None:
    market.state.reader = None

    error = await client.ask("subscribe", streams=["*"])

    assert (error["error"]["code"], error["error"]["temporary"]) == ("starting", True)


async def test_heartbeats_prove_that_a_quiet_stream_is_complete(
    market_url: str, manual_clock: ManualClock
) -> None:
    async with (
        serving(market_url, manual_clock, limits=Limits(heartbeat_ms=50)) as market,
        market.connect() as socket,
    ):
        client = Client(socket)
        await client.next()
        await socket.send(
            '{"method":"subscribe","params":{"streams":["signals.*.*.*"],"snapshot":false}}'
        )
        await market.tick(TICKS)
        heads: dict[str, Any] = {}
        while heads.get(BTC_SIGNALS, [None, 0])[1] != TICKS + 1:
            heads.update((await client.next()).get("heads", {}))

        assert {head[1] for head in heads.values()} == {TICKS + 1}


async def test_beyond_the_connections_that_a_client_is_told_of_the_next_is_refused(
    market_url: str, manual_clock: ManualClock
) -> None:
    async with (
        serving(market_url, manual_clock, limits=Limits(connections=1)) as market,
        market.connect() as first,
        market.connect() as second,
    ):
        welcome = await Client(first).next()

        assert welcome["limits"]["connections"] == 1
        assert await ending(second) == (4409, {"code": "too_many_connections", "retry_ms": 5_000})


async def test_the_sub_protocol_is_agreed_on_or_refused(market: ServedMarket) -> None:
    async with market.connect(subprotocols=["alphapulse.v1.json"]) as socket:
        assert socket.subprotocol == "alphapulse.v1.json"
    async with market.connect(subprotocols=["other.v9"]) as socket:
        code, _ = await ending(socket)

    assert code == 4400


async def test_a_page_of_another_site_is_refused(market: ServedMarket) -> None:
    with pytest.raises(websockets.InvalidStatus, match="403"):
        async with market.connect(origin="http://evil.example"):
            pass
    async with market.connect(origin=market.url):
        pass


async def test_a_server_that_stops_asks_to_come_back(
    market_url: str, manual_clock: ManualClock
) -> None:
    async with serving(market_url, manual_clock) as market:
        socket = await market.connect()
    code, reason = await ending(socket)

    assert (code, reason) == (4501, {"code": "draining", "retry_ms": 500})
