"""A bot that follows signals: one line for each order that it would give, and each order once.

    pip install ./client
    python examples/bot.py --url http://127.0.0.1:8000 --timeframe 1h --folder bot

It gives no orders: `Orders.place` is where yours would. The folder has how far it came
(`positions.json`) and what it did (`orders.jsonl`). It may lose its connection, be killed at any
moment and be started again: what was told meanwhile is told then, and nothing is done twice. A key,
where the server wants one, is taken from ALPHAPULSE_KEY.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path

from alphapulse_client import Client, ClientError, FilePositions, Signal


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be done.

    Attributes:
        id: the same each time that the same is told; an exchange knows a repetition by it.
        action: `enter` at the next open, `protect` what was entered, or `exit`.
        size: of an entry, the share of the capital.
        stop, take: of a protection, the prices at which to leave; they follow from that of entry.
        why: of an exit, how the signal ended.
    """

    id: str
    action: str
    exchange: str
    symbol: str
    side: str
    size: float | None = None
    stop: float | None = None
    take: float | None = None
    why: str | None = None


class Orders:
    """The orders that were given, in a file that outlives the bot."""

    def __init__(self, path: Path) -> None:
        kept = path.read_bytes() if path.exists() else b""
        whole = kept[: kept.rfind(b"\n") + 1]  # a kill may have torn the last line
        self._ids = {json.loads(line)["id"] for line in whole.splitlines()}
        self._file = path.open("ab")
        self._file.truncate(len(whole))

    def __contains__(self, order_id: str) -> bool:
        return order_id in self._ids

    def place(self, order: Order) -> None:
        """Give an order, unless it was given: this is where an exchange would be asked.

        A signal is told at least once. A kill between an order and its line here has it given
        again, with the same `id`; send that as the exchange's client order id.
        """
        if order.id in self._ids:
            return
        line = json.dumps(asdict(order))
        self._file.write(f"{line}\n".encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._ids.add(order.id)
        print(line, flush=True)


async def order_of(client: Client, signal: Signal, orders: Orders) -> Order | None:
    """What a signal asks for now; None where there is nothing to do."""
    if signal.side == "flat":
        return None
    told, entry = signal.update.event, order_for(signal, "enter")
    if told == "opened":
        enters = await may_be_entered(client, signal)
        size = signal.size_fraction  # 0: nothing is staked on it
        return replace(entry, size=size) if enters and size else None
    if entry.id not in orders:
        return None
    if told == "closed":
        return replace(order_for(signal, "exit"), why=signal.status)
    return replace(order_for(signal, "protect"), stop=signal.stop, take=signal.take)


def order_for(signal: Signal, action: str) -> Order:
    """An order that says whom it is for, and nothing else."""
    of = f"{signal.exchange}:{signal.symbol}:{signal.timeframe}:{signal.horizon}"
    return Order(
        id=f"{action}:{of}:{signal.as_of.isoformat()}",
        action=action,
        exchange=signal.exchange,
        symbol=signal.symbol,
        side=signal.side,
    )


async def may_be_entered(client: Client, signal: Signal) -> bool:
    """Whether its entry is still ahead: what was told while nobody listened may be over."""
    if not signal.update.replay:
        return True
    now = client.rows(
        "signals",
        exchange=signal.exchange,
        symbol=signal.symbol,
        timeframe=signal.timeframe,
        horizon=signal.horizon,
        start=signal.as_of,
        end=signal.as_of + timedelta(milliseconds=1),
    )
    return "pending" in [row.status async for row in now]


async def follow(url: str, key: str | None, timeframe: str, folder: Path) -> None:
    """Work on each signal, for ever; begins with those of the future."""
    orders = Orders(folder / "orders.jsonl")
    positions = FilePositions(folder / "positions.json")
    async with Client(url, key) as client:
        async for signal in client.signals(timeframe, positions=positions):
            order = await order_of(client, signal, orders)
            if order is not None:
                orders.place(order)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Follow signals, and print the orders they ask for."
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--timeframe", default="1h")
    parser.add_argument("--folder", type=Path, default=Path("bot"))
    told = parser.parse_args()
    told.folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with suppress(KeyboardInterrupt):
        try:
            asyncio.run(
                follow(told.url, os.environ.get("ALPHAPULSE_KEY"), told.timeframe, told.folder)
            )
        except ClientError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
