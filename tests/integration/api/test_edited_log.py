"""Whatever an event, an array or a hash of the log became: who reads it goes on."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import httpx
import pytest

from backend.bus.records import CHANNELS, records
from backend.clock import SystemClock
from backend.store import tail
from backend.store.log_tail import LogTail
from backend.store.relayed import Untaken
from tests.served_market import ServedMarket
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
        edited = list(records(signal._replace(payload=b'{"horizon":"4"}'), "a"))

    assert [(one.topic, one.value) for one in edited] == [(whole[0], b'{"horizon":"4"}')]
    assert len(whole) == 2
    assert "not as it was published" in caplog.text
