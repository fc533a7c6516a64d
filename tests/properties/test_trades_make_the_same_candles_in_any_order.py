"""Whatever order trades come in, however often and in however many pieces: the same candles."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collectors.trades import Numbering, candles_of, missing_numbers
from domain.market import Instrument, Timeframe
from domain.trades import Trade

BTC = Instrument("binance", "BTC/USDT")


@st.composite
def told(draw: st.DrawFn) -> list[Trade]:
    """Trades in the order that the exchange made them."""
    steps = draw(st.lists(st.integers(0, 40_000), min_size=1, max_size=20))
    prices = st.integers(1, 10**6).map(lambda ticks: ticks / 100)
    amounts = st.integers(1, 10**9).map(lambda lots: lots / 10**8)
    time_ms, trades = 0, []
    for number, step in enumerate(steps):
        time_ms += step
        trades.append(
            Trade(
                instrument=BTC,
                trade_id=str(number + 95),  # two digits, then three
                number=number + 95,
                time_ms=time_ms,
                price=draw(prices),
                amount=draw(amounts),
            )
        )
    return trades


@given(trades=told(), data=st.data())
def test_trades_make_the_same_candles_in_any_order(
    trades: list[Trade], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(trades)))
    shuffled = data.draw(st.permutations(trades + again))

    assert candles_of(shuffled, Timeframe.M1) == candles_of(trades, Timeframe.M1)


@given(trades=told(), data=st.data())
def test_each_trade_that_is_left_out_is_missed(trades: list[Trade], data: st.DataObject) -> None:
    kept = [t for t in trades[1:-1] if data.draw(st.booleans())]
    stream = [trades[0], *kept, *trades[1:][-1:]]
    numbering = Numbering()

    jumps = [jump for one in stream if (jump := numbering.follow(one)) is not None]

    missed = {number for jump in jumps for number in range(jump.first, jump.end)}
    assert missed == {t.number for t in trades} - {t.number for t in stream}
    assert jumps == missing_numbers(stream)
