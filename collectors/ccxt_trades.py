"""Trades as ccxt tells them, and those of a span from REST, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collectors import ccxt_binance
from collectors.ccxt_errors import translated
from collectors.ccxt_frames import refuse_gibberish, spelled
from collectors.ccxt_rows import moment, number
from collectors.gaps import Range
from collectors.trades import impossible
from collectors.unreadable import stumble
from domain.market import Instrument
from domain.trades import Side, Trade, TradesTold

PAGE = 1000  # trades of a request
LONGEST_ID = 256  # characters; those of exchanges have up to 36
WINDOW_MS = 3_600_000  # the longest that Binance's futures search for trades by time
# Whose REST tells trades from any moment on; others tell the newest, whatever is asked for.
REACHES_BACK = ccxt_binance.IDS | {"kraken", "bitfinex", "bitstamp", "gemini"}


def trade_of(instrument: Instrument, row: dict[str, Any], size: float, *, numbered: bool) -> Trade:
    """A copy of ccxt's row, which ccxt changes later.

    Args:
        instrument: Whose trade it is.
        row: ccxt's.
        size: Base currency of one unit of its amount.
        numbered: Whether the exchange numbers an instrument's trades without a gap.

    Raises:
        TypeError, ValueError, LookupError: it cannot be read, or cannot be.
    """
    trade_id = row["id"]
    if not isinstance(trade_id, str) or not trade_id:
        raise ValueError("a trade without an id could not be told from its repetition")
    if len(trade_id) > LONGEST_ID:
        raise ValueError(f"an id of {len(trade_id)} characters")
    side = row.get("side")
    trade = Trade(
        instrument=instrument,
        trade_id=trade_id,
        time_ms=moment(row["timestamp"]),
        price=number(row["price"]),
        amount=number(row["amount"]) * size,
        side=None if side is None else Side(side),
        number=int(trade_id) if numbered else None,
    )
    reason = impossible(trade)
    if reason is not None:
        raise ValueError(reason)
    return trade


class TradeReader:
    """Reads one exchange's trades through ccxt's `client`; what cannot be read is set aside."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - ccxt has no types
        self._client = client
        self._numbered = client.id in ccxt_binance.IDS

    async def fetch(self, instrument: Instrument, span: Range) -> TradesTold:
        """The trades with from ≤ time < to, and the part of that span in which none is missing.

        Raises:
            RateLimitedError: wait `retry_after`.
            ExchangeUnavailableError: no answer.
        """
        found: dict[str, Trade] = {}
        last: Trade | None = None
        start_ms, end_ms = span
        while start_ms < end_ms:
            page = await self._page(instrument, start_ms, last)
            fresh = [one for one in page if one.trade_id not in found]
            found |= {one.trade_id: one for one in fresh}
            if fresh:
                last = fresh[-1]
                start_ms = max(start_ms, last.time_ms)
            elif last is None and self._numbered:
                start_ms += WINDOW_MS  # nobody traded
            else:
                # A page full of one moment's trades hides those that follow.
                end_ms = start_ms if len(page) >= PAGE else end_ms
                break
        first_ms = span.from_ms
        if self._client.id not in REACHES_BACK:
            oldest_ms = min((one.time_ms for one in found.values()), default=end_ms)
            first_ms = max(first_ms, min(oldest_ms + 1, end_ms))
        within = (one for one in found.values() if first_ms <= one.time_ms < end_ms)
        return TradesTold(trades=tuple(within), from_ms=first_ms, to_ms=end_ms)

    def read(self, instrument: Instrument, rows: Sequence[dict[str, Any]]) -> list[Trade]:
        """The rows as trades, less those that cannot be read."""
        size = self._size(instrument)
        trades = []
        for row in rows:
            try:
                trades.append(trade_of(instrument, row, size, numbered=self._numbered))
            except (TypeError, ValueError, LookupError, OverflowError) as error:
                self._client.unread.put(spelled(row), stumble(error))
        return trades

    async def _page(self, instrument: Instrument, start_ms: int, last: Trade | None) -> list[Trade]:
        """What follows `last`, where trades are numbered, else what is told from a time on."""
        since: int | None = start_ms
        more: dict[str, Any] = {}
        if self._numbered and last is not None and last.number is not None:
            since, more = None, {"fromId": last.number + 1}
        with translated(self._client):
            rows = await self._client.fetch_trades(instrument.symbol, since, PAGE, more)
            if not rows:
                refuse_gibberish(self._client)
        return self.read(instrument, rows)

    def _size(self, instrument: Instrument) -> float:
        """Base currency of one unit of its amounts."""
        size = self._client.market(instrument.symbol).get("contractSize")
        return 1.0 if size is None else float(size)
