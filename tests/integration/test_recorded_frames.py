"""Recorded frames of real exchanges through ccxt's handlers and ours: each is accounted for."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from collectors.ccxt_exchange import CcxtExchange
from collectors.ccxt_import import exchange_ids
from collectors.ccxt_played import TURNS, Frame, PlayedExchange
from collectors.trades import missing_numbers
from domain.events import Candle
from domain.market import Instrument, Timeframe, from_ms
from domain.trades import Trade
from tests.served_payloads import Answer, served

M1 = Timeframe.M1

# Of the recordings' README: frames that came in, those of them that are klines, and trades.
BINANCE = {
    "binance": ("binance", "exchangeInfo", 265, 2, 2),
    "binanceusdm": ("binance_futures", "exchangeInfo", 1535, 67, 91),
}
# Frames that came in, and how many of them today's ccxt cannot read. Kraken's are of its
# first version, which ccxt does not speak any more: it passes them over.
OTHERS = {
    "bitfinex_ws_11": ("bitfinex", 1693, 0),
    "bitstamp_ws_1": ("bitstamp", 747, 0),
    "coinbase_ws_28": ("coinbaseexchange", 9946, 0),
    "gemini_ws_1": ("gemini", 678, 0),
    "kraken_ws_48": ("kraken", 49, 0),
    "kraken_ws_49": ("kraken", 60, 0),
    "kraken_ws_50": ("kraken", 4321, 0),
    "okx_ws_1": ("okx", 410, 0),
}


# Of the captured answers, which are order books, how many, and rows in them of another kind.
BOOKS = {
    "binance": ("binance", "exchangeInfo", 4, 12),
    "binance_futures": ("binanceusdm", "exchangeInfo", 4, 20),
}


def lines(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    path = folder / "ws" / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no recorded frames in {path.parent}")
    with gzip.open(path, "rt") as file:
        yield from map(json.loads, file)


def frames(folder: Path, name: str) -> list[Frame]:
    url, found = "", []
    for line in lines(folder, name):
        url = line["url"] if line["dir"] == "open" else url
        if line["dir"] == "in":
            found.append(Frame(url, line["raw"]))
    return found


async def markets(folder: Path, exchange_id: str, stem: str, path: str) -> list[dict[str, Any]]:
    """ccxt's markets from what was recorded when the frames were."""
    told = next(line["raw"] for line in lines(folder, f"{stem}_setup") if path in line["url"])
    async with served({path: Answer(told), "currencies": Answer([])}) as server:
        exchange = CcxtExchange(exchange_id, rest_url=server.rest_url, rate_limited=False)
        try:
            return list((await exchange._client.load_markets()).values())
        finally:
            await exchange.close()


def klines(sent: list[Frame]) -> list[dict[str, Any]]:
    return [event for event in map(event_of, sent) if event.get("e") == "kline"]


def event_of(frame: Frame) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(frame.data).get("data", {})
    return event


@pytest.mark.parametrize("exchange_id", sorted(BINANCE))
async def test_klines_become_candles_and_trades_are_told_one_for_one(
    exchange_id: str, shared_data: Path
) -> None:
    stem, path, count, kline_count, trade_count = BINANCE[exchange_id]
    sent = frames(shared_data, f"{stem}_ws_1")
    told_markets = await markets(shared_data, exchange_id, stem, path)
    by_id = {one["id"]: one["symbol"] for one in told_markets}
    symbols = sorted({by_id[one["s"]] for one in klines(sent)})
    exchange = PlayedExchange(exchange_id, markets=told_markets)

    instruments = [Instrument(exchange_id, symbol) for symbol in symbols]
    candles = [one async for one in exchange.candles(instruments, [M1], sent)]
    trades = Counter({s: len(told) for s, told in exchange._client.trades.items()})
    await exchange.close()

    assert len(sent) == count
    assert (len(candles), trades.total()) == (kline_count, trade_count)
    assert [spelled(one) for one in candles] == [
        (by_id[one["s"]], one["E"], *(one["k"][key] for key in "tnx"), *prices(one["k"]))
        for one in klines(sent)
    ]
    assert exchange.unread.count == 0


@pytest.mark.parametrize("exchange_id", sorted(BINANCE))
async def test_aggregated_trades_are_told_one_for_one_and_in_turn(
    exchange_id: str, shared_data: Path
) -> None:
    stem, path, _, _, trade_count = BINANCE[exchange_id]
    sent = frames(shared_data, f"{stem}_ws_1")
    told_markets = await markets(shared_data, exchange_id, stem, path)
    by_id = {one["id"]: one["symbol"] for one in told_markets}
    events = [one for one in map(event_of, sent) if one.get("e") == "aggTrade"]
    exchange = PlayedExchange(exchange_id, markets=told_markets)
    instruments = [Instrument(exchange_id, by_id[one]) for one in sorted({e["s"] for e in events})]

    async with aclosing(exchange.watch_trades(instruments)) as stream:
        first = asyncio.ensure_future(anext(stream))
        await turn()
        for frame in sent:
            exchange.show(frame)
        told = [await first, *[await anext(stream) for _ in events[1:]]]
    await exchange.close()

    assert len(told) == trade_count
    assert [(t.number, t.time_ms, t.price, t.amount, t.side) for t in told] == [
        (one["a"], one["T"], float(one["p"]), float(one["q"]), "sell" if one["m"] else "buy")
        for one in events
    ]
    for name in instruments:
        assert missing_numbers(one for one in told if one.instrument == name) == []
    assert exchange.unread.count == 0


