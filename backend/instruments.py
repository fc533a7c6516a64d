"""What an operator says of instruments: orders for the running system, and what it answers."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from backend.settings import Settings
from backend.store.system_status import SYSTEM, collectors_voice, hear
from backend.symbols import named
from domain.errors import UsageError
from domain.market import rfc3339

if TYPE_CHECKING:
    from backend.commands import Desk

LOOK_EVERY_S: Final = 0.2
ANSWERED_WITHIN_S: Final = 10.0  # a process that is there takes it within one
PATIENCE: Final = timedelta(minutes=10)  # a slow exchange's history

_EVER: Final = """
SELECT exchange, symbol, watched_from, watched_until, added, removed FROM instruments
WHERE watched_from IS NOT NULL ORDER BY exchange, symbol
"""

_LEFT: Final = """
SELECT watched_until IS NOT NULL FROM instruments WHERE (exchange, symbol) = ($1, $2)
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
        return "waiting" if row["added"] else "left"
    return "added" if row["added"] else "watched"


async def add_instrument(text: str, settings: Settings) -> None:
    """Have an instrument watched, and wait for its first prediction.

    Args:
        text: EXCHANGE:SYMBOL, or a symbol of every exchange that lists it.
        settings: name the system.

    Raises:
        StateFolderError: no system runs.
        UsageError: the name cannot be, or nobody lists it.
        OrderRefusedError: the system cannot.
    """
    from backend.commands import ordering  # noqa: PLC0415 - seconds, and only here

    began, request = time.monotonic(), _order(text)
    async with ordering(settings) as desk:
        rows = await _done(desk, "add", request)
        for row in rows:
            joins = "is watched already" if row["state"] == "watched" else "joins: history first"
            _say(f"{_name(row)} {joins}")
        joining = {_name(row): row for row in rows if row["state"] == "joining"}
        async with asyncio.timeout(PATIENCE.total_seconds()):
            while joining:
                await asyncio.sleep(LOOK_EVERY_S)
                for name in [one for one in joining if await _joined(desk, joining[one])]:
                    _say(f"{name} is watched and predicted after {time.monotonic() - began:.1f} s")
                    del joining[name]


async def _joined(desk: Desk, row: Row) -> bool:
    """As `_ended`, however long the database is away."""
    from backend.clock import SystemClock  # noqa: PLC0415 - as above
    from backend.store.database import patiently  # noqa: PLC0415

    return await patiently(partial(_ended, desk, row), SystemClock())


async def _ended(desk: Desk, row: Row) -> bool:
    """Whether an instrument has joined: then whoever collects it says so.

    Raises:
        OrderRefusedError: it could not.
    """
    from backend.commands import OrderRefusedError  # noqa: PLC0415 - as above

    name, collecting = [row["exchange"], row["symbol"]], collectors_voice(row["exchange"])
    for one in await hear(desk.store.readers):
        if one.system in {SYSTEM, collecting} and name in one.told["instruments"]:
            return True
    if await desk.store.readers.fetchval(_LEFT, *name):
        raise OrderRefusedError(f"{_name(row)} could not join; /v1/status says why")
    return False


async def _done(desk: Desk, kind: str, request: Row) -> list[Row]:
    """What became of an order at each exchange; of those that are away a line."""
    asked = await desk.order(kind, request)
    parts = await desk.parts(asked, within_s=ANSWERED_WITHIN_S)
    for part in parts:
        if not part.ended:
            _say(
                f"{part.owner} has not taken it yet, and does when it comes: `alphapulse jobs show"
                f" {asked.row['id']}` tells"
            )
    return [row for part in parts for row in part.result or ()]


async def remove_instrument(text: str, settings: Settings) -> None:
    """Have an instrument watched no more.

    Args:
        text: EXCHANGE:SYMBOL, or a symbol of every exchange on which it is watched.
        settings: name the system.

    Raises:
        StateFolderError, UsageError, OrderRefusedError: as `add_instrument`.
    """
    from backend.commands import ordering  # noqa: PLC0415 - seconds, and only here

    request = _order(text)
    async with ordering(settings) as desk:
        for row in await _done(desk, "remove", request):
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
