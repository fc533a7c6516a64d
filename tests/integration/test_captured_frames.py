"""Raw frames survive kills and rotation, and tell the same candles and the same report again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from backend.replay import ReplayPlan, run_replay
from backend.settings import Settings
from backend.training_settings import TrainingSettings
from collectors.capture import SUFFIX, Capture
from collectors.captured import candles_of, lines
from collectors.ccxt_exchange import CcxtExchange
from collectors.simulated.instruments import default_symbols
from collectors.simulated.market import SyntheticMarket
from collectors.simulated.server import Play, SimulatedExchange
from domain.errors import DataFolderError, UnknownSymbolError, UnknownTimeframeError
from domain.events import Candle
from domain.market import Instrument, Timeframe
from tests.documented import MARKETS, OPEN_MS, SYMBOL, URLS, kline
from tests.doubles import ManualClock

M1, H1 = Timeframe.M1, Timeframe.H1
MB = 2**20


def capture_to(folder: Path, exchange_id: str = "binance", **limits: int) -> Capture:
    about = {"exchange": exchange_id, "name": exchange_id, "version": "test"}
    return Capture(folder, about=about, clock=ManualClock(), **{"largest": 100 * MB, **limits})


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def connect(one: Capture, exchange_id: str = "binance") -> None:
    one.watching([(SYMBOL, "1m")], [MARKETS[exchange_id]])


def bar(number: int, *, closed: bool = True) -> str:
    """The `number`th minute's candle of a wandering price."""
    price = 100.0 + (number * 7919) % 13 / 10
    values = {"o": price, "c": price + 0.1, "h": price + 0.5, "l": price - 0.5, "v": 1 + number % 5}
    return json.dumps(
        kline(t=OPEN_MS + number * M1.ms, x=closed, **{k: str(v) for k, v in values.items()})
    )


