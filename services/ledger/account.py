"""Cash and lots: what was bought and sold at what price, and what it cost."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from domain.account import Terms
from domain.market import Instrument, Listing, on_grid

BPS = 1e-4


@dataclass(slots=True, kw_only=True)
class Lot:
    """A quantity of base currency, below 0 where it is owed, and its mean price."""

    instrument: Instrument
    quantity: float
    price: float


@dataclass(slots=True, kw_only=True)
class Account:
    """Buys and sells at a given price on some terms, and is valued at the last prices.

    The equity follows from the cash alone; `realized`, `fees`, `slippage` and `funding` are
    counted beside it, so that one can be held against the other.
    """

    terms: Terms
    cash: float = field(init=False)
    lots: dict[str, Lot] = field(default_factory=dict)
    prices: dict[Instrument, float] = field(default_factory=dict)
    realized: float = 0.0
    fees: float = 0.0
    slippage: float = 0.0
    funding: float = 0.0
    funding_not_charged: int = 0
    traded: float = 0.0
    peak: float = field(init=False)
    max_drawdown: float = 0.0

    def __post_init__(self) -> None:
        self.cash = self.peak = self.terms.capital

    @property
    def equity(self) -> float:
        return self.cash + sum(self.value(lot) for lot in self.lots.values())

    @property
    def exposure(self) -> float:
        """Notional held at the last prices, shorts counted as longs."""
        return sum(abs(self.value(lot)) for lot in self.lots.values())

    @property
    def unrealized(self) -> float:
        return sum(
            lot.quantity * (self.prices[lot.instrument] - lot.price) for lot in self.lots.values()
        )

    def value(self, lot: Lot) -> float:
        """Notional of a lot at the last price, below 0 for a short one."""
        return lot.quantity * self.prices[lot.instrument]

    def fill(self, price: float, quantity: float, listing: Listing | None) -> float:
        """What a trade at `price` gets: worse by the slippage, and on the tick then."""
        worse = math.copysign(self.terms.slippage_bps * BPS, quantity)
        tick = listing.tick_size if listing else None
        return on_grid(price * (1.0 + worse), tick, math.ceil if quantity > 0 else math.floor)

    def trade(self, key: str, listing: Listing, quantity: float, price: float) -> None:
        """Buy `quantity`, or sell it where it is below 0, of what is kept as lot `key`.

        A trade against a lot is at most as large as the lot.
        """
        fill = self.fill(price, quantity, listing)
        fee = abs(quantity) * fill * self.terms.fee_bps * BPS
        self.cash -= quantity * fill + fee
        self.fees += fee
        self.slippage += quantity * (fill - price)
        self.traded += abs(quantity) * fill
        self.prices.setdefault(listing.instrument, price)
        lot = self.lots.setdefault(
            key, Lot(instrument=listing.instrument, quantity=0.0, price=price)
        )
        if lot.quantity and (lot.quantity > 0) is not (quantity > 0):
            self.realized -= quantity * (price - lot.price)
        else:
            lot.price += (price - lot.price) * quantity / (lot.quantity + quantity)
        lot.quantity += quantity
        if not lot.quantity:
            del self.lots[key]

    def settle(self, instrument: Instrument, rate: float) -> None:
        """Pay the funding of a perpetual, or receive it; NaN: no rate was recorded."""
        held = [lot for lot in self.lots.values() if lot.instrument == instrument]
        if held and math.isnan(rate):
            self.funding_not_charged += 1
        elif held:
            paid = rate * sum(self.value(lot) for lot in held)
            self.funding += paid
            self.cash -= paid

    def mark(self) -> tuple[float, float]:
        """The equity, and how far it is below the highest that was marked."""
        equity = self.equity
        self.peak = max(self.peak, equity)
        drawdown = 1.0 - equity / self.peak
        self.max_drawdown = max(self.max_drawdown, drawdown)
        return equity, drawdown

    def state(self) -> dict[str, Any]:
        """Everything but the terms; `restored` goes on from it bit for bit."""
        figures = {name: getattr(self, name) for name in _FIGURES}
        lots = [  # in their order, in which they are summed
            [key, str(lot.instrument), lot.quantity, lot.price] for key, lot in self.lots.items()
        ]
        return figures | {"lots": lots, "prices": {str(i): p for i, p in self.prices.items()}}

    @classmethod
    def restored(cls, terms: Terms, state: dict[str, Any]) -> Account:
        account = cls(terms=terms)
        for name in _FIGURES:
            setattr(account, name, state[name])
        account.prices = {Instrument.parse(one): price for one, price in state["prices"].items()}
        account.lots = {
            key: Lot(instrument=Instrument.parse(one), quantity=quantity, price=price)
            for key, one, quantity, price in state["lots"]
        }
        return account


_FIGURES = (
    *("cash", "realized", "fees", "slippage", "funding", "funding_not_charged"),
    *("traded", "peak", "max_drawdown"),
)
