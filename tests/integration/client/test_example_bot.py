"""The bot of the examples against a real server: cut off, killed, and started again."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from backend.api.limits import Limits
from domain.market import to_ms
from tests.cutting_proxy import Cut, CuttingProxy, cutting
from tests.house import ROOT
from tests.keyed import keyed
from tests.processes import environment, until
from tests.served_market import TICKS, ServedMarket, signals

HOUR = timedelta(hours=1)


class Bot(NamedTuple):
    process: subprocess.Popen[str]

    async def order(self) -> tuple[str, str, str]:
        """The next order: what, which instrument, the close that it is about."""
        assert self.process.stdout is not None
        line = await asyncio.to_thread(self.process.stdout.readline)
        assert line, "it ended"
        return short(line)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def short(line: str) -> tuple[str, str, str]:
    order = json.loads(line)
    return order["action"], order["symbol"], order["id"].rpartition("/USDT:1h:4:")[2]


@contextmanager
def running(url: str, folder: Path, **more: str) -> Iterator[Bot]:
    """The example as its reader would start it, followed by the streams' heads being known."""
    command = [sys.executable, str(ROOT / "examples/bot.py"), "--url", url, "--folder", str(folder)]
    path = f"{ROOT}:{ROOT / 'client'}"
    process = subprocess.Popen(  # noqa: S603
        command,
        env=environment(**{"PYTHONPATH": path, **more}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Bot(process)
    finally:
        process.kill()
        process.communicate()


@asynccontextmanager
async def cut(market: ServedMarket, *frames: int) -> AsyncIterator[CuttingProxy]:
    async with cutting(
        int(urlsplit(market.url).port or 0), [Cut(each) for each in frames]
    ) as proxy:
        yield proxy


async def listening(folder: Path) -> None:
    kept = folder / "positions.json"
    await asyncio.to_thread(until, kept.exists, "the positions of the bot")


async def close(market: ServedMarket, number: int, **how: Any) -> None:
    """End the signal of a tick."""
    ended = to_ms(market.batches[number].as_of + HOUR)
    how = {"status": "take_profit", "closed_ms": ended, "exit_price": 103.0, **how}
    await tell(market, number, "closed", realized_return=0.019, **how)


async def tell(market: ServedMarket, number: int, event: str, **how: Any) -> None:
    """What became of the signal of a tick, once it was entered."""
    batch = market.batches[number]
    entered = {"status": "active", "entry_price": 101.0, "stop": 99.0, "take": 103.0}
    events = await market.recorder.commit_tick(
        [signals(batch, event=event, **entered | how)], published_at=batch.as_of + HOUR
    )
    market.state.hub.publish(events)


def spelt(market: ServedMarket, number: int) -> str:
    return market.batches[number].as_of.isoformat()


def given(folder: Path) -> list[tuple[str, str, str]]:
    return [short(line) for line in (folder / "orders.jsonl").read_text().splitlines()]


async def test_each_order_is_given_once_through_cuts_and_kills(
    market: ServedMarket, tmp_path: Path
) -> None:
    folder = tmp_path / "bot"
    first, second, third, fourth = range(TICKS, TICKS + 4)
    async with cut(market, 12, 9) as proxy:  # two connections are cut after so many frames
        with running(proxy.url, folder) as bot:
            await listening(folder)
            await market.tick(first)
            entered = await bot.order()
            bot.kill()

        # Nobody listens: one ends, one comes and ends, one comes and may still be entered.
        await close(market, first)
        await market.tick(second)
        await close(market, second, status="stop_loss")
        await market.tick(third)
        with (folder / "orders.jsonl").open("a") as file:
            file.write('{"id": "torn')

        with running(proxy.url, folder) as bot:
            meanwhile = [await bot.order(), await bot.order()]
            await market.tick(fourth)
            await tell(market, third, "updated")
            later = [await bot.order(), await bot.order()]
            await close(market, third)
            last = await bot.order()
        sockets = proxy.sockets

    assert entered == ("enter", "ETH/USDT", spelt(market, first))
    assert meanwhile == [
        ("exit", "ETH/USDT", spelt(market, first)),
        ("enter", "ETH/USDT", spelt(market, third)),
    ]
    assert later == [
        ("enter", "ETH/USDT", spelt(market, fourth)),
        ("protect", "ETH/USDT", spelt(market, third)),
    ]
    assert last == ("exit", "ETH/USDT", spelt(market, third))
    assert given(folder) == [entered, *meanwhile, *later, last]
    protected = json.loads((folder / "orders.jsonl").read_text().splitlines()[4])
    assert (protected["stop"], protected["take"]) == (99.0, 103.0)
    assert sockets > 2  # it was cut off, too


async def test_what_was_done_and_not_noted_is_not_done_again(
    market: ServedMarket, tmp_path: Path
) -> None:
    """A kill behind the work and before its position was saved: the signal is told again."""
    with running(market.url, tmp_path) as bot:
        await listening(tmp_path)
        before = (tmp_path / "positions.json").read_text()
        await market.tick(TICKS)
        await bot.order()
        bot.kill()
    (tmp_path / "positions.json").write_text(before)

    with running(market.url, tmp_path) as bot:
        await listening(tmp_path)
        await market.tick(TICKS + 1)
        order = await bot.order()

    assert order == ("enter", "ETH/USDT", spelt(market, TICKS + 1))


async def test_a_signal_that_was_edited_meanwhile_ends_the_bot_with_its_place(
    market: ServedMarket, tmp_path: Path
) -> None:
    with running(market.url, tmp_path) as bot:
        await listening(tmp_path)
        bot.kill()
    await market.tick(TICKS)
    await market.pool.execute(
        "UPDATE stream_blocks SET payloads = overlay(payloads PLACING '!' FROM ends[1] + 1)"
        " WHERE log = 'signals.1h.simulated' AND block = $1",
        TICKS + 1,
    )

    with running(market.url, tmp_path) as bot:
        _, said = await asyncio.to_thread(bot.process.communicate)

    place = f"stream signals.1h.simulated.ETH/USDT: offset {TICKS + 1}"
    assert bot.process.returncode == 1
    assert said == f"{place}: it was edited and is no row any more\n"


@pytest.mark.parametrize("held", [True, False])
async def test_the_key_comes_from_the_environment(
    market_url: str, tmp_path: Path, *, held: bool
) -> None:
    async with keyed(market_url, limits=Limits(auth_ms=100)) as doors:
        key = (await doors.key()).spelt()
        with running(
            doors.market.url, tmp_path, **({"ALPHAPULSE_KEY": key} if held else {})
        ) as bot:
            if held:
                await listening(tmp_path)
                return
            _, errors = await asyncio.to_thread(bot.process.communicate)

    assert bot.process.returncode == 1
    assert errors.splitlines() == ["the server ended the connection for good: 4401 unauthorized"]