async def told(folder: Path) -> list[int]:
    """The numbers of the candles that a folder's captures tell."""
    selection = await candles_of(folder, timeframe=M1)
    (recording,) = selection.recordings.values()
    return [(open_ms - OPEN_MS) // M1.ms for open_ms in recording.open_ms.tolist()]


async def test_frames_of_any_kind_are_read_as_they_came(tmp_path: Path) -> None:
    one = capture_to(tmp_path)
    connect(one)
    sent: list[str | bytes] = ["", "pong", "«½»\n\0", b"\xff\x00\n", bar(0)]
    for data in sent:
        one.put(URLS["binance"], data)
    one.flush()

    (path,) = files_of(tmp_path)
    read = [line["frame"] for line in lines(path) if "frame" in line]

    assert [frame.data for frame in read] == sent
    assert {frame.url for frame in read} == {URLS["binance"]}


async def test_what_was_captured_is_what_was_told_live(tmp_path: Path) -> None:
    names = [Instrument("simulated", symbol) for symbol in default_symbols(3)]
    about = {"exchange": "binance", "name": "simulated", "version": "test"}
    one = Capture(tmp_path, about=about, largest=MB, clock=ManualClock())
    live: list[Candle] = []
    async with SimulatedExchange(SyntheticMarket(default_symbols(3)), Play(speed=7200)) as server:
        exchange = CcxtExchange(
            "binance",
            name="simulated",
            rest_url=f"http://127.0.0.1:{server.port}",
            ws_url=f"ws://127.0.0.1:{server.port}",
            rate_limited=False,
            capture=one,
        )
        for _ in range(2):  # two connections
            async with aclosing(exchange.watch_candles(names, [H1])) as stream:
                async for candle in stream:
                    live += [candle] if candle.closed else []
                    if candle.closed and len(live) % 6 == 0:
                        break
        await exchange.close()
    one.flush()

    selection = await candles_of(tmp_path, timeframe=H1)

    last = {(one.instrument, one.open_ms): one for one in live}
    read = {
        (name, open_ms): tuple(values)
        for name, recording in selection.recordings.items()
        for open_ms, values in zip(
            recording.open_ms.tolist(), recording.values.tolist(), strict=True
        )
    }
    # Frames may have come after the last candle that was taken.
    assert {key: read[key] for key in last} == {
        key: (one.open, one.high, one.low, one.close, one.volume) for key, one in last.items()
    }
    assert selection.problems == ()


@pytest.mark.parametrize("exchange_id", ["bybit", "kraken", "okx"])
async def test_without_a_flag_nothing_closes_across_a_lost_connection(
    exchange_id: str, tmp_path: Path
) -> None:
    one = capture_to(tmp_path, exchange_id)
    for number in (0, 1, 5, 6):
        if number in {0, 5}:
            connect(one, exchange_id)
        one.put(URLS[exchange_id], unflagged(exchange_id, number))
    one.flush()

    assert await told(tmp_path) == [0, 5]  # 1 and 6 were forming when the connection ended


def unflagged(exchange_id: str, number: int) -> str:
    opened = OPEN_MS + number * M1.ms
    values: Any = ["100", "102", "99", "101", "10.5"]
    if exchange_id == "okx":
        data = [[str(opened), *values, "1050", "1050", "0"]]
        return json.dumps({"arg": {"channel": "candle1m", "instId": "BTC-USDT"}, "data": data})
    named = dict(zip(("open", "high", "low", "close", "volume"), values, strict=True))
    if exchange_id == "bybit":
        row = {"start": opened, "interval": "1", "confirm": False, "timestamp": opened, **named}
        return json.dumps({"topic": "kline.1.BTCUSDT", "data": [row], "type": "snapshot"})
    minute = f"2023-11-14T22:{14 + number}:00.000000000Z"
    row = {"symbol": SYMBOL, "interval": 1, "interval_begin": minute, **named}
    return json.dumps({"channel": "ohlc", "type": "update", "data": [row]})


async def test_a_connection_goes_on_over_rotated_files(tmp_path: Path) -> None:
    one = capture_to(tmp_path, "okx", longest_file=1)
    connect(one, "okx")
    for number in range(5):
        one.put(URLS["okx"], unflagged("okx", number))
        one.flush()

    assert len(files_of(tmp_path)) == 5
    assert await told(tmp_path) == [0, 1, 2, 3]


def test_the_oldest_files_go_when_all_are_too_large(tmp_path: Path) -> None:
    largest = 20_000
    one = capture_to(tmp_path, largest=largest)
    connect(one)
    for _ in range(40):
        one.put(URLS["binance"], os.urandom(1_500))
        one.flush()

    files = files_of(tmp_path)
    assert sum(path.stat().st_size for path in files) <= largest
    assert len(files) > 1
    first = [line for line in lines(files[0]) if "frame" not in line]
    assert [one.get("capture", one.get("goes_on")) for one in first] == [1, True]


async def test_more_frames_than_can_wait_are_counted_and_end_the_connection(
    tmp_path: Path,
) -> None:
    one = capture_to(tmp_path, "okx", waiting=2 * len(unflagged("okx", 0)))
    connect(one, "okx")
    for number in range(3):
        one.put(URLS["okx"], unflagged("okx", number))
    one.flush()
    for number in range(3, 5):
        one.put(URLS["okx"], unflagged("okx", number))
    one.flush()

    (path,) = files_of(tmp_path)
    assert [line["lost"] for line in lines(path) if "lost" in line] == [1]
    assert await told(tmp_path) == [0, 3]


WRITER = """
import sys
from pathlib import Path
from tests.integration.test_captured_frames import URLS, bar, capture_to, connect
one = capture_to(Path(sys.argv[1]))
connect(one)
for number in range(100_000):
    one.put(URLS["binance"], bar(number))
    if number % 50 == 49:
        one.flush()
        print(number + 1, flush=True)
"""


def test_a_kill_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root
    ) as writer:
        assert writer.stdout is not None
        flushed = [int(writer.stdout.readline()) for _ in range(4)][-1]
        writer.send_signal(signal.SIGKILL)

    numbers = asyncio.run(told(tmp_path))

    assert len(numbers) >= flushed
    assert numbers == list(range(len(numbers)))


