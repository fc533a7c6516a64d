"""Which candles are built from trades, and which are not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime

import pytest

from collectors.trade_built import SETTLING_MS, Builder, TradeBuilt
from domain.errors import ExchangeUnavailableError
from domain.events import Candle
from domain.market import Instrument, Timeframe, from_ms, to_ms
from domain.trades import MadeOf, Trade, TradesTold
from tests.doubles import ManualClock
from tests.factories import BTC, candle
from tests.scripted_exchange import ScriptedExchange

M1, H1 = Timeframe.M1, Timeframe.H1
MINUTE = 60_000


def trade(number: int | None, time_ms: int, price: float = 10.0) -> Trade:
    return Trade(
        instrument=BTC,
        trade_id=f"{number}",
        number=number,
        time_ms=time_ms,
        price=price,
        amount=0.5,
    )


class Traded(ScriptedExchange):
    """Candles of an hour by REST alone, and trades."""

    def __init__(self, trades: Sequence[Trade]) -> None:
        super().__init__(ManualClock(from_ms(10 * MINUTE + 1)))
        self._trades = trades
        self.reaches_ms = 0  # REST has no older trades

    def fetches(self, timeframe: Timeframe) -> bool:
        return timeframe is H1

    def streams(self, timeframe: Timeframe) -> bool:
        del timeframe
        return False

    async def fetch_trades(
        self, instrument: Instrument, *, since: datetime, until: datetime
    ) -> TradesTold:
        first, end = max(to_ms(since), self.reaches_ms), to_ms(until)
        told = (one for one in self._trades if first <= one.time_ms < end)
        return TradesTold(trades=tuple(told), from_ms=first, to_ms=end)

    async def watch_trades(self, instruments: Sequence[Instrument]) -> AsyncGenerator[Trade, None]:
        for one in self._trades:
            yield one
        raise ExchangeUnavailableError("the script is over")


async def test_only_what_the_exchange_streams_can_be_flagged_as_closed() -> None:
    exchange = Traded([])
    exchange.flagged = True

    assert not TradeBuilt(exchange).flags_closes(M1)


async def fetched(exchange: Traded, timeframe: Timeframe, until_ms: int) -> list[Candle]:
    return await TradeBuilt(exchange).fetch_candles(
        BTC, timeframe, since=from_ms(0), until=from_ms(until_ms)
    )


async def test_a_forming_candle_is_built_from_the_first_whole_interval_on() -> None:
    trades = [trade(n, 601_000 + n * 20_000, price=10.0 + n) for n in range(6)]
    async with aclosing(TradeBuilt(Traded(trades)).watch_candles([BTC], [M1])) as stream:
        told = await anext(stream)  # the newest version
        with pytest.raises(ExchangeUnavailableError, match="script"):
            await anext(stream)

    assert told.open_ms == 11 * MINUTE
    assert (told.open, told.close, told.volume) == (13.0, 15.0, 1.5)
    assert (told.closed, told.made_of) == (False, MadeOf.TRADES)


def test_a_connection_that_tells_nothing_listens_after_a_while() -> None:
    quiet = Builder([M1], began_ms=MINUTE - SETTLING_MS)
    early = Builder([M1], began_ms=MINUTE - SETTLING_MS + 1)

    assert quiet.add(trade(1, MINUTE + 5)) != []
    assert early.add(trade(1, MINUTE + 5)) == []


def test_nothing_is_built_over_trades_that_did_not_come() -> None:
    builder = Builder([M1], began_ms=0)
    builder.add(trade(7, 5))

    with pytest.raises(ExchangeUnavailableError, match="8 to 9 of simulated:BTC/USDT"):
        builder.add(trade(10, 6))


def test_without_numbers_a_jump_cannot_be_seen() -> None:
    builder = Builder([M1], began_ms=-SETTLING_MS)
    unnumbered = [
        Trade(instrument=BTC, trade_id=i, time_ms=5, price=1.0, amount=1.0) for i in ("a", "x")
    ]

    assert [len(builder.add(one)) for one in unnumbered] == [1, 1]


def test_a_late_trade_is_left_to_rest() -> None:
    builder = Builder([M1], began_ms=-SETTLING_MS)
    builder.add(trade(None, MINUTE + 5))

    assert builder.add(trade(None, 5)) == []


async def test_rest_builds_what_is_over_and_told_from_its_beginning() -> None:
    exchange = Traded([trade(n, n * 30_000) for n in range(25)])
    every = await fetched(exchange, M1, 20 * MINUTE)
    exchange.reaches_ms = MINUTE + 1

    recent = await fetched(exchange, M1, 20 * MINUTE)

    assert [one.open_ms for one in every] == [n * MINUTE for n in range(10)]
    assert [one.open_ms for one in recent] == [n * MINUTE for n in range(2, 10)]
    assert all(one.confirmed and one.made_of is MadeOf.TRADES for one in recent)


async def test_rest_builds_no_candle_of_which_trades_are_missing() -> None:
    exchange = Traded([trade(n, n * 30_000) for n in (0, 1, 2, 7, 8, 9, 10)])

    built = await fetched(exchange, M1, 5 * MINUTE)

    assert [one.open_ms for one in built] == [0, 4 * MINUTE]


async def test_candles_that_the_exchange_serves_are_asked_of_it() -> None:
    exchange = Traded([trade(0, 0)])
    served = candle(open_ms=0, timeframe=H1)
    exchange.record([served])
    exchange._clock = ManualClock(from_ms(H1.ms))

    (answered,) = await fetched(exchange, H1, H1.ms)

    assert (answered.close, answered.made_of) == (served.close, MadeOf.EXCHANGE)
