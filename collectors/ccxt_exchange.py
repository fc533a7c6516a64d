"""Any exchange that ccxt knows, behind the port `Exchange`."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from collectors import ccxt_binance
from collectors.budget import Budget
from collectors.buffers import CandleBuffer, TradeBuffer
from collectors.capture import Capture
from collectors.ccxt_errors import translated
from collectors.ccxt_frames import draw_on, refuse_gibberish, spelled, with_guard
from collectors.ccxt_import import exchange_class, moved
from collectors.ccxt_rows import candle_of
from collectors.ccxt_trades import TradeReader
from collectors.gaps import Range, ceil_ms, floor_ms, pages
from collectors.polling import is_streamed
from collectors.refusals import unknown
from collectors.unreadable import Unread, stumble
from domain.errors import UnknownTimeframeError, UsageError
from domain.events import Candle
from domain.market import Instrument, Listing, SeriesKey, Timeframe, from_ms, to_ms
from domain.trades import Trade, TradesTold

log = logging.getLogger(__name__)

TIMEOUT = timedelta(seconds=10)  # of a request, and of a connection's handshake
PAGE = 500  # candles of a request where ccxt does not know the exchange's limit
CLOSED = "the connection was closed"
STREAMS = 200  # of one Binance connection; it allows 1024
_DECIMAL_PLACES, _TICK_SIZE = 2, 4  # ccxt's modes of precision
_SMALLEST, _MOST_PLACES = 1e-30, 30  # of a size; decimal places on either side of the point


class CcxtExchange:
    """One exchange by ccxt's id; public data only.

    Args:
        exchange_id: ccxt's. `binance` means its spot markets, `binanceusdm` its perpetuals.
        name: On every row; the id unless it is given (`simulated`).
        rest_url, ws_url: Take the place of scheme and host in the exchange's addresses.
        rate_limited: Whether requests keep the exchange's pace by themselves.
        budget: That requests draw on, where they keep the pace.
        capture: Takes every frame before it is read.
        unread: Takes what cannot be read; one of its own unless it is given.

    Raises:
        UnknownExchangeError: ccxt does not have `exchange_id`.
    """

    kline_ids = ccxt_binance.IDS  # exchanges whose messages are taken before ccxt merges them

    def __init__(  # noqa: PLR0913 - what an operator may set, each by name
        self,
        exchange_id: str,
        *,
        name: str | None = None,
        rest_url: str | None = None,
        ws_url: str | None = None,
        rate_limited: bool = True,
        budget: Budget | None = None,
        capture: Capture | None = None,
        unread: Unread | None = None,
    ) -> None:
        self._klines = exchange_id in self.kline_ids
        self._id = name or exchange_id
        self._known_ms = 0  # the latest time that the exchange told
        self._watching = False
        self._hearing = False
        self._client: Any = self.client_class(exchange_id)(
            {
                "enableRateLimit": rate_limited,
                "timeout": round(TIMEOUT.total_seconds() * 1000),
                "options": {"fetchCurrencies": False},
            }
        )
        self.unread = self._client.unread = unread or Unread(self._id)
        self._trades = TradeReader(self._client)
        if budget is not None:
            draw_on(budget, self._client)
        self._capture = capture
        if capture is not None:
            self._client.on_frame = capture.put
        if exchange_id == "binance":
            self._client.options["fetchMarkets"] = {"types": ["spot"]}
        addresses = self._client.urls["api"]
        sockets = addresses.pop("ws", None) if isinstance(addresses, dict) else None
        if rest_url:
            addresses = self._client.urls["api"] = moved(addresses, rest_url)
        if sockets is not None:
            addresses["ws"] = moved(sockets, ws_url) if ws_url else sockets

    @property
    def id(self) -> str:
        return self._id

    def client_class(self, exchange_id: str) -> type[Any]:
        """What talks to the exchange: ccxt's class, and what it lacks."""
        cls = exchange_class(exchange_id)
        return with_guard(ccxt_binance.with_klines(cls) if self._klines else cls)

    async def listings(self, symbols: Sequence[str]) -> list[Listing]:
        await self._load(symbols)
        markets = [self._client.market(symbol) for symbol in symbols]
        for market in markets:
            if market.get("active") is False:
                log.warning(
                    "%s lists %s and does not trade it: delisted or halted",
                    self._id,
                    market["symbol"],
                )
        return [self._listing(market) for market in markets]

    async def fetch_candles(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> list[Candle]:
        await self._load([instrument.symbol], [timeframe])
        # Asked before the rows are: a row that is fetched later cannot be forming.
        last_ms = min(to_ms(until), floor_ms(await self._time_ms(to_ms(until)), timeframe))
        span = Range(ceil_ms(to_ms(since), timeframe), ceil_ms(last_ms, timeframe))
        with translated(self._client):
            size = self._client.feature_value(instrument.symbol, "fetchOHLCV", "limit", PAGE)
        candles: dict[int, Candle] = {}
        for page in pages(span, timeframe, size=size or PAGE):
            rows = await self._rows(instrument, timeframe, page)
            candles |= {candle.open_ms: candle for candle in rows}
        return [candles[open_ms] for open_ms in sorted(candles)]

    async def watch_candles(
        self, instruments: Sequence[Instrument], timeframes: Sequence[Timeframe]
    ) -> AsyncGenerator[Candle, None]:
        """As the port has it; one at a time.

        Where an exchange does not say that a candle is closed, it is closed once the next
        one has begun.
        """
        if self._watching:
            raise UsageError(f"{self._id} is watched already")
        self._watching = True
        buffer = CandleBuffer()
        try:
            await self._load([one.symbol for one in instruments], timeframes)
            series = [(one, timeframe) for timeframe in timeframes for one in instruments]
            if self._capture is not None:
                self._capture.watching(
                    [(one.symbol, timeframe.value) for one, timeframe in series],
                    [self._client.market(one.symbol) for one in instruments],
                )
            async with buffer.filled_by(self._streams(series, buffer), ended=CLOSED):
                while True:
                    for candle in buffer.take():
                        self._known_ms = max(self._known_ms, candle.event_ms)
                        yield candle
                    with translated(self._client):
                        await buffer.wait()
        finally:
            self._client.kline_put = None
            try:
                await self._client.close_ws_clients()
            finally:  # whoever listened may be cancelled while it ends
                self._client.ohlcvs.clear()  # a row that ccxt cannot sort would stay in it
                self._watching = False

    def fetches(self, timeframe: Timeframe) -> bool:
        known = timeframe.value in (self._client.timeframes or {})
        return known and bool(self._client.has.get("fetchOHLCV"))

    def streams(self, timeframe: Timeframe) -> bool:
        return is_streamed(self._client, timeframe)

    def flags_closes(self, timeframe: Timeframe) -> bool:
        del timeframe
        return self._klines

    async def fetch_trades(
        self, instrument: Instrument, *, since: datetime, until: datetime
    ) -> TradesTold:
        await self._load([instrument.symbol])
        return await self._trades.fetch(instrument, Range(to_ms(since), to_ms(until)))

    async def watch_trades(self, instruments: Sequence[Instrument]) -> AsyncGenerator[Trade, None]:
        """As the port has it; one at a time."""
        if self._hearing:
            raise UsageError(f"the trades of {self._id} are watched already")
        self._hearing = True
        buffer = TradeBuffer()
        try:
            await self._load([one.symbol for one in instruments])
            async with buffer.filled_by(self._trade_streams(instruments, buffer), ended=CLOSED):
                while True:
                    for trade in buffer.take():
                        yield trade
                    with translated(self._client):
                        await buffer.wait()
        finally:
            self._client.trade_put = None
            try:
                await self._client.close_ws_clients()
            finally:
                self._client.trades.clear()
                self._hearing = False

    async def fetch_time(self) -> datetime:
        with translated(self._client):
            if self._client.has.get("fetchTime"):
                return from_ms(await self._client.fetch_time())
        return from_ms(self._client.milliseconds())  # of an exchange that does not tell

    async def close(self) -> None:
        await self._client.close()

    async def _load(self, symbols: Sequence[str], timeframes: Sequence[Timeframe] = ()) -> None:
        with translated(self._client):
            markets = await self._client.load_markets()
        for symbol in symbols:
            if symbol not in markets:
                raise unknown(symbol, markets, self._id)
        known = [one.value for one in Timeframe if one.value in (self._client.timeframes or {})]
        for timeframe in timeframes:
            if timeframe not in known:
                raise UnknownTimeframeError(timeframe.value, known)

    async def _time_ms(self, wanted_ms: int) -> int:
        """The exchange's time, asked for only where `wanted_ms` is later than what is known."""
        if wanted_ms > self._known_ms:
            self._known_ms = max(self._known_ms, to_ms(await self.fetch_time()))
        return self._known_ms

    async def _rows(
        self, instrument: Instrument, timeframe: Timeframe, page: Range
    ) -> list[Candle]:
        with translated(self._client):
            rows = await self._client.fetch_ohlcv(
                instrument.symbol,
                timeframe.value,
                since=page.from_ms,
                limit=(page.to_ms - page.from_ms) // timeframe.ms,
                params={"until": page.to_ms - 1},
            )
            if not rows:
                refuse_gibberish(self._client)
            return [
                candle_of(instrument, timeframe, row, closed=True, confirmed=True)
                for row in rows
                if page.from_ms <= row[0] < page.to_ms
            ]

    def _streams(
        self, series: Sequence[SeriesKey], buffer: CandleBuffer
    ) -> list[Coroutine[Any, Any, None]]:
        """What to run so that candles of `series` come into `buffer`."""
        client = self._client
        if self._klines:
            client.kline_series = {
                (client.market(one.symbol)["id"], timeframe.value): (one, timeframe)
                for one, timeframe in series
            }
            client.kline_put = buffer.put
            starts = range(0, len(series), STREAMS)
            return [self._subscribe(series[start : start + STREAMS]) for start in starts]
        if not client.has.get("watchOHLCV"):
            raise UsageError(f"{self._id} streams no candles (as far as ccxt knows)")
        return [self._watch(*one, buffer) for one in series]

    async def _subscribe(self, series: Sequence[SeriesKey]) -> None:
        """Ends only by an error: `kline_put` takes the messages."""
        await self._client.watch_ohlcv_for_symbols([[one.symbol, tf.value] for one, tf in series])

    async def _watch(
        self, instrument: Instrument, timeframe: Timeframe, buffer: CandleBuffer
    ) -> None:
        last: Candle | None = None
        while True:
            for row in await self._told(instrument, timeframe):
                candle = self._forming(instrument, timeframe, row)
                if candle is None or (last is not None and candle.open_ms < last.open_ms):
                    continue
                if last is not None and candle.open_ms > last.open_ms:
                    buffer.put(replace(last, closed=True))
                buffer.put(candle)
                last = candle

    def _trade_streams(
        self, instruments: Sequence[Instrument], buffer: TradeBuffer
    ) -> list[Coroutine[Any, Any, None]]:
        """What to run so that trades of `instruments` come into `buffer`."""
        client = self._client
        if self._klines:
            client.trade_series = {client.market(one.symbol)["id"]: one for one in instruments}
            client.trade_put = buffer.put
            starts = range(0, len(instruments), STREAMS)
            return [self._hear(instruments[start : start + STREAMS]) for start in starts]
        if not client.has.get("watchTrades"):
            raise UsageError(f"{self._id} streams no trades (as far as ccxt knows)")
        return [self._watch_trades(one, buffer) for one in instruments]

    async def _hear(self, instruments: Sequence[Instrument]) -> None:
        """Ends only by an error: `trade_put` takes the messages."""
        symbols = [one.symbol for one in instruments]
        await self._client.watch_trades_for_symbols(symbols, params={"name": "aggTrade"})

    async def _watch_trades(self, instrument: Instrument, buffer: TradeBuffer) -> None:
        while True:
            with translated(self._client, frame=True):
                rows = list(await self._client.watch_trades(instrument.symbol))
            for trade in self._trades.read(instrument, rows):
                buffer.put(trade)

    async def _told(self, instrument: Instrument, timeframe: Timeframe) -> list[Any]:
        """The rows that ccxt hands on after a frame.

        Raises:
            ExchangeUnavailableError: among what it keeps is something that it cannot read.
        """
        with translated(self._client, frame=True):
            return list(await self._client.watch_ohlcv(instrument.symbol, timeframe.value))

    def _forming(
        self, instrument: Instrument, timeframe: Timeframe, row: Sequence[Any]
    ) -> Candle | None:
        """A row of the socket as a candle; one that cannot be read is set aside."""
        try:
            return candle_of(instrument, timeframe, row, closed=False, confirmed=False)
        except (TypeError, ValueError, LookupError, OverflowError) as error:
            self.unread.put(spelled(row), stumble(error))
            self._client.ohlcvs.get(instrument.symbol, {}).pop(timeframe.value, None)
            return None

    def _listing(self, market: dict[str, Any]) -> Listing:
        precision, limits = market["precision"], market["limits"]
        return Listing(
            instrument=Instrument(self._id, market["symbol"]),
            tick_size=self._step(precision.get("price")),
            lot_size=self._step(precision.get("amount")),
            min_notional=_size((limits.get("cost") or {}).get("min")),
        )

    def _step(self, precision: float | None) -> float | None:
        if precision is None:
            return None
        if self._client.precisionMode == _TICK_SIZE:
            return _size(precision)
        places = self._client.precisionMode == _DECIMAL_PLACES and abs(precision) <= _MOST_PLACES
        return 10.0**-precision if places else None


def _size(told: float | None) -> float | None:
    """A size that can be; None where none is told. 0 is told by exchanges that set none."""
    if told is None or not (told == 0 or _SMALLEST <= told <= 1 / _SMALLEST):
        return None
    return float(told)
