"""Whatever an event, an array or a hash of the log became: who reads it goes on."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import httpx
import pytest

from backend import damaged
from backend.bus.records import CHANNELS, records
from backend.clock import SystemClock
from backend.store import tail
from backend.store.log_tail import LogTail
from backend.store.relayed import Untaken
from backend.store.stream_log import event_hash
from tests.served_market import MEMBERS, TICKS, ServedMarket
from tests.subscriber import Client

ETH = "signals.1h.simulated.ETH/USDT"
PREDICTION = "/v1/predictions/1h.4.simulated.2024-01-01T00:00:00.000Z.1.ETH/USDT"
PAYLOADS: tuple[Callable[[bytes], bytes], ...] = (
    lambda payload: payload.replace(b'"horizon"', b'"horizo_"').replace(b'"as_of"', b'"as_o_"'),
    lambda payload: payload.replace(b'"horizon":4', b'"horizon":[4]'),
    lambda payload: payload.replace(b'"horizon":4', b'"horizon":"4"'),
    lambda _: b"[1]",
    lambda _: b"4",
    lambda _: b'"a"',
    lambda _: b"null",
    lambda _: b"",
    lambda _: b"\xff",
    lambda payload: payload[:-9],
)
DEEDS = (
    "places[2] = NULL", "places[2] = 0", "places[2] = 9", "places = '{{1,2},{3,4}}'",
    "offsets[2] = NULL", "offsets = offsets[1:1]",
    "ends[2] = NULL", "ends[2] = -5", "ends[1] = 2147483647", "ends = ends[1:1]",
    "ends[1] = -2147483648, ends[2] = 2147483647",
    "hashes = substr(hashes, 1, 50)", "payloads = substr(payloads, 1, 300)",
    "as_of = '0044-03-15 BC'", "published_at = '20000-01-01'",
)  # fmt: skip


@pytest.fixture
async def whole(market: ServedMarket) -> Callable[[], Awaitable[object]]:
    """Makes the log what it was."""
    await market.pool.execute("CREATE TABLE whole AS TABLE stream_blocks")

    async def again() -> None:
        await market.pool.execute("TRUNCATE stream_blocks, relay_cursors")
        await market.pool.execute("INSERT INTO stream_blocks TABLE whole")

    return again


async def test_an_event_that_is_no_row_any_more_stops_nobody(
    market: ServedMarket, rest: httpx.AsyncClient, whole: Callable[[], Awaitable[object]]
) -> None:
    for edit in PAYLOADS:
        await whole()
        await make(market, edit)
        await everybody_reads(market, rest)


async def make(market: ServedMarket, edit: Callable[[bytes], bytes]) -> None:
    """Edit the last signal and the last prediction of ETH."""
    for log in ("signals.1h.simulated", "predictions.1h.simulated"):
        row = await market.pool.fetchrow(
            "SELECT block, ends, payloads FROM stream_blocks WHERE log = $1"
            " ORDER BY block DESC LIMIT 1",
            log,
        )
        first, second, third = row["ends"]
        payload = edit(row["payloads"][first:second])
        await market.pool.execute(
            "UPDATE stream_blocks SET payloads = $3, ends = $4 WHERE log = $1 AND block = $2",
            log,
            row["block"],
            row["payloads"][:first] + payload + row["payloads"][second:],
            [first, first + len(payload), third - second + first + len(payload)],
        )


async def test_a_block_that_does_not_hold_together_stops_nobody(
    market: ServedMarket, rest: httpx.AsyncClient, whole: Callable[[], Awaitable[object]]
) -> None:
    for deed in DEEDS:
        await whole()
        await market.pool.execute(
            f"UPDATE stream_blocks SET {deed}"  # noqa: S608 - constants above
            " WHERE (log, block) IN (SELECT log, block FROM stream_heads)"
        )
        await everybody_reads(market, rest)


async def everybody_reads(market: ServedMarket, rest: httpx.AsyncClient) -> None:
    untaken = Untaken(market.pool, SystemClock(), topics="some", channels=[*CHANNELS])
    relayed = [one async for page in untaken.pages() for each in page for one in records(each, "a")]
    newest = (await tail.heads(market.pool, ["signals"]))["signals.1h.simulated"]
    blocks = await tail.blocks(
        market.pool, "signals.1h.simulated", after=0, until=newest, events=["opened"]
    )
    async with market.pool.acquire() as connection:
        told = [one async for events in LogTail().news(connection) for one in events]
    async with market.connect() as socket:
        client = Client(socket)
        await client.next()
        granted = await client.ask("subscribe", streams=["signals.1h.simulated.BTC/USDT", ETH])
        snapshots = [await client.next() for _ in range(2)]
    answers = [
        await rest.get(path)
        for path in ("/v1/streams", f"/v1/streams/{ETH}/events?limit=9", f"{PREDICTION}")
    ]

    assert len(relayed) > 100
    assert len(blocks) > 20
    assert len(told) > 100
    assert granted["ok"] is True
    assert {one["stream"] for one in snapshots if one["data"]} == {
        one["stream"] for one in granted["result"]["streams"]
    }
    assert [one.status_code for one in answers] == [200, 200, 200]


async def test_a_signal_without_a_horizon_is_relayed_where_its_hash_tells_of_it(
    market: ServedMarket, caplog: pytest.LogCaptureFixture
) -> None:
    events = await market.tick(31)
    signal = next(one for one in events if one.stream == ETH)
    whole = [one.topic for one in records(signal, "a")]

    with caplog.at_level(logging.WARNING):
        payload = signal.payload.replace(b'"horizon":4', b'"horizon":"4"')
        edited = list(records(signal._replace(payload=payload), "a"))

    assert [(one.topic, one.value) for one in edited] == [(whole[0], payload)]
    assert len(whole) == 2
    assert f"event {signal.offset} of {ETH}: it was edited, and is of no horizon" in caplog.text


async def relayed(market: ServedMarket, untaken: Untaken) -> list[str]:
    """What a broker gets of what is new, as its ids."""
    made = [one async for page in untaken.pages() for each in page for one in records(each, "a")]
    ids = [dict(one.headers)["ce_id"].decode() for one in made if "latest" not in one.topic]
    return [f"{one.partition('@')[0]}:{one.rpartition(':')[2]}" for one in ids]


def every_event(of: str, stream: str) -> list[str]:
    return [f"{of}.1h.simulated.{stream}:{offset}" for offset in range(1, TICKS + 1)]


@pytest.mark.parametrize("edit", PAYLOADS[3:])
async def test_a_broker_gets_nothing_that_is_no_row_and_all_else(
    market: ServedMarket, edit: Callable[[bytes], bytes]
) -> None:
    await make(market, edit)
    untaken = Untaken(market.pool, SystemClock(), topics="some", channels=[*CHANNELS])

    found = await relayed(market, untaken)

    names = [f"{one}.1h.simulated.ETH/USDT" for one in ("predictions", "signals")]
    wanted = {one for of in CHANNELS for each in MEMBERS for one in every_event(of, each.symbol)}
    assert set(found) == wanted - {f"{one}:{TICKS}" for one in names}
    assert [one.reason for one in damaged.troubles()] == [
        f"event {TICKS} of {one}: it was edited and is no row any more; it is told to nobody"
        for one in names
    ]


RENAMED = (
    "no stream", "signals.1h.simulated", "candles.1h.simulated.ETH/USDT",
    "signals.1h.simulated.ETH/USD", "signals.4h.simulated.ETH/USDT",
)  # fmt: skip
RENAME = "UPDATE stream_heads SET streams = array_replace(streams, $1, $2)"


@pytest.mark.parametrize("name", RENAMED)
async def test_a_renamed_stream_is_named_and_the_others_are_relayed(
    market: ServedMarket, name: str
) -> None:
    untaken = Untaken(market.pool, SystemClock(), topics="some", channels=[*CHANNELS])
    await market.commit(TICKS)  # a running system knows its streams by itself
    await relayed(market, untaken)
    await market.pool.execute(RENAME, ETH, name)
    await market.commit(TICKS + 1)
    found = await relayed(market, untaken)
    met = damaged.troubles()
    await market.pool.execute(RENAME, name, ETH)
    await market.commit(TICKS + 2)
    whole = [one async for page in untaken.pages() for one in page]

    number = f":{TICKS + 2}"
    assert ETH + number not in found
    assert name + number not in found
    assert {f"signals.1h.simulated.{one}/USDT{number}" for one in ("BTC", "SOL")} <= {*found}
    assert f"predictions.1h.simulated.ETH/USDT{number}" in found
    assert [one.reason for one in met] == [
        f"the stream {name}: from event {TICKS + 2} on what it tells is of another stream:"
        " no broker gets it"
    ]
    assert all(one.hash == event_hash(one) for one in whole)


async def test_a_head_that_does_not_hold_together_holds_its_own_log_alone(
    market: ServedMarket,
) -> None:
    untaken = Untaken(market.pool, SystemClock(), topics="some", channels=[*CHANNELS])
    tail, told = LogTail(), []
    async with market.pool.acquire() as connection:
        await tail.begin(connection)
        await market.pool.execute(RENAME, "predictions.1h.simulated.ETH/USDT", "again")
        await market.pool.execute(RENAME, "predictions.1h.simulated.BTC/USDT", "again")
        found = await relayed(market, untaken)
        told = [one async for events in tail.news(connection) for one in events]
        met = damaged.troubles()
        await market.pool.execute(
            "UPDATE stream_heads SET streams = $1 WHERE log = 'predictions.1h.simulated'",
            [f"predictions.1h.simulated.{one.symbol}" for one in MEMBERS],
        )
        rest = await relayed(market, untaken)

    assert {*found} == {one for each in MEMBERS for one in every_event("signals", each.symbol)}
    assert told == []
    assert len(met) == 1
    assert met[0].reason.startswith(
        "the streams of predictions.1h.simulated: the head of predictions.1h.simulated was edited"
    )
    assert {*rest} == {one for each in MEMBERS for one in every_event("predictions", each.symbol)}
    assert damaged.troubles() == []
