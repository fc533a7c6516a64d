"""An event that was edited and is no row any more ends its stream, by name, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import websockets

from backend import damaged
from backend.clock import ExchangeClock
from backend.replica import Replica
from backend.store.system_status import StatusStore
from backend.told_status import spelled
from tests.doubles import START, ManualClock
from tests.served_market import TICKS, ServedMarket, serving
from tests.subscriber import Client, ending

LOG = "signals.1h.simulated"
BTC, ETH = f"{LOG}.BTC/USDT", f"{LOG}.ETH/USDT"
CANDLES = "candles.1h.simulated.BTC/USDT"
BROKEN = 7
NO_ROWS = ("'!'", "'[1]'", "'4'", "''", "'\\xff'", "substr(payloads, ends[1] + 1, 99)")
# Of the second event of a block another payload.
EDIT = """
UPDATE stream_blocks SET
    payloads = substr(payloads, 1, ends[1]) || {content} || substr(payloads, ends[2] + 1),
    ends = ARRAY[ends[1], ends[1] + length({content}), ends[1] + length({content})
                 + ends[3] - ends[2]]
WHERE log = 'signals.1h.simulated' AND block = $1
"""


async def edit(market: ServedMarket, content: str = "'!'", block: int = BROKEN) -> None:
    typed = content if "substr" in content else f"{content}::bytea"
    assert await market.pool.execute(EDIT.format(content=typed), block) == "UPDATE 1"


@pytest.fixture
async def replica(market: ServedMarket, market_url: str) -> AsyncIterator[tuple[Replica, str]]:
    """A server beside the system, and its address."""
    await StatusStore(market.pool).tell(spelled(market.state.status), market.clock.now())
    async with serving(market_url, ManualClock()) as beside:
        clock = ExchangeClock(START, speed=1.0)
        replica = Replica(api=beside.state, clock=clock, readers=beside.pool, writers=beside.pool)
        await replica.begin()
        yield replica, beside.url


async def until_live(client: Client, stream: str) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = []
    while not frames or (frames[-1]["type"], frames[-1]["stream"]) != ("live", stream):
        frames.append(await client.frame())
        frames[-1].setdefault("stream", None)
    return frames


@pytest.mark.parametrize("content", NO_ROWS)
async def test_a_resume_tells_what_is_before_it_and_ends_that_stream_alone(
    market: ServedMarket, content: str
) -> None:
    await edit(market, content)
    async with market.connect() as socket:
        client = Client(socket)
        await client.next()
        await client.ask("subscribe", streams=[ETH, BTC], since={"*": {"offset": 0}})
        frames = await until_live(client, BTC)
        held = await client.ask("list")
        await market.tick(TICKS)
        told = await client.next()
        (error,) = [one for one in frames if one["type"] == "error"]
        place = {name: error["error"][name] for name in ("epoch", "offset")}
        again = await client.ask("subscribe", 2, streams=[ETH], since={"*": place})
        behind = await until_live(client, ETH)

    def offsets(stream: str, some: list[dict[str, Any]]) -> list[int]:
        return [one["offset"] for one in some if (one["type"], one["stream"]) == ("update", stream)]

    assert offsets(ETH, frames) == [*range(1, BROKEN)]
    assert offsets(BTC, frames) == [*range(1, TICKS + 1)]
    assert [one["stream"] for one in frames if one["type"] == "live"] == [BTC]
    assert (error["id"], error["ok"], error["error"]["code"]) == (None, False, "not_as_it_was")
    assert (error["error"]["stream"], error["error"]["offset"]) == (ETH, BROKEN)
    assert not error["error"]["temporary"]
    assert f"event {BROKEN} of {ETH} was edited" in error["error"]["detail"]
    assert [one["stream"] for one in held["result"]["streams"]] == [BTC]
    assert (told["type"], told["stream"]) == ("update", BTC)
    assert again["result"]["streams"][0]["recovered"]
    assert offsets(ETH, behind) == [*range(BROKEN + 1, TICKS + 2)]
    assert [one.reason for one in damaged.troubles()] == [
        f"event {BROKEN} of {ETH}: it was edited and is no row any more; it is told to nobody"
    ]


async def test_a_page_of_history_ends_before_it_and_none_begins_with_it(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await edit(market)
    path = f"/v1/streams/{ETH}/events"
    up = (await rest.get(path)).json()
    down = (await rest.get(path, params={"order": "desc"})).json()
    refused = [
        await rest.get(path, params={"order": order, "cursor": answer["next"]})
        for order, answer in (("asc", up), ("desc", down))
    ]
    behind = (await rest.get(path, params={"since": BROKEN})).json()
    before = (await rest.get(path, params={"since": BROKEN, "order": "desc"})).json()
    async with market.connect() as socket:
        client = Client(socket)
        await client.next()
        page = await client.ask("history", stream=ETH)
        error = await client.ask("history", stream=ETH, since=page["result"]["next"])

    assert [one["offset"] for one in up["data"]] == [*range(1, BROKEN)]
    assert [one["offset"] for one in down["data"]] == [*range(TICKS, BROKEN, -1)]
    for answer in refused:
        said = answer.json()
        assert (answer.status_code, said["code"]) == (409, "not_as_it_was")
        assert (said["stream"], said["offset"]) == (ETH, BROKEN)
    assert [one["offset"] for one in behind["data"]] == [*range(BROKEN + 1, TICKS + 1)]
    assert [one["offset"] for one in before["data"]] == [*range(BROKEN - 1, 0, -1)]
    assert [one["offset"] for one in page["result"]["data"]] == [*range(1, BROKEN)]
    assert (error["error"]["code"], error["error"]["offset"]) == ("not_as_it_was", BROKEN)


async def test_a_server_beside_the_system_ends_the_stream_of_who_is_live(
    market: ServedMarket, replica: tuple[Replica, str]
) -> None:
    beside, url = replica
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        async with market.connect() as system, beside_of(url) as socket:
            ours, theirs = Client(socket), Client(system)
            for one in (ours, theirs):
                await one.next()
                await one.ask("subscribe", streams=[ETH, BTC], snapshot=False)
            await market.tick(TICKS)
            await edit(market, block=TICKS + 1)
            await beside.follow()
            frames = [await ours.next() for _ in range(2)]
            await market.tick(TICKS + 1)
            await beside.follow()
            frames.append(await ours.next())
            direct = [await theirs.next() for _ in range(4)]
        ready = await client.get("/readyz")
        status = (await client.get("/v1/status")).json()["data"][0]
        metrics = (await client.get("/metrics")).text

    assert {(one["type"], one.get("stream")) for one in frames} == {
        ("error", None),
        ("update", BTC),
    }
    (error,) = [one["error"] for one in frames if one["type"] == "error"]
    assert (error["stream"], error["offset"]) == (ETH, TICKS + 1)
    assert {one["type"] for one in direct} == {"update"}  # it has them from their makers
    line = f"event {TICKS + 1} of {ETH}: it was edited and is no row any more"
    assert ready.status_code == 200
    assert any(one.startswith(f"record: {line}") for one in ready.json()["troubles"])
    assert [one["about"] for one in status["troubles"] if one["reason"].startswith(line)] == [
        "record"
    ]
    assert 'alphapulse_trouble_seconds{about="record"}' in metrics


async def test_who_is_catching_up_meanwhile_comes_back_and_is_told(
    market: ServedMarket, replica: tuple[Replica, str]
) -> None:
    beside, url = replica
    async with beside_of(url) as socket:
        client = Client(socket)
        await client.next()
        await client.ask("ping")
        (connection,) = beside.api.hub.connections
        beside.api.hub.join(ETH, connection)  # and no head was read yet
        await market.commit(TICKS)
        await edit(market, block=TICKS + 1)
        await beside.follow()
        code, _ = await ending(socket)

    assert code == 4511


async def test_a_head_that_does_not_hold_together_ends_no_other_log(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    epoch = await market.pool.fetchval("SELECT epoch FROM stream_heads WHERE log = $1", LOG)
    await market.pool.execute("UPDATE stream_heads SET streams[3] = streams[1] WHERE log = $1", LOG)
    since = {ETH: {"epoch": epoch, "offset": 1}, "*": {"offset": 0}}
    async with market.connect() as socket:
        client = Client(socket)
        await client.next()
        reply = await client.ask("subscribe", streams=[ETH, CANDLES], since=since)
        frames = await until_live(client, CANDLES)
        history = await client.ask("history", stream=ETH)
    answers = [await rest.get(f"/v1/streams/{ETH}/{what}") for what in ("head", "events")]

    began = {one["stream"]: one for one in reply["result"]["streams"]}
    assert (began[ETH]["recovered"], began[ETH]["reason"]) == (False, "not_as_it_was")
    assert began[CANDLES]["replay"] == TICKS
    kinds = [one["type"] for one in frames if one["stream"] == CANDLES]
    assert kinds == [*["update"] * TICKS, "live"]
    assert history["error"]["code"] == "not_as_it_was"
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (409, "not_as_it_was")
        assert f"the head of {LOG} was edited" in answer.json()["detail"]
    assert len(damaged.troubles()) == 1


async def test_what_is_mended_is_no_trouble_any_more(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    path = f"/v1/streams/{ETH}/events"
    whole = "SELECT payloads, ends FROM stream_blocks WHERE log = $1 AND block = $2"
    payloads, ends = await market.pool.fetchrow(whole, LOG, BROKEN)
    await edit(market)
    await rest.get(path)
    met = damaged.troubles()
    await market.pool.execute(
        "UPDATE stream_blocks SET payloads = $3, ends = $4 WHERE log = $1 AND block = $2",
        LOG,
        BROKEN,
        payloads,
        ends,
    )
    answer = await rest.get(path)

    assert len(met) == 1
    assert len(answer.json()["data"]) == TICKS
    assert damaged.troubles() == []


def beside_of(url: str) -> websockets.connect:
    return websockets.connect(f"{url.replace('http', 'ws')}/ws", open_timeout=60)
