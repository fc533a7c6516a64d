"""Whatever is done to a row of the log afterwards: `alphapulse verify` and the client name it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from alphapulse_client import (
    Backoff,
    ChainBrokenError,
    Client,
    HistoryLostError,
    Position,
    ProblemError,
)
from backend.settings import Settings
from backend.upkeep import verify_streams
from tests.served_market import TICKS, ServedMarket

LOG = "signals.1h.simulated"
BTC = f"{LOG}.BTC/USDT"
ETH = f"{LOG}.ETH/USDT"

DEEDS = {  # to one row of `stream_blocks`
    "made unreadable": "UPDATE stream_blocks SET payloads = overlay(payloads PLACING '!' FROM 1)"
    " WHERE log = $1 AND block = $2",
    "edited": "UPDATE stream_blocks SET payloads = overlay(payloads PLACING '8'"
    " FROM position('4,\"as_of' in payloads)) WHERE log = $1 AND block = $2",
    "deleted": "DELETE FROM stream_blocks WHERE log = $1 AND block = $2",
    "back-dated": "UPDATE stream_blocks SET published_at = published_at - interval '1 hour'"
    " WHERE log = $1 AND block = $2",
    "dated otherwise": "UPDATE stream_blocks SET as_of = as_of + interval '1 ms'"
    " WHERE log = $1 AND block = $2",
}


async def do(market: ServedMarket, deed: str, block: int = 7) -> None:
    done = await market.pool.execute(DEEDS[deed], LOG, block)
    assert done.split()[-1] == "1"


def settings(market_url: str) -> Settings:
    return Settings(state=Path("nowhere"), database_url=SecretStr(market_url))


@pytest.mark.parametrize("deed", DEEDS)
async def test_one_row_that_is_not_as_it_was_is_named_by_both(
    market: ServedMarket, market_url: str, capsys: pytest.CaptureFixture[str], deed: str
) -> None:
    await do(market, deed)

    code = await verify_streams(settings(market_url))
    async with Client(market.url) as client:
        with pytest.raises(ChainBrokenError) as broken:
            await client.verify(BTC)

    assert code == 1
    assert f"stream {BTC}: offset 7: " in capsys.readouterr().out
    assert (broken.value.stream, broken.value.offset) == (BTC, 7)


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("edited", "its content does not give its hash"),
        ("back-dated", "its content does not give its hash"),
        ("made unreadable", "it was edited and is no row any more"),
    ],
)
async def test_a_feed_names_it_too(market: ServedMarket, deed: str, reason: str) -> None:
    await do(market, deed)
    told: list[Any] = []

    async with Client(market.url) as client, aclosing(client.updates(BTC, since="start")) as feed:
        with pytest.raises(ChainBrokenError, match=f"{BTC}: offset 7: {reason}"):
            await _into(told, feed)
    assert [each.offset for each in told] == [*range(1, 7)]


async def test_a_feed_says_that_a_row_is_gone(market: ServedMarket) -> None:
    await do(market, "deleted")
    told: list[Any] = []

    backoff = Backoff(sleep=lambda _: asyncio.sleep(0))
    async with (
        Client(market.url, backoff=backoff) as client,
        aclosing(client.updates(BTC, since="start")) as feed,
    ):
        with pytest.raises(HistoryLostError, match=BTC):
            await _into(told, feed)
    assert [each.offset for each in told] == [*range(1, 7)]


async def _into(told: list[Any], feed: Any) -> None:
    async for each in feed:
        told.append(each)  # noqa: PERF401 - the feed ends with an error


async def test_a_whole_chain_gives_its_last_event(market: ServedMarket) -> None:
    async with Client(market.url) as client:
        whole = await client.verify(BTC)
        parts = [await client.verify(BTC, offset) for offset in (1, 12, TICKS - 1, TICKS)]
        await market.tick(TICKS)
        later = await client.verify(BTC, head=whole)

    assert whole.offset == TICKS
    assert [each.offset for each in parts] == [TICKS] * 4
    assert {each.hash for each in parts[:3]} == {whole.hash}
    assert (later.offset, later.epoch) == (TICKS + 1, whole.epoch)


@pytest.mark.parametrize("offset", [0, 3, 6])
async def test_a_chain_is_verified_from_any_event_on(market: ServedMarket, offset: int) -> None:
    await do(market, "edited")
    async with Client(market.url) as client:
        with pytest.raises(ChainBrokenError, match="offset 7"):
            await client.verify(BTC, offset)
        behind = await client.verify(BTC, 7)
    assert behind.offset == TICKS


async def test_events_that_end_before_the_head_are_missing(market: ServedMarket) -> None:
    await do(market, "deleted", block=TICKS)

    async with Client(market.url) as client:
        with pytest.raises(ChainBrokenError, match=f"offset {TICKS}: missing"):
            await client.verify(ETH)


async def test_a_log_that_was_cut_with_its_head_lacks_what_was_noted(market: ServedMarket) -> None:
    """Whoever may write the log may also write its heads; what is kept elsewhere stays."""
    async with Client(market.url) as client:
        noted = await client.verify(BTC)
        await market.pool.execute("DELETE FROM stream_blocks WHERE block = $1", TICKS)
        await market.pool.execute(_LAST_AS_HEAD)
        shorter = await client.verify(BTC)
        with pytest.raises(ChainBrokenError, match=f"offset {TICKS}: missing"):
            await client.verify(BTC, head=noted)
        with pytest.raises(ChainBrokenError, match=f"offset {shorter.offset}: the head says"):
            await client.verify(BTC, head=Position(shorter.epoch, shorter.offset, "f" * 64))
        with pytest.raises(HistoryLostError, match="epoch_changed"):
            await client.verify(BTC, head=Position("another", 3, "f" * 64))

    assert shorter.offset == TICKS - 1


async def test_a_stream_that_is_none_cannot_be_verified(market: ServedMarket) -> None:
    async with Client(market.url) as client:
        with pytest.raises(ProblemError, match=f"did you mean {BTC}"):
            await client.verify(f"{LOG}.BTC/USD")


_LAST_AS_HEAD = """
UPDATE stream_heads h SET block = b.block, offsets = b.offsets, hashes = b.hashes
FROM stream_blocks b WHERE b.log = h.log AND b.block = h.block - 1
"""
