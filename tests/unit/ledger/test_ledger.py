"""The paper account: what it takes, on which grid, at what cost, and what that leaves."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.account import AccountMark, Terms
from domain.events import Signal
from domain.market import Instrument, Listing
from services.ledger.ledger import Ledger
from tests.unit.ledger.told import BTC, ETH, H1, PEPE, PERPETUAL, funding, marked, signal

TERMS = Terms(capital=10_000.0, fee_bps=8.0, slippage_bps=2.0)
FREE = replace(TERMS, fee_bps=0.0, slippage_bps=0.0)
COSTS = 1e-3  # of TERMS, a side


def begun(terms: Terms = TERMS) -> Ledger:
    """A ledger after its first close."""
    ledger = Ledger("binance", H1, terms)
    marked(ledger, 0, {BTC: 100.0})
    return ledger


def reckoned(mark: AccountMark) -> float:
    gained = mark.capital + mark.realized + mark.unrealized
    return gained - mark.fees - mark.slippage - mark.funding


def test_a_signal_is_bought_a_little_dearer_and_sold_a_little_cheaper() -> None:
    ledger = begun()
    bought = signal(0)

    held = marked(ledger, 1, {BTC: 101.0}, bought)
    left = marked(ledger, 2, {BTC: 99.0}, replace(bought, exit_price=110.0))

    quantity = 1_000 / 100.02
    assert held.positions == {"BTC/USDT": pytest.approx(quantity * 101)}
    assert held.fees == pytest.approx(1_000 * 8e-4)
    assert held.slippage == pytest.approx(quantity * 0.02)
    assert left.realized == pytest.approx(quantity * 10)
    assert left.equity == pytest.approx(10_000 + quantity * (109.978 - 100.02) - left.fees)
    assert (left.trades, left.positions, left.unrealized) == (1, {}, 0.0)


def test_a_policy_without_an_edge_loses_its_costs_and_nothing_else() -> None:
    rng = np.random.default_rng(5)
    ledger = begun()
    at_100 = {PERPETUAL: 100.0, BTC: 100.0}
    last: list[Signal] = []
    for tick in range(1, 400):
        side = "long" if rng.random() < 0.5 else "short"
        new = signal(tick - 1, PERPETUAL, side=side, size_fraction=float(rng.uniform(0, 0.1)))
        mark = marked(ledger, tick, at_100, new, *(replace(one, exit_price=100.0) for one in last))
        last = [new]
    mark = marked(ledger, 400, at_100, replace(last[0], exit_price=100.0))

    assert mark.trades > 300
    assert mark.realized == mark.unrealized == mark.funding == 0.0
    assert mark.fees == pytest.approx(8e-4 * mark.traded, abs=1e-9)
    assert mark.slippage == pytest.approx(2e-4 * mark.traded, rel=5e-4)
    assert mark.slippage > 0
    assert mark.equity == pytest.approx(10_000 - mark.fees - mark.slippage, abs=1e-9)


def test_each_round_trip_at_one_price_costs_two_sides() -> None:
    ledger = begun()
    one = signal(0, size_fraction=0.05)

    mark = marked(ledger, 1, {BTC: 100.0}, replace(one, exit_price=100.0))

    quantity = 500 / 100.02
    assert mark.equity == pytest.approx(10_000 - quantity * 100 * 2 * COSTS, abs=1e-9)


prices = st.floats(0.5, 2.0)
steps = st.tuples(
    st.sampled_from([BTC, ETH, PERPETUAL]),
    st.booleans(),
    st.floats(0.0, 0.3),
    st.integers(1, 4),
    st.floats(-1e-3, 1e-3) | st.just(math.nan),
    prices,
)


@given(path=st.lists(steps, min_size=1, max_size=25), gridded=st.booleans())
def test_equity_is_what_was_gained_less_what_it_cost(
    *, path: list[tuple[Instrument, bool, float, int, float, float]], gridded: bool
) -> None:
    ledger = Ledger("binance", H1, TERMS)
    if gridded:
        for name in (BTC, ETH, PERPETUAL):
            ledger.enlist(Listing(instrument=name, tick_size=0.01, lot_size=1e-3, min_notional=5.0))
    price = {BTC: 100.0, ETH: 10.0, PERPETUAL: 100.0}
    marked(ledger, 0, price)
    open_yet: dict[Signal, int] = {}
    for tick, (name, long, size, length, rate, moved) in enumerate(path, start=1):
        side = "long" if long or name is not PERPETUAL else "short"
        new = signal(tick - 1, name, side=side, size_fraction=size, entry_price=price[name])
        price[name] *= moved
        ended = [one for one, last in open_yet.items() if last <= tick]
        for one in ended:
            del open_yet[one]
        open_yet[new] = tick + length
        list(ledger.on_funding(funding(tick, {PERPETUAL: rate})))
        left = [replace(one, exit_price=price[one.instrument]) for one in ended]
        mark = marked(ledger, tick, price, new, *left)

        assert mark.equity == pytest.approx(reckoned(mark), abs=1e-9)
        assert ledger.hold.equity == pytest.approx(
            ledger.hold.terms.capital
            + ledger.hold.realized
            + ledger.hold.unrealized
            - ledger.hold.fees
            - ledger.hold.slippage
            - ledger.hold.funding,
            abs=1e-9,
        )
        for lot in ledger.account.lots.values():
            assert lot.instrument is PERPETUAL or lot.quantity > 0


def is_on(value: float, step: str) -> bool:
    return Decimal(repr(value)) % Decimal(step) == 0


@pytest.mark.parametrize(
    ("name", "price", "tick", "lot", "least"),
    [
        (PEPE, 1.2345e-5, "0.00000001", "1", 5.0),
        (BTC, 67_123.45, "0.01", "0.00001", 5.0),
    ],
)
def test_fills_are_on_the_tick_and_quantities_on_the_lot(
    name: Instrument, price: float, tick: str, lot: str, least: float
) -> None:
    ledger = Ledger("binance", H1, replace(TERMS, capital=1_000.0))
    ledger.enlist(
        Listing(instrument=name, tick_size=float(tick), lot_size=float(lot), min_notional=least)
    )
    marked(ledger, 0, {name: price})
    account = ledger.account

    held = marked(ledger, 1, {name: price}, signal(0, name, entry_price=price))
    (bought,) = account.lots.values()
    small = signal(1, name, entry_price=price, size_fraction=0.004)
    after = marked(ledger, 2, {name: price}, small)

    fill = account.fill(price, 1.0, ledger._listings[name])
    sold = account.fill(price, -1.0, ledger._listings[name])
    assert is_on(fill, tick)
    assert is_on(sold, tick)
    assert price * (1 + 2e-4) <= fill < price * (1 + 2e-4) + float(tick)
    assert price * (1 - 2e-4) - float(tick) < sold <= price * (1 - 2e-4)
    assert is_on(bought.quantity, lot)
    assert 100 - float(lot) * fill < bought.quantity * fill <= 100
    assert held.traded == pytest.approx(bought.quantity * fill)
    assert (after.trades, after.refused) == (1, {"minimum": 1})


def test_what_the_cash_does_not_suffice_for_is_made_smaller_alike_then_refused() -> None:
    ledger = begun()
    wanted = [signal(0, horizon=h, size_fraction=0.3) for h in range(1, 5)]
    wanted += [signal(0, horizon=9, size_fraction=0.6)]

    full = marked(ledger, 1, {BTC: 100.0}, *wanted)
    sizes = [lot.quantity for lot in ledger.account.lots.values()]
    later = marked(ledger, 2, {BTC: 99.0}, signal(1), signal(1, horizon=2, size_fraction=0.0))

    assert sizes == pytest.approx([sizes[0]] * 4 + [2 * sizes[0]])
    assert sum(full.positions.values()) == pytest.approx(full.equity, rel=1e-3)
    assert sum(full.positions.values()) <= full.equity
    assert later.refused == {"cash": 1, "size": 1}


def test_a_signal_that_was_refused_is_not_left_and_not_entered_later() -> None:
    ledger = begun()
    refused = signal(0, size_fraction=0.0)

    marked(ledger, 1, {BTC: 100.0}, refused)
    mark = marked(ledger, 2, {BTC: 100.0}, replace(refused, exit_price=120.0))
    again = marked(ledger, 3, {BTC: 100.0})

    assert mark.refused == again.refused == {"size": 1}
    assert again.equity == 10_000.0


def test_who_holds_as_a_candle_opens_pays_funding_and_an_unknown_rate_is_not_charged() -> None:
    ledger = begun(FREE)
    at_100 = {BTC: 100.0, PERPETUAL: 100.0}

    def after(tick: int, rate: float, *signals: Signal) -> AccountMark:
        list(ledger.on_funding(funding(tick, {PERPETUAL: rate})))
        return marked(ledger, tick, at_100, *signals)

    entered = after(1, 0.01, signal(0, PERPETUAL), signal(0))
    paid = after(2, 0.01)
    unknown = after(3, math.nan)
    left = after(4, 0.01, replace(signal(0, PERPETUAL), exit_price=100.0))
    after(5, math.nan, signal(4, PERPETUAL, side="short"))
    received = after(6, 0.01)

    assert entered.funding == 0.0
    assert paid.funding == unknown.funding == pytest.approx(10.0)
    assert paid.equity == pytest.approx(9_990.0)
    assert left.funding == pytest.approx(20.0)
    assert (unknown.funding_not_charged, received.funding_not_charged) == (1, 1)
    assert received.funding == pytest.approx(20.0 - 9.98)


def test_holding_everything_parts_the_capital_equally_and_anew_when_one_joins() -> None:
    ledger = Ledger("binance", H1, FREE)

    marked(ledger, 0, {BTC: 100.0, ETH: 10.0})
    doubled = marked(ledger, 1, {BTC: 200.0, ETH: 10.0})
    joined = marked(ledger, 2, {BTC: 200.0, ETH: 10.0, PEPE: 1e-5})
    last = marked(ledger, 3, {BTC: 100.0, PEPE: 2e-5})  # of one no candle came

    assert doubled.hold_equity == pytest.approx(15_000.0)
    assert joined.hold_equity == pytest.approx(15_000.0)
    assert last.hold_equity == pytest.approx(2_500.0 + 5_000.0 + 10_000.0)
    assert doubled.equity == last.equity == 10_000.0


def test_holding_everything_costs_one_side() -> None:
    mark = marked(Ledger("binance", H1, TERMS), 0, {BTC: 100.0, ETH: 10.0})

    assert mark.hold_equity == pytest.approx(10_000 / (1 + COSTS), rel=1e-6)


def test_a_drawdown_is_from_the_highest_mark() -> None:
    ledger = begun(FREE)
    one = signal(0, size_fraction=1.0)

    marks = [
        marked(ledger, tick, {BTC: price}, one)
        for tick, price in enumerate((100.0, 150.0, 75.0, 120.0), start=1)
    ]

    assert [mark.drawdown for mark in marks] == pytest.approx([0.0, 0.0, 0.5, 0.2])
    assert marks[-1].max_drawdown == pytest.approx(0.5)
    assert marks[-1].mean_exposure == pytest.approx(4 / 5)  # nothing was held at the first mark


def test_an_account_that_has_lost_everything_goes_on_and_takes_nothing() -> None:
    ledger = begun(FREE)
    short = signal(0, PERPETUAL, side="short", size_fraction=1.0)
    marked(ledger, 1, {PERPETUAL: 100.0}, short)

    lost = marked(ledger, 2, {PERPETUAL: 200.0})
    owing = marked(ledger, 3, {PERPETUAL: 300.0}, signal(2))
    last = marked(ledger, 4, {PERPETUAL: 300.0}, replace(short, exit_price=300.0))

    assert (lost.equity, owing.equity, last.equity) == (0.0, -10_000.0, -10_000.0)
    assert last.max_drawdown == 2.0
    assert owing.refused == {"size": 1}
    assert owing.mean_exposure == pytest.approx(1 / 2)  # of the two marks with an equity


def test_what_is_quoted_in_another_currency_is_not_taken() -> None:
    ledger = Ledger("binance", H1, FREE)
    euros = Instrument("binance", "BTC/EUR")
    marked(ledger, 0, {BTC: 100.0, ETH: 10.0, euros: 90.0})

    mark = marked(ledger, 1, {BTC: 100.0, ETH: 10.0, euros: 180.0}, signal(0, euros))

    assert (mark.currency, mark.refused, mark.hold_equity) == ("USDT", {"currency": 1}, 10_000.0)


def test_a_ledger_goes_on_from_its_state_bit_for_bit() -> None:
    whole, first = begun(), begun()
    # Held in another order than that of their names: sums of floats depend on it.
    held = [signal(0, PEPE, size_fraction=0.17), signal(0, ETH), signal(0, size_fraction=0.013)]
    small = signal(0, ETH, horizon=9, size_fraction=0.0)
    for ledger in (whole, first):
        marked(ledger, 1, {BTC: 101.3, ETH: 97.7, PEPE: 103.1}, *held, small)
    second = Ledger("binance", H1, TERMS)
    second.restore(first.snapshot())

    left = [replace(held[1], exit_price=99.7), replace(small, exit_price=9.0)]
    marks = [
        marked(ledger, 2, {BTC: 99.1, ETH: 99.9, PEPE: 100.3}, signal(1), *left)
        for ledger in (whole, second)
    ]

    assert marks[0] == marks[1]
    assert [*whole.account.lots] == [*second.account.lots]
    assert whole.snapshot() == second.snapshot()
