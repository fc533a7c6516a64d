"""A running system's instruments, as far as orders about them go."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from backend.api.status import Market, Status
from backend.jobs import Note, Outcome, Work
from backend.store.jobs import Job
from domain.errors import ExchangeUnavailableError, UnknownSymbolError, UsageError
from domain.market import Instrument, Timeframe
from tests.errands import Office
from tests.factories import BTC
from tests.served_market import HORIZON, ServedMarket

NEW = {"exchange": "simulated", "symbol": "NEW/USDT"}
OTHER = replace(BTC, exchange="other")


@dataclass
class Membership:
    """Two exchanges that take orders."""

    joining: list[Instrument] = field(default_factory=list)
    left: list[Instrument] = field(default_factory=list)

    def office(self, market: ServedMarket) -> Office:
        other = beside(replace(OTHER, symbol="OLD/USDT"))
        work: dict[str, Work] = {"add": _Additions(self), "remove": _Removals(self)}
        owners = ("collectors of simulated", "collectors of other")
        return Office(market, dict.fromkeys(owners, work), {"collectors of other": other})


def beside(instrument: Instrument) -> Status:
    """What a process says that watches one more instrument."""
    return Status(
        market=Market.SIMULATED,
        instruments=(instrument,),
        timeframes=(Timeframe.H1,),
        horizons=(HORIZON,),
    )


@dataclass
class _Additions:
    book: Membership

    async def do(self, job: Job, note: Note) -> Outcome:
        del note
        symbol, instrument = job.request["symbol"], _named(job)
        if symbol == "AWAY/USDT":
            raise ExchangeUnavailableError("it does not answer")
        if symbol not in (NEW["symbol"], BTC.symbol):
            near = NEW["symbol"] if instrument.exchange == NEW["exchange"] else "NEXT/USDT"
            raise UnknownSymbolError(symbol, [near])
        if instrument != BTC:
            self.book.joining.append(instrument)
        return _stands(instrument, "watched" if instrument == BTC else "joining")


@dataclass
class _Removals:
    book: Membership

    async def do(self, job: Job, note: Note) -> Outcome:
        del note
        instrument = _named(job)
        if instrument.symbol != BTC.symbol:
            raise UsageError(f"{instrument} is the last instrument of {instrument.exchange}")
        self.book.left.append(instrument)
        return _stands(instrument, "left")


def _named(job: Job) -> Instrument:
    return Instrument(job.owner.removeprefix("collectors of "), job.request["symbol"])


def _stands(instrument: Instrument, state: str) -> Outcome:
    row = {"exchange": instrument.exchange, "symbol": instrument.symbol, "state": state}
    return Outcome(result=[row])
