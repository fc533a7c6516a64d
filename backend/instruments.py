"""What an operator says of instruments: orders for the running system, and what it answers."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import aiohttp

from backend.settings import Settings
from backend.store.state import Runtime, StateFolder
from backend.upkeep import store_of
from domain.errors import AlphaPulseError, StateFolderError, UsageError
from domain.market import Instrument, rfc3339

PATH: Final = "/v1/instruments"
ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a server may listen
LOOK_EVERY_S: Final = 0.2
PATIENCE: Final = timedelta(minutes=10)  # a slow exchange's history
MISTAKES: Final = range(400, 500)

_EVER: Final = """
SELECT exchange, symbol, watched_from, watched_until, added FROM instruments
WHERE watched_from IS NOT NULL ORDER BY exchange, symbol
"""


class OrderRefusedError(AlphaPulseError):
    """The running system cannot do what was asked."""


async def list_instruments(settings: Settings) -> None:
    """One line for each instrument that is or was watched."""
    async with store_of(settings) as store:
        rows = await store.readers.fetch(_EVER)
    for row in rows:
        until = row["watched_until"]
        span = f"since {rfc3339(row['watched_from'])}" + (
            f" until {rfc3339(until)}" if until else ""
        )
        how = "left" if until else "added" if row["added"] else "watched"
        sys.stdout.write(f"{row['exchange']}:{row['symbol']:<16} {how:<8} {span}\n")


async def add_instrument(text: str, settings: Settings) -> None:
    """Have an instrument watched, and wait for its first prediction.

    Raises:
        StateFolderError: no system runs.
        UsageError: the name cannot be, or nobody lists it.
        OrderRefusedError: the system cannot.
    """
    instrument, began = _named(text), time.monotonic()
    body = {"exchange": instrument.exchange, "symbol": instrument.symbol}
    async with _system(settings) as ask:
        (row,) = await ask("POST", json=body)
        if row["state"] == "watched":
            sys.stdout.write(f"{instrument} is watched already\n")
            return
        sys.stdout.write(f"{instrument} joins: history, then its rows\n")
        async with asyncio.timeout(PATIENCE.total_seconds()):
            while row["state"] == "joining":
                await asyncio.sleep(LOOK_EVERY_S)
                rows = await ask("GET")
                row = next(one for one in rows if body.items() <= one.items())
    if row["state"] != "watched":
        raise OrderRefusedError(f"{instrument} could not join; /v1/status says why")
    took = time.monotonic() - began
    sys.stdout.write(f"{instrument} is watched and predicted after {took:.1f} s\n")


async def remove_instrument(text: str, settings: Settings) -> None:
    """Have an instrument watched no more.

    Raises:
        StateFolderError, UsageError, OrderRefusedError: as `add_instrument`.
    """
    instrument = _named(text)
    named = {"exchange": instrument.exchange, "symbol": instrument.symbol}
    async with _system(settings) as ask:
        await ask("DELETE", params=named)
    sys.stdout.write(f"{instrument} left; its history stays\n")


def _named(text: str) -> Instrument:
    exchange, _, symbol = text.partition(":")
    if not exchange or not symbol:
        raise UsageError(f"{text}: name an instrument as EXCHANGE:SYMBOL, like kraken:BTC/USD")
    return Instrument(exchange, symbol)


@asynccontextmanager
async def _system(settings: Settings) -> AsyncIterator[Any]:
    runtime = StateFolder(settings.state).attach()
    if runtime is None:
        raise StateFolderError(f"no system runs on the state folder {settings.state}")
    async with aiohttp.ClientSession() as session:

        async def ask(method: str, **more: Any) -> Any:  # noqa: ANN401 - JSON
            try:
                async with session.request(method, _address(runtime), **more) as response:
                    answer = await response.json(content_type=None)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise OrderRefusedError(f"the system does not answer: {error}") from error
            if response.ok:
                return answer["data"]
            mistake = response.status in MISTAKES
            raise (UsageError if mistake else OrderRefusedError)(answer["detail"])

        yield ask


def _address(runtime: Runtime) -> str:
    host = ANYWHERE.get(runtime.api_host, runtime.api_host)
    return f"http://{f'[{host}]' if ':' in host else host}:{runtime.api_port}{PATH}"
