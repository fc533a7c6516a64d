"""What an exchange allows who loads its history, as ccxt describes it; nothing is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from collectors.backfill import PAGE
from collectors.ccxt_exchange import PAGE as UNKNOWN_PAGE
from collectors.ccxt_import import ccxt_module, exchange_class
from collectors.polling import is_streamed
from domain.errors import UnknownTimeframeError
from domain.market import Timeframe

# Candles of a series that can be had at all, where that is not all of them; ccxt does not know.
# Kraken, Get OHLC Data: up to 720 of the most recent entries, older ones cannot be retrieved.
# Gate: «Maximum 10000 points ago are allowed». Hyperliquid, candleSnapshot: the newest 5000.
NEWEST: Final = {"kraken": 720, "gate": 10_000, "gateio": 10_000, "hyperliquid": 5_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Requests for candles of one exchange."""

    page: int  # candles that one request brings
    cost: timedelta  # until the next request may be sent
    newest: int | None  # candles that can be had; None: all
    polled: tuple[Timeframe, ...] = ()  # of those asked about, what has to be asked for at a close

    def bars(self, wanted: int) -> int:
        """How many of the last `wanted` candles it serves."""
        return wanted if self.newest is None else min(wanted, self.newest)

    def requests(self, bars: int) -> int:
        """How many a backfill of `bars` candles of one series makes.

        >>> Allowance(page=720, cost=timedelta(seconds=1), newest=720).requests(2_000)
        4
        """
        sizes = [min(PAGE, bars - start) for start in range(0, bars, PAGE)]
        return sum(-(-size // self.page) for size in sizes)


class _NotSentError(Exception):
    """Ends a request at the point at which ccxt would send it."""


async def allowance(
    exchange_id: str, symbol: str, timeframes: Sequence[Timeframe] = ()
) -> Allowance:
    """What ccxt describes for candles of `symbol`, which need not exist.

    Raises:
        UnknownExchangeError: ccxt does not have `exchange_id`.
        UnknownTimeframeError: one that the exchange does not serve.
    """
    client: Any = exchange_class(exchange_id)({"enableRateLimit": True})
    known = [one.value for one in Timeframe if one.value in (client.timeframes or {})]
    for timeframe in timeframes:
        if timeframe not in known:
            raise UnknownTimeframeError(timeframe.value, known)
    client.set_markets([_market(client, symbol)])
    page = UNKNOWN_PAGE
    with suppress(ccxt_module("base.errors").BadSymbol):  # a spot pair, of an exchange of futures
        page = client.feature_value(symbol, "fetchOHLCV", "limit", page) or page
    costs: list[float] = []

    async def throttle(cost: float | None = None) -> None:
        costs.append(1.0 if cost is None else cost)
        raise _NotSentError

    client.throttle = throttle
    since, until = 10**12, 10**12 + page * Timeframe.H1.ms - 1
    with suppress(Exception):  # one that comes before the cost is told: of a made-up market
        await client.fetch_ohlcv(symbol, "1h", since=since, limit=page, params={"until": until})
    await client.close()
    shares = costs[0] if costs else 1.0
    return Allowance(
        page=page,
        cost=timedelta(milliseconds=client.rateLimit * shares),
        newest=NEWEST.get(exchange_id),
        polled=tuple(one for one in timeframes if not is_streamed(client, one)),
    )


def _market(client: Any, symbol: str) -> dict[str, Any]:  # noqa: ANN401 - ccxt has no types
    """A market as ccxt has it, made of its symbol."""
    base, _, rest = symbol.partition("/")
    quote, swaps, settle = rest.partition(":")
    market: dict[str, Any] = client.safe_market_structure(
        {
            "id": base + quote,
            "symbol": symbol,
            "base": base,
            "quote": quote,
            "settle": settle or None,
            "baseId": base,
            "quoteId": quote,
            "type": "swap" if swaps else "spot",
            "spot": not swaps,
            "swap": bool(swaps),
            "contract": bool(swaps),
            "linear": (settle == quote) if swaps else None,
            "inverse": (settle == base) if swaps else None,
            "active": True,
        }
    )
    return market