def test_a_torn_file_is_read_up_to_the_tear(tmp_path: Path) -> None:
    one = capture_to(tmp_path)
    connect(one)
    one.flush()
    (path,) = files_of(tmp_path)
    sizes = []
    for number in range(3):
        one.put(URLS["binance"], bar(number))
        one.flush()
        sizes.append(path.stat().st_size)
    whole = path.read_bytes()

    for cut in range(0, len(whole) + 1, 7):
        path.write_bytes(whole[:cut])
        read = [line["frame"].data for line in lines(path) if "frame" in line]
        assert read == [bar(number) for number in range(3)][: len(read)]
        assert len(read) >= sum(size <= cut for size in sizes)


def test_no_secret_of_an_address_is_written(tmp_path: Path) -> None:
    one = capture_to(tmp_path)
    connect(one)
    one.put("wss://user:hunter2@example.org:9443/ws/1?listenKey=s3cret#t0ken", bar(0))
    one.flush()

    (path,) = files_of(tmp_path)
    text = repr(list(lines(path)))

    assert "wss://example.org:9443/ws/1" in text
    assert not any(secret in text for secret in ("user", "hunter2", "s3cret", "t0ken"))


async def test_what_is_not_in_the_captures_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFolderError, match="no capture"):
        await candles_of(tmp_path, timeframe=M1)
    one = capture_to(tmp_path)
    connect(one)
    one.put(URLS["binance"], bar(0, closed=False))
    one.flush()

    with pytest.raises(DataFolderError, match="no closed 1m candle"):
        await candles_of(tmp_path, timeframe=M1)
    with pytest.raises(UnknownTimeframeError, match="1m"):
        await candles_of(tmp_path, timeframe=H1)
    with pytest.raises(UnknownSymbolError, match="BTC/USDT"):
        await candles_of(tmp_path, symbols=["BTC/USD"], timeframe=M1)


def replayed(folder: Path, settings: Settings, report: Path) -> dict[str, Any]:
    plan = ReplayPlan(
        data=folder,
        captured=True,
        exchange=None,
        symbols=None,
        timeframe="1m",
        horizon=4,
        since=None,
        until=None,
        seed=7,
        report=report,
        out=None,
    )
    asyncio.run(run_replay(plan, settings))
    made: dict[str, Any] = orjson.loads(report.read_bytes())
    return {name: part for name, part in made.items() if name != "cost"}


def test_two_replays_of_a_capture_give_one_report_and_gaps_stay_gaps(
    tmp_path: Path, server_url: str
) -> None:
    one = capture_to(tmp_path / "captures")
    numbers: Sequence[int] = [n for n in range(200) if n not in {80, 81, 150}]
    connect(one)
    for number in numbers:
        one.put(URLS["binance"], bar(number, closed=False))
        one.put(URLS["binance"], "{torn")
        one.put(URLS["binance"], bar(number))
    one.flush()
    settings = Settings(
        state=tmp_path / "state",
        database_url=SecretStr(server_url),
        training=TrainingSettings(minimum_rows=10_000_000),
    )

    first = replayed(tmp_path / "captures", settings, tmp_path / "one.json")
    second = replayed(tmp_path / "captures", settings, tmp_path / "two.json")

    assert first == second
    assert (first["data"]["candles"], first["data"]["gaps"]) == (197, 3)
    assert first["data"]["rejected"] == {"rows": 197, "files": 0}


def test_captures_are_written_while_a_loop_runs(tmp_path: Path) -> None:
    async def run() -> list[int]:
        one = capture_to(tmp_path)
        writing = asyncio.create_task(one.run())
        await asyncio.sleep(0)
        connect(one)
        one.put(URLS["binance"], bar(0))
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        return await told(tmp_path)

    assert asyncio.run(run()) == [0]
