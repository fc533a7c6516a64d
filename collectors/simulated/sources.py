"""Sources of the synthetic market: an index, a feed, and perpetuals in Binance's way."""

from __future__ import annotations

from email.utils import formatdate
from html import escape

import numpy as np
from aiohttp import web

from collectors.simulated.book import Book
from collectors.simulated.dialect import market_id
from collectors.simulated.press import ARTICLE_MS, DAY_MS, HOUR_MS, Press
from collectors.simulated.rest import answer
from domain.events import Ints

FEED = 20  # articles that it shows
RATIOS = 30  # hours of the long/short ratio that are told


class Sources:
    """Handlers of the paths."""

    def __init__(self, book: Book, press: Press) -> None:
        self._book = book
        self._press = press
        self._symbols = {market_id(symbol): symbol for symbol in book.symbols}

    def routes(self) -> list[web.RouteDef]:
        paths = {
            "/fng/": self.fear_greed,
            "/news/feed": self.feed,
            "/fapi/v1/exchangeInfo": self.perpetuals,
            "/fapi/v1/premiumIndex": self.premium,
            "/fapi/v1/openInterest": self.open_interest,
            "/futures/data/globalLongShortAccountRatio": self.long_short_ratio,
        }
        return [web.get(path, handler) for path, handler in paths.items()]

    async def fear_greed(self, request: web.Request) -> web.Response:
        """In the words of alternative.me; newest first."""
        now = self._book.clock.now_ms()
        days = _newest(now, DAY_MS, int(request.query.get("limit", "1")))
        told = zip(self._press.fear_greed(days).tolist(), days.tolist(), strict=True)
        data = [{"value": f"{value:.0f}", "timestamp": str(day // 1000)} for value, day in told]
        return answer({"name": "Synthetic index", "data": data, "metadata": {"error": None}})

    async def feed(self, _request: web.Request) -> web.Response:
        """RSS 2.0."""
        now = self._book.clock.now_ms()
        articles = self._press.articles(now - FEED * ARTICLE_MS, now)
        items = "".join(
            f"<item><title>{escape(one.title)}</title><guid>{one.identity}</guid>"
            f"<link>{one.url}</link>"
            f"<description>{escape(one.summary)}</description>"
            f"<pubDate>{formatdate(one.published_ms / 1000)}</pubDate></item>"
            for one in reversed(articles)
        )
        head = '<?xml version="1.0"?><rss version="2.0"><channel><title>Synthetic news</title>'
        return web.Response(text=f"{head}{items}</channel></rss>", content_type="text/xml")

    async def perpetuals(self, _request: web.Request) -> web.Response:
        listed = [_perpetual(one, symbol) for one, symbol in self._symbols.items()]
        return answer({"timezone": "UTC", "serverTime": self._book.told_ms(), "symbols": listed})

    async def premium(self, _request: web.Request) -> web.Response:
        now = np.array([self._book.clock.now_ms()])
        rates = {
            one: self._press.funding_rate(symbol, now)[0] for one, symbol in self._symbols.items()
        }
        return answer(
            [
                {"symbol": one, "lastFundingRate": f"{rate:.8f}", "time": int(now[0])}
                for one, rate in rates.items()
            ]
        )

    async def open_interest(self, request: web.Request) -> web.Response:
        now = np.array([self._book.clock.now_ms()])
        value = self._press.open_interest(self._symbol(request), now)[0]
        told = {"symbol": request.query["symbol"], "openInterest": f"{value:.3f}"}
        return answer({**told, "time": int(now[0])})

    async def long_short_ratio(self, request: web.Request) -> web.Response:
        """Hours, oldest first."""
        limit = min(int(request.query.get("limit", str(RATIOS))), RATIOS)
        hours = _newest(self._book.clock.now_ms(), HOUR_MS, limit)[::-1]
        values = self._press.long_short_ratio(self._symbol(request), hours)
        told = zip(values.tolist(), hours.tolist(), strict=True)
        symbol = request.query["symbol"]
        return answer(
            [
                {"symbol": symbol, "longShortRatio": f"{value:.4f}", "timestamp": hour}
                for value, hour in told
            ]
        )

    def _symbol(self, request: web.Request) -> str:
        symbol = self._symbols.get(request.query.get("symbol", ""))
        if symbol is None:
            raise web.HTTPBadRequest(text='{"code":-1121,"msg":"Invalid symbol."}')
        return symbol


def _newest(now_ms: int, step_ms: int, count: int) -> Ints:
    """The last `count` whole steps that have begun, the newest first."""
    return (now_ms // step_ms - np.arange(count)) * step_ms


def _perpetual(symbol_id: str, symbol: str) -> dict[str, object]:
    base, _, quote = symbol.partition("/")
    return {
        "symbol": symbol_id,
        "pair": symbol_id,
        "contractType": "PERPETUAL",
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": quote,
        "marginAsset": quote,
        "pricePrecision": 8,
        "quantityPrecision": 3,
        "filters": [],
    }