async def test_trades_that_ccxt_hands_on_are_told_one_for_one(shared_data: Path) -> None:
    """Coinbase tells the side of the one who waited, we that of the one in a hurry."""
    sent = frames(shared_data, "coinbase_ws_28")
    known = await markets(shared_data, "coinbaseexchange", "coinbase", "products")
    by_id = {one["id"]: one["symbol"] for one in known}
    matches = [one for one in (json.loads(frame.data) for frame in sent) if one["type"] == "match"]
    exchange = PlayedExchange("coinbaseexchange", markets=known)
    instruments = sorted({Instrument("coinbaseexchange", by_id[m["product_id"]]) for m in matches})
    told: list[Trade] = []

    async def listen() -> None:
        async with aclosing(exchange.watch_trades(instruments)) as stream:
            async for trade in stream:
                told.append(trade)  # noqa: PERF401 - it never ends

    listening = asyncio.create_task(listen())
    await turn()
    for frame in sent:
        exchange.show(frame)
        if '"match"' in str(frame.data):
            await turn()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await exchange.close()

    assert [(t.instrument.symbol, t.trade_id, t.price, t.amount, t.side) for t in told] == [
        (
            by_id[one["product_id"]],
            str(one["trade_id"]),
            float(one["price"]),
            float(one["size"]),
            "sell" if one["side"] == "buy" else "buy",
        )
        for one in matches
    ]
    assert len(told) == 97


async def turn() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def spelled(one: Candle) -> tuple[Any, ...]:
    values = (one.open, one.high, one.low, one.close, one.volume)
    return one.instrument.symbol, one.event_ms, one.open_ms, one.trades, one.closed, *values


def prices(kline: dict[str, Any]) -> list[float]:
    return [float(kline[key]) for key in "ohlcv"]


@pytest.mark.parametrize("name", sorted(OTHERS))
async def test_a_capture_of_another_exchange_passes_with_its_count(
    name: str, shared_data: Path
) -> None:
    exchange_id, count, unreadable = OTHERS[name]
    sent = frames(shared_data, name)
    known: list[dict[str, Any]] = []
    if exchange_id == "coinbaseexchange":
        known = await markets(shared_data, exchange_id, "coinbase", "products")
    exchange = PlayedExchange(exchange_id, markets=known)

    for frame in sent:
        exchange.show(frame)
    await exchange.close()

    assert (len(sent), exchange.unread.count) == (count, unreadable)


@pytest.mark.parametrize("stem", sorted(BOOKS))
async def test_an_order_book_in_answer_to_a_request_for_candles_is_set_aside(
    stem: str, shared_data: Path
) -> None:
    exchange_id, setup, count, unreadable = BOOKS[stem]
    known = await markets(shared_data, exchange_id, stem, setup)
    books = [line["raw"] for line in lines(shared_data, f"{stem}_http_0")]
    name = Instrument(exchange_id, known[0]["symbol"])
    answers = {"time": Answer({"serverTime": 2 * M1.ms})}
    told: list[Candle] = []
    async with served(answers) as server:
        exchange = CcxtExchange(exchange_id, rest_url=server.rest_url, rate_limited=False)
        exchange._client.set_markets(known)
        for book in books:
            answers["klines"] = Answer(book)
            told += await exchange.fetch_candles(name, M1, since=from_ms(0), until=from_ms(M1.ms))
        await exchange.close()

    assert (len(books), len(told), exchange.unread.count) == (count, 0, unreadable)


async def test_frames_of_markets_that_are_not_known_are_set_aside(shared_data: Path) -> None:
    exchange = PlayedExchange("coinbaseexchange", markets=[])

    for frame in frames(shared_data, "coinbase_ws_28"):
        exchange.show(frame)
    taken = await exchange.unread.take()
    await exchange.close()

    assert exchange.unread.count == len(taken) == 97
    assert {one.reason for one in taken} == {"ExchangeError: coinbaseexchange markets not loaded"}
    assert all(json.loads(one.raw) for one in taken)


def test_bitmex_has_no_sockets_in_ccxt_any_more() -> None:
    """Its capture cannot be played; when this fails, it can."""
    assert "bitmex" not in exchange_ids()
