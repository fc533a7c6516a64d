"""A running system's instruments, as far as orders about them go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from domain.errors import ExchangeUnavailableError, UnknownSymbolError, UsageError
from domain.market import Instrument
from tests.doubles import START
from tests.factories import BTC

NEW = {"exchange": "simulated", "symbol": "NEW/USDT"}


@dataclass
class Membership:
    """A system that takes orders."""

    joining: dict[Instrument, datetime] = field(default_factory=dict)
    left: list[Instrument] = field(default_factory=list)

    def under_way(self) -> Mapping[Instrument, datetime]:
        return self.joining

    async def add(self, exchange: str | None, symbol: str) -> list[Instrument]:
        if symbol == "AWAY/USDT":
            raise ExchangeUnavailableError("it does not answer")
        if symbol not in (NEW["symbol"], BTC.symbol):
            raise UnknownSymbolError(symbol, [NEW["symbol"]])
        instruments = [Instrument(one, symbol) for one in _each(exchange)]
        self.joining |= {one: START for one in instruments if one != BTC}
        return instruments

    async def remove(self, exchange: str | None, symbol: str) -> list[Instrument]:
        if symbol != BTC.symbol:
            raise UsageError(f"{symbol} is the last instrument of {exchange}")
        self.left += [Instrument(one, symbol) for one in _each(exchange)]
        return self.left


def _each(exchange: str | None) -> list[str]:
    return [exchange] if exchange else ["simulated", "other"]
