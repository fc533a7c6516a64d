"""Whatever a socket sends, ccxt's handlers and ours raise nothing: it is read or set aside."""

from __future__ import annotations

import asyncio
import copy
import json
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.ccxt_played import Frame, PlayedExchange
from collectors.unreadable import CAPACITY, LONGEST, Unread
from domain.events import Candle
from domain.market import Instrument, Timeframe
from tests.documented import FRAMES, MARKETS, SYMBOL, URLS, kline

M1 = Timeframe.M1
IDS = sorted(FRAMES)

junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**53, max_value=2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["NaN", "inf", "-1", "1e400", "ping", "kline", "error", "200"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@st.composite
def altered(draw: st.DrawFn, frame: dict[str, Any]) -> str:
    """The frame with some of its parts replaced or gone."""
    changed = copy.deepcopy(frame)
    for _ in range(draw(st.integers(1, 3))):
        node: Any = changed
        *way, last = draw(st.sampled_from([place for place in _places(changed) if place]))
        for step in way:
            node = node[step]
        node[last] = draw(junk)
        if draw(st.booleans()) and len(changed) > 1:
            del node[last]
    return json.dumps(changed)


def spoilt(frame: dict[str, Any]) -> st.SearchStrategy[str | bytes]:
    """The frame altered or cut, or something else altogether."""
    text = json.dumps(frame)
    cut = st.integers(0, len(text) - 1).map(lambda end: text[:end])
    return altered(frame) | cut | junk.map(json.dumps) | st.text(max_size=60) | st.binary()


def _places(node: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [way]
    if isinstance(node, dict | list):
        for step in list(node) if isinstance(node, dict) else range(len(node)):
            found += _places(node[step], (*way, step))
    return found


def played(exchange_id: str) -> PlayedExchange:
    return PlayedExchange(exchange_id, markets=[MARKETS[exchange_id]])


async def candles_of(exchange: PlayedExchange, *sent: str | bytes) -> list[Candle]:
    """What a watcher of `SYMBOL` is told when these come."""
    frames = (Frame(URLS.get(exchange.id, ""), data) for data in sent)
    told = exchange.candles([Instrument(exchange.id, SYMBOL)], [M1], frames)
    try:
        async with aclosing(told) as stream:
            return [candle async for candle in stream]
    finally:
        await exchange.close()


@pytest.mark.parametrize("exchange_id", IDS)
async def test_a_documented_frame_is_a_candle(exchange_id: str) -> None:
    exchange = played(exchange_id)

    told = await candles_of(exchange, json.dumps(FRAMES[exchange_id]))

    assert {one.instrument.symbol for one in told} == {SYMBOL}
    assert exchange.unread.count == 0


@pytest.mark.parametrize("exchange_id", IDS)
@settings(max_examples=60)
@given(data=st.data())
def test_no_frame_raises_and_the_next_good_one_is_a_candle(
    exchange_id: str, data: st.DataObject
) -> None:
    good = FRAMES[exchange_id]
    bad = data.draw(st.lists(spoilt(good), min_size=1, max_size=3))

    async def run() -> list[Candle]:
        return await candles_of(played(exchange_id), *bad, json.dumps(good), json.dumps(good))

    assert asyncio.run(run())


@settings(max_examples=150)
@given(data=st.data())
def test_a_kline_is_a_candle_or_set_aside(data: st.DataObject) -> None:
    frame = kline()
    field = data.draw(st.sampled_from(sorted(set(frame["k"]) - {"s", "i"} | {"E"})))
    node = frame if field == "E" else frame["k"]
    if data.draw(st.booleans()):
        node[field] = data.draw(junk)
    else:
        del node[field]
    exchange = played("binance")

    told = asyncio.run(candles_of(exchange, json.dumps(frame)))

    assert len(told) + exchange.unread.count == 1
    assert all(type(one.open_ms) is int and type(one.close) is float for one in told)


async def test_what_is_set_aside_has_its_bytes_and_the_reason() -> None:
    frame = kline()
    del frame["k"]["c"]
    exchange = played("binance")

    told = await candles_of(exchange, json.dumps(frame), "{cut", "hello", "pong", b"\xff")
    taken = await exchange.unread.take()

    assert told == []
    assert [one.raw for one in taken] == [json.dumps(frame).encode(), b"{cut", b"hello", b"\xff"]
    assert [one.reason.partition(":")[0] for one in taken] == [
        "KeyError",
        "JSONDecodeError",
        "not JSON",
        "UnicodeDecodeError",
    ]


async def test_more_than_can_wait_is_counted_and_long_ones_are_cut() -> None:
    unread = Unread("binance")

    unread.put(b"x" * (LONGEST + 1), "long")
    for _ in range(CAPACITY + 2):
        unread.put("x", "flood")
    taken = await unread.take()

    assert len(taken) == CAPACITY + 1
    assert (len(taken[0].raw), taken[0].size) == (LONGEST, LONGEST + 1)
    assert taken[-1].reason == "3 more came too fast to be kept"
