"""A served market whose callers need keys, and keys for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import orjson
import websockets
from websockets.asyncio.client import ClientConnection

from backend.api.access import Access, AccessRules
from backend.api.limits import Limits
from backend.store.keys import KeyStore, Terms
from domain.keys import ApiKey, KeyScope
from tests.doubles import START, ManualClock
from tests.served_market import ServedMarket, serving


@dataclass(slots=True)
class Wall:
    """The machine's clock, and seconds of one that nobody sets: a test moves both."""

    clock: ManualClock
    passed: float = 0.0

    def now(self) -> float:
        return self.passed

    def advance(self, duration: timedelta) -> None:
        self.clock.advance(duration)
        self.passed += duration.total_seconds()


@dataclass(slots=True)
class KeyedMarket:
    """The market, the wall's time, and who may call."""

    market: ServedMarket
    wall: Wall
    keys: KeyStore

    async def key(self, **terms: Any) -> ApiKey:
        """Make a key as `alphapulse keys create` does."""
        key = ApiKey.fresh()
        await self.enter(key, **terms)
        return key

    async def enter(self, key: ApiKey, **terms: Any) -> None:
        """Enter a key; what is not said of it allows the most, orders excepted."""
        of: dict[str, Any] = {
            "name": "test",
            "scopes": (KeyScope.READ, KeyScope.STREAM),
            "instruments": None,
            "quota": 10_000,
            "connections": 10,
            "expires_at": None,
            **terms,
        }
        of["scopes"] = frozenset(of["scopes"])
        await self.keys.create(key, Terms(**of), at=self.wall.clock.now())

    def client(self, key: ApiKey | None = None, **headers: str) -> httpx.AsyncClient:
        shown = {"Authorization": f"Bearer {key.spelt()}"} if key else {}
        return self.market.client(**shown, **headers)


async def turned_away(socket: ClientConnection) -> tuple[int | None, str | None]:
    """The code and reason with which the server ends a connection, to which it says nothing."""
    with contextlib.suppress(websockets.ConnectionClosed):
        frame = await asyncio.wait_for(socket.recv(), 60)
        raise AssertionError(f"something was said: {frame!r}")
    return socket.close_code, orjson.loads(socket.close_reason or "{}").get("code")


@asynccontextmanager
async def keyed(
    database_url: str, *, limits: Limits | None = None, **rules: Any
) -> AsyncIterator[KeyedMarket]:
    """Serve a recorded market to callers with keys."""
    wall = Wall(ManualClock(START))
    given = AccessRules(**{"require_keys": True, **rules})
    access = Access(given, wall=wall.clock, now=wall.now)
    async with serving(database_url, ManualClock(), limits=limits, access=access) as market:
        yield KeyedMarket(market, wall, KeyStore(market.pool, market.pool))
