"""The paper account of one (exchange, timeframe): it takes the signals, at the next open.

Prices are those of the signals: what they were entered and left at. Each is made worse by the
slippage and rounded to the tick, away from us. A position is `size_fraction` of the equity at
the last close, on the lot; all that is held is never more than the equity, so that a spot
account is long or flat and a perpetual one is not levered.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from domain.account import AccountMark, FundingBatch, Terms
from domain.codec import pack, unpack
from domain.events import CandleBatch, Signal, SignalBatch
from domain.market import Instrument, Listing, Timeframe, from_ms, on_grid
from services.ledger.account import BPS, Account

LEAST_SHARE = 0.1  # of what is wanted; a trade that the equity does not suffice for is none


class Ledger:
    """The account that follows the signals, and beside it one that holds everything.

    The second holds all instruments in equal parts from the first close on, parts them anew
    when one joins, and pays the same costs. What leaves it keeps at its last price. Neither
    takes an instrument that is not quoted in the account's currency.
    """

    def __init__(self, exchange: str, timeframe: Timeframe, terms: Terms) -> None:
        self.exchange, self.timeframe, self.terms = exchange, timeframe, terms
        self.currency = terms.currency
        self.account = Account(terms=terms)
        self.hold = Account(terms=terms)
        self._listings: dict[Instrument, Listing] = {}
        self._told: dict[str, Signal] = {}  # since the last candles
        self._due: list[tuple[Instrument, float]] = []  # since then
        self._declined: set[str] = set()  # open signals that were not taken
        self._refused: Counter[str] = Counter()
        self._trades = 0
        self._marks, self._exposure = 0, 0.0  # with equity, and the sum of their shares

    @property
    def running(self) -> dict[str, datetime]:
        """The signals that were entered and not left, taken or not, and when they were decided."""
        names = {*self.account.lots, *self._declined}
        return {name: from_ms(int(name.split()[-2])) for name in names}

    def enlist(self, listing: Listing) -> None:
        """Learn an instrument's tick, lot and least notional."""
        self._listings[listing.instrument] = listing

    def on_signals(self, batch: SignalBatch) -> Iterable[AccountMark]:
        """Remember what was entered or left; it is traded with the next candles."""
        for signal in batch.signals:
            if signal.entry_price is not None:
                self._told[name_of(signal)] = signal
        return ()

    def on_funding(self, batch: FundingBatch) -> Iterable[AccountMark]:
        """Remember what perpetuals settled; who holds them as the next candles open pays."""
        self._due += zip(batch.instruments, batch.rate.tolist(), strict=True)
        return ()

    def on_candles(self, batch: CandleBatch) -> Iterable[AccountMark]:
        """Trade what was told since the last candles, entries first, and mark both accounts."""
        if self.currency is None:
            quotes = Counter(one.quote for one in batch.instruments)
            self.currency = min(quotes, key=lambda quote: (-quotes[quote], quote))
        due, self._due = self._due, []
        for instrument, rate in due:
            self.account.settle(instrument, rate)
            self.hold.settle(instrument, rate)
        told, self._told = self._told, {}
        self._enter({key: one for key, one in told.items() if self._is_new(key)})
        for key, signal in told.items():
            if signal.exit_price is not None:
                self._leave(key, signal.exit_price)
        closes = dict(zip(batch.instruments, batch.close.tolist(), strict=True))
        ours = {one: price for one, price in closes.items() if one.quote == self.currency}
        self.account.prices |= ours
        new = ours.keys() - self.hold.prices.keys()
        self.hold.prices |= ours
        if new:
            self._part_equally()
        yield self._mark(batch)

    def _mark(self, batch: CandleBatch) -> AccountMark:
        """Both accounts at the last prices."""
        account, hold = self.account, self.hold
        equity, drawdown = account.mark()
        hold_equity, _ = hold.mark()
        if equity > 0:  # else there is nothing that it were a share of
            self._marks += 1
            self._exposure += account.exposure / equity
        positions: dict[str, float] = {}
        for lot in account.lots.values():
            symbol = lot.instrument.symbol
            positions[symbol] = positions.get(symbol, 0.0) + account.value(lot)
        return AccountMark(
            exchange=self.exchange,
            timeframe=self.timeframe,
            at=batch.as_of,
            known_at=batch.known_at,
            currency=self.currency or "",
            capital=self.terms.capital,
            equity=equity,
            realized=account.realized,
            unrealized=account.unrealized,
            fees=account.fees,
            slippage=account.slippage,
            funding=account.funding,
            funding_not_charged=account.funding_not_charged,
            traded=account.traded,
            trades=self._trades,
            refused=dict(sorted(self._refused.items())),
            positions=dict(sorted(positions.items())),
            mean_exposure=self._exposure / self._marks,
            drawdown=drawdown,
            max_drawdown=account.max_drawdown,
            hold_equity=hold_equity,
            hold_max_drawdown=hold.max_drawdown,
        )

    def _is_new(self, key: str) -> bool:
        return key not in self.account.lots and key not in self._declined

    def _enter(self, told: dict[str, Signal]) -> None:
        """Buy or sell what is new; where the equity does not suffice for all, less of each."""
        equity = self.account.equity
        free = equity - self.account.exposure
        whole = sum(one.size_fraction for one in told.values()) * equity * self._with_costs
        share = min(1.0, max(free, 0.0) / whole) if whole > 0 else 1.0
        for key, signal in told.items():
            quantity, why = self._quantity(signal, equity * signal.size_fraction, share)
            if why:
                self._refused[why] += 1
                self._declined.add(key)
                continue
            self._trades += 1
            signed = quantity if signal.side == "long" else -quantity
            self.account.trade(key, self._listing(signal.instrument), signed, _entry(signal))

    def _quantity(self, signal: Signal, wanted: float, share: float) -> tuple[float, str]:
        """How much is traded, and if nothing, why."""
        if signal.instrument.quote != self.currency:
            return 0.0, "currency"
        if wanted <= 0:
            return 0.0, "size"
        listing = self._listing(signal.instrument)
        side = 1.0 if signal.side == "long" else -1.0
        fill = self.account.fill(_entry(signal), side, listing)
        quantities = [
            on_grid(notional / fill, listing.lot_size, math.floor)
            for notional in (wanted, wanted * share)
        ]
        least = listing.min_notional or 0.0
        enough = [quantity > 0 and quantity * fill >= least for quantity in quantities]
        if enough[1] and share >= LEAST_SHARE:
            return quantities[1], ""
        return 0.0, "cash" if enough[0] else "minimum"

    def _leave(self, key: str, price: float) -> None:
        self._declined.discard(key)
        lot = self.account.lots.get(key)
        if lot is not None:
            self.account.trade(key, self._listing(lot.instrument), -lot.quantity, price)

    def _part_equally(self) -> None:
        """The same notional of each; what is sold pays for what is bought."""
        hold = self.hold
        each = hold.equity / len(hold.prices) / self._with_costs
        changes = {
            one: each / price - (hold.lots[str(one)].quantity if str(one) in hold.lots else 0.0)
            for one, price in sorted(hold.prices.items())
        }
        for one, change in sorted(changes.items(), key=lambda item: item[1] > 0):
            if change:
                hold.trade(str(one), Listing(instrument=one), change, hold.prices[one])

    @property
    def _with_costs(self) -> float:
        """What a notional of 1 costs to enter, but for the rounding to the tick."""
        return 1.0 + (self.terms.fee_bps + self.terms.slippage_bps) * BPS

    def _listing(self, instrument: Instrument) -> Listing:
        return self._listings.get(instrument) or Listing(instrument=instrument)

    def snapshot(self) -> bytes:
        """The whole state between two ticks; `restore` goes on from it bit for bit."""
        return pack(
            {
                "currency": self.currency,
                "account": self.account.state(),
                "hold": self.hold.state(),
                "declined": sorted(self._declined),
                "refused": dict(self._refused),
                "trades": self._trades,
                "marks": self._marks,
                "exposure": self._exposure,
            }
        )

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot of a ledger on the same terms."""
        state = unpack(data)
        self.currency = state["currency"]
        self.account = Account.restored(self.terms, state["account"])
        self.hold = Account.restored(self.terms, state["hold"])
        self._declined = set(state["declined"])
        self._refused = Counter(state["refused"])
        self._trades = state["trades"]
        self._marks, self._exposure = state["marks"], state["exposure"]


def name_of(signal: Signal) -> str:
    """What tells a signal from every other."""
    return f"{signal.instrument} {signal.horizon} {signal.as_of_ms} {signal.revision}"


def _entry(signal: Signal) -> float:
    return math.nan if signal.entry_price is None else signal.entry_price
