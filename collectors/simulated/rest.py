"""REST answers under `/api/v3`, with Binance's parameters, limits and error codes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from collectors.simulated import dialect
from collectors.simulated.book import Book
from collectors.simulated.trades import first
from domain.market import Timeframe

MAX_KLINES = 1000
MAX_TRADES = 1000
_DEFAULT_KLINES = 500
_DEFAULT_TRADES = 500
_RETRY_AFTER_S = {418: 2, 429: 1}
_BODIES = {
    200: "<html><body>Just a moment</body></html>",
    418: dialect.TOO_MANY,
    429: dialect.TOO_MANY,
    503: dialect.UNAVAILABLE,
}
_FOREVER = 2**53  # ms; later than any candle

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refusal(Exception):  # noqa: N818 - Binance's answer, not a failure of ours
    """A request that is answered with an error body."""

    def __init__(self, body: dialect.Json) -> None:
        super().__init__(body["msg"])
        self.body = body


class Rest:
    """Handlers of the REST paths."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def routes(self) -> list[web.RouteDef]:
        paths = {
            "ping": self.ping,
            "time": self.time,
            "exchangeInfo": self.exchange_info,
            "klines": self.klines,
            "aggTrades": self.agg_trades,
        }
        return [web.get(f"/api/v3/{name}", handler) for name, handler in paths.items()]

    async def ping(self, _request: web.Request) -> web.Response:
        return answer({})

    async def time(self, _request: web.Request) -> web.Response:
        return answer({"serverTime": self._book.told_ms()})

    async def exchange_info(self, request: web.Request) -> web.Response:
        book = self._book
        asked = _asked_symbols(request)
        columns = [self._column_of(one) for one in asked] or list(range(len(book.ids)))
        symbols = [book.symbols[column] for column in columns]
        decimals = book.tape.market.decimals[columns]
        return answer(dialect.exchange_info(symbols, decimals, book.told_ms()))

    async def klines(self, request: web.Request) -> web.Response:
        column = self._column(request)
        timeframe = self._timeframe(request)
        limit = min(max(1, _integer(request, "limit", _DEFAULT_KLINES)), MAX_KLINES)
        first_ms = _integer(request, "startTime", -1)
        opens, rows = self._book.klines(
            column,
            timeframe,
            first_ms=None if first_ms < 0 else first_ms,
            last_ms=_integer(request, "endTime", _FOREVER),
            limit=limit,
        )
        return answer(dialect.klines(opens, rows, timeframe))

    async def agg_trades(self, request: web.Request) -> web.Response:
        """The oldest from `fromId` or `startTime` on, else the newest."""
        column, trades = self._column(request), self._book.trades
        limit = min(max(1, _integer(request, "limit", _DEFAULT_TRADES)), MAX_TRADES)
        end_ms = min(_integer(request, "endTime", _FOREVER), self._book.now_ms()) + 1
        if "fromId" in request.query:
            found = first(trades.since(column, _integer(request, "fromId", 0), end_ms), limit)
        elif "startTime" in request.query:
            since_ms = _integer(request, "startTime", 0)
            found = first(trades.between(column, since_ms, end_ms), limit)
        else:
            found = trades.newest(column, end_ms, limit)
        return answer([dialect.agg_trade(trade) for trade in found])

    def _column(self, request: web.Request) -> int:
        return self._column_of(request.query.get("symbol", ""))

    def _column_of(self, symbol_id: str) -> int:
        if not symbol_id:
            raise Refusal(dialect.missing_parameter("symbol"))
        if symbol_id not in self._book.columns:
            raise Refusal(dialect.UNKNOWN_SYMBOL)
        return self._book.columns[symbol_id]

    def _timeframe(self, request: web.Request) -> Timeframe:
        text = request.query.get("interval", "")
        if not text:
            raise Refusal(dialect.missing_parameter("interval"))
        if text not in self._book.tape.timeframes:
            raise Refusal(dialect.UNKNOWN_INTERVAL)
        return Timeframe(text)

    @web.middleware
    async def refusals(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Binance's error bodies, and the statuses that were commanded."""
        if not request.path.startswith("/api/"):
            return await handler(request)
        status = self._book.faults.of_request(request.query.get("symbol"))
        if status is not None:
            return _spoilt(status)
        try:
            return await handler(request)
        except Refusal as refusal:
            return answer(refusal.body, status=400)


def answer(
    body: Any,  # noqa: ANN401 - whatever JSON has
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, headers=headers, content_type="application/json"
    )


def _spoilt(status: int) -> web.Response:
    """What a request is answered with that a fault befell."""
    body, wait = _BODIES[status], _RETRY_AFTER_S.get(status)
    if isinstance(body, str):
        return web.Response(text=body, status=status, content_type="text/html")
    return answer(body, status=status, headers=None if wait is None else {"Retry-After": str(wait)})


def _integer(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise Refusal(dialect.missing_parameter(name)) from None


def _asked_symbols(request: web.Request) -> list[str]:
    if "symbol" in request.query:
        return [request.query["symbol"]]
    try:
        symbols = orjson.loads(request.query.get("symbols", "[]"))
    except orjson.JSONDecodeError:
        raise Refusal(dialect.missing_parameter("symbols")) from None
    return [str(one) for one in symbols] if isinstance(symbols, list) else []
