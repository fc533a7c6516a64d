"""What an operator says of instruments: orders for the running system, and what it answers."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from backend.orders import OrderRefusedError, orders_to
from backend.settings import Settings
from backend.symbols import named
from domain.errors import UsageError
from domain.market import rfc3339

PATH: Final = "/v1/instruments"
LOOK_EVERY_S: Final = 0.2
PATIENCE: Final = timedelta(minutes=10)  # a slow exchange's history

_EVER: Final = """
SELECT exchange, symbol, watched_from, watched_until, added, removed FROM instruments
WHERE watched_from IS NOT NULL ORDER BY exchange, symbol
"""

Row = dict[str, Any]  # of the answers


async def list_instruments(settings: Settings) -> None:
    """One line for each instrument that is or was watched."""
    from backend.upkeep import store_of  # noqa: PLC0415 - seconds, and only here

    async with store_of(settings) as store:
        rows = await store.readers.fetch(_EVER)
    for row in rows:
        until = row["watched_until"]
        span = f"since {rfc3339(row['watched_from'])}" + (
            f" until {rfc3339(until)}" if until else ""
        )
        name = f"{row['exchange']}:{row['symbol']:<16}"
        sys.stdout.write(f"{name} {_how(row):<8} {span}\n")


def _how(row: Mapping[str, Any]) -> str:
    if row["removed"]:
        return "removed"
    if row["watched_until"]:
        return "left"
    return "added" if row["added"] else "watched"


async def add_instrument(text: str, settings: Settings) -> None:
    """Have an instrument watched, and wait for its first prediction.

    Args:
        text: EXCHANGE:SYMBOL, or a symbol of every exchange that lists it.
        settings: name the state folder of the system.

    Raises:
        StateFolderError: no system runs.
        UsageError: the name cannot be, or nobody lists it.
        OrderRefusedError: the system cannot.
    """
    began = time.monotonic()
    async with orders_to(settings, PATH) as ask:
        rows = await ask("POST", json=_order(text))
        for row in rows:
            joins = "is watched already" if row["state"] == "watched" else "joins: history first"
            _say(f"{_name(row)} {joins}")
        joining = {_name(row) for row in rows if row["state"] == "joining"}
        async with asyncio.timeout(PATIENCE.total_seconds()):
            while joining:
                await asyncio.sleep(LOOK_EVERY_S)
                for row in await ask("GET"):
                    if _name(row) in joining and row["state"] != "joining":
                        _tell_end(row, time.monotonic() - began)
                        joining.remove(_name(row))


def _tell_end(row: Row, took: float) -> None:
    if row["state"] != "watched":
        raise OrderRefusedError(f"{_name(row)} could not join; /v1/status says why")
    _say(f"{_name(row)} is watched and predicted after {took:.1f} s")


async def remove_instrument(text: str, settings: Settings) -> None:
    """Have an instrument watched no more.

    Args:
        text: EXCHANGE:SYMBOL, or a symbol of every exchange on which it is watched.
        settings: name the state folder of the system.

    Raises:
        StateFolderError, UsageError, OrderRefusedError: as `add_instrument`.
    """
    async with orders_to(settings, PATH) as ask:
        for row in await ask("DELETE", params=_order(text)):
            _say(f"{_name(row)} left; its history stays")


def _order(text: str) -> dict[str, str]:
    exchange, symbol = named(text)
    if not symbol:
        raise UsageError(f"{text}: name an instrument as EXCHANGE:SYMBOL, like kraken:BTC/USD")
    return {"symbol": symbol} | ({"exchange": exchange} if exchange else {})


def _name(row: Row) -> str:
    return f"{row['exchange']}:{row['symbol']}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
