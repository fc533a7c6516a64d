"""The simulated exchange in front of ccxt's own client, and its frames on the socket."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from collectors.ccxt_import import exchange_class
from collectors.recorded import choose, read_folder
from collectors.simulated.instruments import default_symbols
from collectors.simulated.market import SyntheticMarket
from collectors.simulated.recording import RecordedMarket
from collectors.simulated.server import Play, SimulatedExchange
from collectors.simulated.tape import Market
from domain.market import Timeframe

HOUR = 3_600_000
SPEED = 36_000.0  # ten candles of an hour a second
NAMES = default_symbols(2)
Json = dict[str, Any]


@asynccontextmanager
async def serving(market: Market | None = None, **play: Any) -> AsyncIterator[Client]:
    """A client of an exchange whose clock stands until it is released."""
    playing = Play(**{"speed": SPEED, "held": True, "history": 30} | play)
    chosen = market or SyntheticMarket(NAMES)
    async with (
        SimulatedExchange(chosen, playing) as exchange,
        aiohttp.ClientSession(f"http://127.0.0.1:{exchange.port}") as session,
    ):
        yield Client(exchange, session, chosen)


class Client:
    """Speaks to the exchange without any library of exchanges."""

    def __init__(
        self, exchange: SimulatedExchange, session: aiohttp.ClientSession, market: Market
    ) -> None:
        self.exchange = exchange
        self.session = session
        self.market = market

    async def get(self, path: str, **parameters: str | int) -> Any:
        async with self.session.get(path, params=parameters) as response:
            return await response.json()

    async def post(self, path: str, **body: Any) -> Any:
        async with self.session.post(path, json=body) as response:
            return await response.json()

    def move(self, ms: int) -> None:
        """Have the clock, which stands, stand so much later."""
        clock = self.exchange.clock
        clock._base_ms += ms
        clock._changed.set()

    async def klines(self, **parameters: str | int) -> list[list[Any]]:
        rows: list[list[Any]] = await self.get(
            "/api/v3/klines", **{"symbol": "BTCUSDT", "interval": "1h"} | parameters
        )
        return rows

    @asynccontextmanager
    async def subscribed(self, *streams: str, path: str = "/ws/1") -> AsyncIterator[Frames]:
        async with self.session.ws_connect(path) as socket:
            await socket.send_json({"method": "SUBSCRIBE", "params": streams, "id": 1})
            assert await socket.receive_json() == {"result": None, "id": 1}
            yield Frames(socket)

    async def told(self, fault: Json, *, closed: int) -> list[str]:
        """What one stream says while `fault` is at work: `t` forming, `T` closed, by hour."""
        await self.post("/_control/faults", **fault)
        async with self.subscribed("btcusdt@kline_1h") as frames:
            await self.post("/_control/clock", held=False)
            start = self.market.start_ms // HOUR + 30
            words: list[str] = []
            while sum(word.startswith("T") for word in words) < closed:
                candle = (await frames.next())["k"]
                words.append(f"{'T' if candle['x'] else 't'}{candle['t'] // HOUR - start}")
        return words


class Frames:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def next(self) -> Json:
        frame: Json = await self.socket.receive_json(timeout=60)
        return frame


@asynccontextmanager
async def ccxt_client(port: int) -> AsyncIterator[Any]:
    options = {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False}
    client = exchange_class("binance")({"enableRateLimit": False, "options": options})
    rest, ws = f"http://127.0.0.1:{port}/api/v3", f"ws://127.0.0.1:{port}/stream/ws"
    addresses = client.urls["api"]
    for name, address in addresses.items():
        if isinstance(address, str):
            addresses[name] = rest if name in {"public", "v1"} else "http://127.0.0.1:9/none"
    addresses["ws"] = {name: ws if name == "spot" else "" for name in addresses["ws"]}
    try:
        yield client
    finally:
        await client.close()


async def test_ccxt_reads_markets_and_candles() -> None:
    async with serving() as client, ccxt_client(client.exchange.port) as ccxt:
        markets = await ccxt.load_markets()
        candles = await ccxt.fetch_ohlcv("BTC/USDT", "1h", since=client.market.start_ms, limit=5)
        told = await ccxt.fetch_time()

    assert sorted(markets) == ["BTC/USDT", "ETH/USDT"]
    assert markets["BTC/USDT"]["precision"]["price"] == 0.01
    assert markets["BTC/USDT"]["precision"]["amount"] == 1e-5
    assert markets["BTC/USDT"]["limits"]["cost"]["min"] == 5.0
    assert [row[0] - client.market.start_ms for row in candles] == [n * HOUR for n in range(5)]
    assert [row[1:] for row in candles] == client.market.candles(0, 5, 0).tolist()
    assert told == client.market.start_ms + 30 * HOUR


async def test_ccxt_watches_candles() -> None:
    async with serving() as client, ccxt_client(client.exchange.port) as ccxt:
        await ccxt.load_markets()
        watching = asyncio.create_task(ccxt.watch_ohlcv("ETH/USDT", "1h"))
        await client.post("/_control/clock", held=False)
        seen: dict[int, float] = {}  # open price by open time
        while len(seen) < 4:
            seen |= {row[0]: row[1] for row in await watching}
            watching = asyncio.create_task(ccxt.watch_ohlcv("ETH/USDT", "1h"))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    for open_ms, price in seen.items():
        index = (open_ms - client.market.start_ms) // HOUR
        assert index >= 30
        assert price == client.market.candles(index, index + 1, 1)[0, 0]


async def test_klines_obey_start_end_and_limit() -> None:
    async with serving(history=1_200) as client:
        start = client.market.start_ms
        newest = await client.klines()
        most = await client.klines(limit=5_000, startTime=start)
        between = await client.klines(startTime=start + 1, endTime=start + 3 * HOUR)
        until = await client.klines(endTime=start + 3 * HOUR, limit=2)

    def hours(rows: list[list[Any]]) -> list[int]:
        return [(row[0] - start) // HOUR for row in rows]

    assert hours(newest) == list(range(700, 1_200))
    assert hours(most) == list(range(1_000))
    assert hours(between) == [1, 2, 3]
    assert hours(until) == [2, 3]
    assert until[0][6] == until[0][0] + HOUR - 1


async def test_the_last_kline_is_the_one_that_forms() -> None:
    market = SyntheticMarket(NAMES)
    half_past = market.start_ms + 30 * HOUR + HOUR // 2
    async with serving(market, clock_ms=half_past) as client:
        rows = await client.klines(limit=2)
        day = await client.klines(interval="1d", limit=1)

    whole, forming = market.candles(29, 31, 0)
    assert [float(value) for value in rows[0][1:6]] == whole.tolist()
    assert float(rows[1][1]) == forming[0]
    assert 0 < float(rows[1][5]) < forming[4]
    assert float(rows[1][4]) == market.steps(30)[1, 0, 3]
    assert day[0][0] == market.start_ms + 24 * HOUR
    assert day[0][4] == rows[1][4]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v3/klines?symbol=NOPE&interval=1h", -1121),
        ("/api/v3/klines?symbol=BTCUSDT&interval=7h", -1120),
        ("/api/v3/klines?interval=1h", -1102),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime=soon", -1102),
        ("/api/v3/exchangeInfo?symbol=NOPE", -1121),
    ],
)
async def test_a_wrong_request_gets_binances_error(path: str, code: int) -> None:
    async with serving() as client, client.session.get(path) as response:
        body = await response.json()

        assert (response.status, body["code"]) == (400, code)


async def test_a_candle_is_told_forming_then_closed_and_rest_agrees() -> None:
    async with serving() as client, client.subscribed("btcusdt@kline_1h") as frames:
        await client.post("/_control/clock", held=False)
        told = [await frames.next() for _ in range(7)]
        sent = await client.get("/_control/sent")
        rows = await client.klines(startTime=told[0]["k"]["t"], limit=2)

    closes = [frame for frame in told if frame["k"]["x"]]
    first = closes[0]["k"]
    assert len(closes) >= 2
    assert all(frame["E"] == frame["k"]["T"] + 1 for frame in closes)
    assert [first["o"], first["h"], first["l"], first["c"], first["v"]] == rows[0][1:6]
    assert [float(value) for value in rows[0][1:6]] == client.market.candles(30, 31, 0)[0].tolist()
    assert sent["candles"][0] == {
        "symbol": "BTC/USDT",
        "timeframe": "1h",
        "open_time": client.market.start_ms + 30 * HOUR,
        "frames": 1,
    }


async def test_a_combined_stream_names_its_streams_and_answers_lists() -> None:
    async with serving() as client:
        address = "/stream?streams=ethusdt@kline_1h/ethusdt@aggTrade"
        async with client.session.ws_connect(address) as socket:
            await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 3})
            listed = await socket.receive_json()
            await socket.send_str("{")
            refused = await socket.receive_json()
            await client.post("/_control/clock", held=False)
            told = [await socket.receive_json(timeout=60) for _ in range(12)]

    assert listed == {"result": ["ethusdt@aggTrade", "ethusdt@kline_1h"], "id": 3}
    assert refused["code"] == 2
    assert {frame["stream"] for frame in told} == {"ethusdt@kline_1h", "ethusdt@aggTrade"}
    assert all(frame["data"]["s"] == "ETHUSDT" for frame in told)


async def test_trades_are_told_in_turn_and_rest_agrees() -> None:
    market = SyntheticMarket(NAMES, finest=Timeframe.M1)
    async with serving(market) as client:
        await client.post("/_control/faults", kind="lose_trade", instrument="BTC/USDT", after=2)
        async with client.subscribed("btcusdt@aggTrade") as frames:
            await client.post("/_control/clock", held=False)
            told = [await frames.next() for _ in range(9)]
            await client.post("/_control/clock", held=True)
        first = told[0]["a"]
        rows = await client.get("/api/v3/aggTrades", symbol="BTCUSDT", fromId=first, limit=10)
        since = await client.get("/api/v3/aggTrades", symbol="BTCUSDT", startTime=rows[4]["T"])
        newest = await client.get("/api/v3/aggTrades", symbol="BTCUSDT", limit=3)
        candles = await client.klines(interval="1m", startTime=rows[0]["T"], limit=1)

    assert [one["a"] for one in rows] == list(range(first, first + 10))
    assert [{key: one[key] for key in "apqflTmM"} for one in told] == rows[:2] + rows[3:]
    assert since[0] == rows[4]
    assert len(since) > len(newest) == 3
    minute = [one for one in rows if one["T"] <= candles[0][6]]
    assert [minute[0]["p"], minute[-1]["p"]] == [candles[0][1], candles[0][4]]


async def test_a_held_clock_stands_and_a_released_one_goes_on() -> None:
    async with serving() as client:
        before = await client.get("/_control/time")
        again = await client.get("/_control/time")
        await client.post("/_control/clock", held=False)
        async with client.subscribed("btcusdt@kline_1h") as frames:
            await frames.next()
        held = await client.post("/_control/clock", held=True)
        later = await client.get("/api/v3/time")

    assert before == again
    assert before == {
        "now": client.market.start_ms + 30 * HOUR,
        "speed": SPEED,
        "held": True,
        "ended": False,
    }
    assert held["now"] > before["now"]
    assert later["serverTime"] == held["now"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("drop", ["T0", "T2"]),
        ("duplicate", ["T0", "T1", "T1", "T2"]),
        ("stall", ["T0", "T2"]),
        ("hole", ["T0", "T2"]),
        ("revise", ["T0", "T1", "T1", "T2"]),
    ],
)
async def test_a_fault_befalls_the_candle_that_it_was_told_to(
    kind: str, expected: list[str]
) -> None:
    fault = {"kind": kind, "instrument": "BTC/USDT", "after": 1}
    async with serving() as client:
        words = await client.told(fault, closed=len(expected))
        acted = [one["acted"] for one in (await client.get("/_control/sent"))["faults"]]
        rows = await client.klines(startTime=client.market.start_ms + 30 * HOUR, limit=3)

    there = [(row[0] - client.market.start_ms) // HOUR - 30 for row in rows]
    assert [word for word in words if word.startswith("T")] == expected
    assert "t1" not in words or kind not in {"stall", "hole"}
    assert max(acted) == 1
    assert (1 in there) == (kind != "hole")


async def test_a_reordered_candle_comes_after_the_next_one_began() -> None:
    async with serving(updates=1) as client:
        words = await client.told({"kind": "reorder", "after": 1}, closed=3)

    assert words[: words.index("T1")][-1] in {"t2", "T2"}


async def test_a_revised_candle_is_wrong_on_rest_until_it_is_mended() -> None:
    market = SyntheticMarket(NAMES)
    before = market.start_ms + 31 * HOUR - 60_000  # the next close is 3 s of wall time after it
    async with (
        serving(market, updates=0, clock_ms=before, speed=1_200.0) as client,
        client.subscribed("btcusdt@kline_1h") as frames,
    ):
        await client.post("/_control/faults", kind="revise", instrument="BTCUSDT")
        await client.post("/_control/clock", held=False)
        wrong = await frames.next()
        await client.post("/_control/clock", held=True)
        answered = await client.klines(startTime=wrong["k"]["t"], limit=1)
        await client.post("/_control/clock", held=False)
        told = [await frames.next() for _ in range(2)]
        mended = await client.klines(startTime=wrong["k"]["t"], limit=1)

    right = next(frame for frame in told if frame["k"]["t"] == wrong["k"]["t"])
    truth = client.market.candles(30, 31, 0)[0]
    assert float(answered[0][5]) == float(wrong["k"]["v"]) == truth[4] / 2
    assert float(mended[0][5]) == float(right["k"]["v"]) == truth[4]
    assert right["E"] > wrong["E"]


async def test_a_candle_told_wrong_for_good_is_right_on_rest() -> None:
    async with serving() as client, client.subscribed("btcusdt@kline_1h") as frames:
        await client.post("/_control/faults", kind="mistell", instrument="BTCUSDT")
        await client.post("/_control/clock", held=False)
        while not (told := await frames.next())["k"]["x"]:
            pass
        answered = await client.klines(startTime=told["k"]["t"], limit=1)

    truth = client.market.candles(30, 31, 0)[0]
    assert float(told["k"]["v"]) == truth[4] / 2
    assert float(answered[0][5]) == truth[4]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("disconnect", aiohttp.WSCloseCode.ABNORMAL_CLOSURE),
        ("close", aiohttp.WSCloseCode.GOING_AWAY),
    ],
)
async def test_a_connection_is_cut_without_a_farewell_or_closed_with_one(
    kind: str, code: int
) -> None:
    async with serving() as client, client.subscribed("btcusdt@kline_1h") as frames:
        await client.post("/_control/faults", kind=kind)
        await client.post("/_control/clock", held=False)
        while (await frames.socket.receive(timeout=60)).type == aiohttp.WSMsgType.TEXT:
            pass

    assert frames.socket.close_code == code


async def test_a_connection_is_refused_as_often_as_it_was_told() -> None:
    async with serving() as client:
        await client.post("/_control/faults", kind="refuse", count=2)
        for _ in range(2):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.session.ws_connect("/ws/1")
            assert refused.value.status == 503
        async with client.subscribed("btcusdt@kline_1h"):
            pass


async def test_half_of_a_closed_frame_is_sent() -> None:
    async with serving(updates=0) as client, client.subscribed("btcusdt@kline_1h") as frames:
        await client.post("/_control/faults", kind="gibberish")
        await client.post("/_control/clock", held=False)
        with pytest.raises(json.JSONDecodeError):
            await frames.next()
        after = await frames.next()

    assert after["k"]["t"] == client.market.start_ms + 31 * HOUR


async def test_a_candle_that_lags_is_on_rest_once_the_next_has_closed() -> None:
    async with serving(updates=1) as client, client.subscribed("btcusdt@kline_1h") as frames:
        await client.post("/_control/faults", kind="lag", instrument="BTCUSDT")
        client.move(HOUR + 3 * HOUR // 4)
        first = client.market.start_ms + 30 * HOUR
        while (await frames.next())["k"]["t"] == first:
            pass
        before = [row[0] for row in await client.klines(startTime=first, limit=2)]
        client.move(HOUR)
        while (told := await frames.next())["k"]["t"] < first + HOUR or not told["k"]["x"]:
            pass
        after = [row[0] for row in await client.klines(startTime=first, limit=2)]

    assert before == [first + HOUR]
    assert after == [first, first + HOUR]


async def test_a_garbled_answer_is_a_page_with_status_200() -> None:
    async with serving() as client:
        await client.post("/_control/faults", kind="garble")
        async with client.session.get("/api/v3/ping") as response:
            assert (response.status, response.content_type) == (200, "text/html")


@pytest.mark.parametrize(
    ("kind", "status", "wait"),
    [("status_418", 418, "2"), ("status_429", 429, "1"), ("status_503", 503, None)],
)
async def test_a_status_is_answered_as_often_as_it_was_told(
    kind: str, status: int, wait: str | None
) -> None:
    async with serving() as client:
        await client.post("/_control/faults", kind=kind, after=1, count=2)
        answers = []
        for _ in range(4):
            async with client.session.get("/api/v3/ping") as response:
                answers.append((response.status, response.headers.get("Retry-After")))

    assert answers == [(200, None), (status, wait), (status, wait), (200, None)]


async def test_a_skewed_clock_is_told_wrong() -> None:
    async with serving() as client:
        await client.post("/_control/faults", kind="skew", ms=-9_000)
        told = await client.get("/api/v3/time")

    assert told["serverTime"] == client.market.start_ms + 30 * HOUR - 9_000


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "explode"},
        {"kind": "drop", "count": -1},
        {"kind": "drop", "instrument": "NO/PE"},
        {"kind": "drop", "often": 2},
    ],
)
async def test_a_command_that_makes_no_sense_is_refused(body: Json) -> None:
    async with serving() as client, client.session.post("/_control/faults", json=body) as response:
        assert response.status == 400
        assert "error" in await response.json()


async def test_500_candles_that_close_together_come_together() -> None:
    names = default_symbols(500)
    streams = [f"{name.replace('/', '').lower()}@kline_1h" for name in names]
    async with (
        serving(SyntheticMarket(names), updates=0) as client,
        client.subscribed(*streams) as frames,
    ):
        await client.post("/_control/clock", held=False)
        told = [await frames.next() for _ in range(1_000)]

    assert len({(frame["s"], frame["k"]["t"]) for frame in told}) == 1_000
    assert {frame["k"]["t"] for frame in told[:500]} == {client.market.start_ms + 30 * HOUR}


async def test_a_recording_is_played_to_its_end_with_its_holes(tmp_path: Any) -> None:
    lines = [f"{hour * HOUR},10,12,8,{9 + hour % 3},0.1" for hour in range(40) if hour != 32]
    header = "timestamp,open,high,low,close,volume\n"
    (tmp_path / "kraken_BTC-USDT_1h.csv").write_text(header + "\n".join(lines) + "\n")
    recordings = choose(read_folder(tmp_path)).recordings

    async with serving(RecordedMarket(list(recordings.values()))) as client:
        async with client.subscribed("btcusdt@kline_1h") as frames:
            await client.post("/_control/clock", held=False)
            closed: list[int] = []
            while 39 not in closed:
                candle = (await frames.next())["k"]
                closed += [candle["t"] // HOUR] if candle["x"] else []
        rows = await client.klines(startTime=0)
        time = await client.get("/_control/time")
        four = await client.klines(interval="4h", startTime=32 * HOUR, limit=1)

    assert closed == [30, 31, 33, 34, 35, 36, 37, 38, 39]
    assert [row[0] // HOUR for row in rows] == [hour for hour in range(40) if hour != 32]
    assert (time["now"], time["held"], time["ended"]) == (40 * HOUR, True, True)
    assert float(four[0][5]) == pytest.approx(0.3)


async def test_recorded_candles_come_through_ccxt_to_the_bit(shared_data: Any) -> None:
    selection = choose(read_folder(shared_data / "ohlcv"), symbols=["PAXG/USDT", "DOGE/USDT"])
    market = RecordedMarket(list(selection.recordings.values()))

    async with serving(market, history=2_000) as client, ccxt_client(client.exchange.port) as ccxt:
        await ccxt.load_markets()
        for column, symbol in enumerate(market.symbols):
            rows = await ccxt.fetch_ohlcv(symbol, "1h", since=market.start_ms, limit=1_000)

            assert [row[1:] for row in rows] == market.candles(0, 1_000, column).tolist()


def test_as_a_program_it_says_its_port_and_ends_with_its_parent() -> None:
    command = [sys.executable, "-m", "collectors.simulated", "--timeframe", Timeframe.H1, "--held"]
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        process.stdin.close()
        ended = process.wait(timeout=60)

    assert ready["ready"] is True
    assert ready["port"] > 0
    assert ended == 0


def test_as_a_program_it_refuses_an_empty_folder_in_one_line(tmp_path: Any) -> None:
    command = [sys.executable, "-m", "collectors.simulated", "--data", str(tmp_path)]
    result = subprocess.run(  # noqa: S603 - our own program
        command, capture_output=True, text=True, timeout=60, check=False
    )

    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "no .parquet or .csv file" in result.stderr
