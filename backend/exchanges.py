"""The exchanges of the settings: opened, asked what they list; who is away is asked again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np

from backend import VERSION
from backend.clock import SystemClock
from backend.setting_tables import ExchangeSettings
from backend.settings import BuildSettings, Settings
from backend.symbols import asked_of, listed, refuse_strangers, refuse_unlisted
from collectors.allowance import allowance
from collectors.budget import Budget
from collectors.capture import Capture
from collectors.ccxt_exchange import CcxtExchange
from collectors.ccxt_import import exchange_class
from collectors.pacing import Backoff
from collectors.polling import lines, longest_round
from collectors.rolled_up import RolledUp
from collectors.trade_built import TradeBuilt
from collectors.unreadable import Unread
from domain.errors import (
    AlphaPulseError,
    ExchangeError,
    ExchangeRefusedError,
    ExchangeUnavailableError,
    UnknownSymbolError,
    UnknownTimeframeError,
    UsageError,
)
from domain.market import Listing, Timeframe
from domain.ports import Exchange

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """An exchange that answers, and what it lists of what is asked for.

    Args:
        exchange: with the candles that are put together here.
        client: the exchange alone.
        listings: of what is asked for.
        lacking: what it does not list.
        budget: of requests to it.
        polled: timeframes that it does not stream.
        cost: of a request for those, in time until the next.
    """

    exchange: Exchange
    client: CcxtExchange
    listings: tuple[Listing, ...]
    lacking: Mapping[str, UnknownSymbolError]
    budget: Budget
    polled: tuple[Timeframe, ...] = ()
    cost: timedelta = timedelta(0)

    @property
    def round(self) -> timedelta:
        """How long the candles take that close together and are not streamed."""
        series = len(self.listings) * len(self.polled)
        return longest_round(series, self.cost) if series else timedelta(0)

    def notes(self) -> Iterator[str]:
        """What its watchers should know."""
        if self.lacking:
            yield f"{self.exchange.id} does not list {', '.join(self.lacking)}: not watched there"
        yield from lines(
            self.exchange.id, self.polled, instruments=len(self.listings), cost=self.cost
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why nothing of an exchange can be followed, and what it is known not to list."""

    error: AlphaPulseError
    lacking: Mapping[str, UnknownSymbolError] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Exchanges:
    """The exchanges that are to be followed; one that refuses leaves the others alone.

    Args:
        settings: which, where, and what is put together and captured of them.
        refused: why nothing of an exchange is followed, in one line; kept true.
        clients: of each, once they are opened.
        budgets: of requests to each, for all who ask.
    """

    settings: Settings
    refused: dict[str, str] = field(default_factory=dict)
    budgets: dict[str, Budget] = field(default_factory=dict)
    clients: dict[str, CcxtExchange] = field(default_factory=dict)
    _away: set[str] = field(default_factory=set)  # of those refused, who may come yet

    async def open(self, stack: AsyncExitStack) -> None:
        """Make the clients; nobody is asked yet.

        Raises:
            UnknownExchangeError: ccxt does not have one, or a symbol is of another.
        """
        ids = self.settings.watch.exchanges
        refuse_strangers(self.settings.watch.symbols, ids)
        for one in ids:
            await asyncio.to_thread(exchange_class, one)
        captures = _captures(ids, self.settings)
        for one in ids:
            budget = self.budgets[one] = Budget(SystemClock())
            client = opened(one, self.settings, budget=budget, capture=captures.get(one))
            self.clients[one] = client
            stack.push_async_callback(client.close)
        for capture in captures.values():
            stack.push_async_callback(_ended, asyncio.create_task(capture.run()))

    async def reach(self) -> list[Reached]:
        """Those that answer and list something of what is asked for; the others are `refused`.

        Raises:
            UnknownSymbolError: nobody lists one of the symbols.
            UsageError, ExchangeUnavailableError: nobody can be followed; with a line for each.
        """
        asked = await asyncio.gather(*map(self._ask, self.clients))
        answers = dict(zip(self.clients, asked, strict=True))
        refuse_unlisted(
            self.settings.watch.symbols, {name: one.lacking for name, one in answers.items()}
        )
        refused = {name: one.error for name, one in answers.items() if isinstance(one, Refused)}
        if len(refused) == len(answers):
            raise _nobody(refused)
        for name, error in refused.items():
            self._refuse(name, error)
        return [one for one in asked if isinstance(one, Reached)]

    async def later(self) -> AsyncIterator[Reached]:
        """Those that were away, each when it answers."""
        backoff = Backoff(np.random.default_rng())
        while self._away:
            await asyncio.sleep(backoff.next().total_seconds())
            for name in sorted(self._away):
                answer = await self._ask(name)
                if isinstance(answer, Refused):
                    self._refuse(name, answer.error)
                else:
                    self._away.remove(name)
                    del self.refused[name]
                    yield answer

    async def _ask(self, name: str) -> Reached | Refused:
        """What an exchange lists of what is asked for, or why nothing of it can be followed."""
        client, watch = self.clients[name], self.settings.watch
        try:
            found, lacking = await listed(client, asked_of(name, watch.symbols))
            self._refuse_timeframes(client)
        except (ExchangeError, UsageError) as error:
            return Refused(error=error)
        if not found:
            nothing = f"lists none of {', '.join(lacking)}" if lacking else "is asked for nothing"
            return Refused(error=UsageError(f"{name} {nothing}"), lacking=lacking)
        exchange = built(client, watch.timeframes, self.settings.build)
        polled = tuple(one for one in watch.timeframes if not exchange.streams(one))
        cost = timedelta(0)
        if polled:
            cost = (await allowance(name, found[0].instrument.symbol)).cost
        return Reached(
            exchange=exchange,
            client=client,
            listings=tuple(found),
            lacking=lacking,
            budget=self.budgets[name],
            polled=polled,
            cost=cost,
        )

    def _refuse_timeframes(self, client: CcxtExchange) -> None:
        build, wanted = self.settings.build, self.settings.watch.timeframes
        served = [one.value for one in Timeframe if client.fetches(one)]
        for one in wanted:
            if one not in (*served, *build.rolled_up) and not build.from_trades:
                raise UnknownTimeframeError(one.value, served)

    def _refuse(self, name: str, error: AlphaPulseError) -> None:
        """Say it where it is news, and remember who is worth another try."""
        again = isinstance(error, ExchangeError) and not isinstance(error, ExchangeRefusedError)
        line = _line(name, error)
        if name not in self.refused:
            log.warning("nothing of it is followed: %s", line, extra={"exchange": name})
        if again:
            self._away.add(name)
        else:
            self._away.discard(name)
        self.refused[name] = f"{line}; asked again and again" if again else line


def opened(
    exchange_id: str,
    settings: Settings,
    *,
    budget: Budget | None,
    capture: Capture | None = None,
    unread: Unread | None = None,
) -> CcxtExchange:
    """A client at the addresses that the settings say."""
    where = settings.exchange.get(exchange_id) or ExchangeSettings()
    return CcxtExchange(
        exchange_id,
        rest_url=where.rest_url,
        ws_url=where.ws_url,
        budget=budget,
        capture=capture,
        unread=unread,
    )


def built(
    exchange: CcxtExchange, timeframes: Sequence[Timeframe], about: BuildSettings
) -> Exchange:
    """The exchange with the candles that are put together here."""
    whole = TradeBuilt(exchange) if about.from_trades else exchange
    rolled = [one for one in timeframes if one in about.rolled_up]
    if not rolled:
        return whole
    offered = [one for one in timeframes if exchange.fetches(one)]
    return RolledUp(whole, rolled, watched=timeframes, offered=offered)


def _captures(exchange_ids: Sequence[str], settings: Settings) -> dict[str, Capture]:
    """What takes each exchange's frames, where the settings say so."""
    if not settings.capture.on:
        return {}
    folder = settings.capture.folder or settings.state / "captures"
    return {
        one: Capture(
            folder / one,
            about={"exchange": one, "name": one, "version": VERSION},
            largest=settings.capture.maximum_mb * 10**6 // len(exchange_ids),
            clock=SystemClock(),
        )
        for one in exchange_ids
    }


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _nobody(errors: Mapping[str, AlphaPulseError]) -> AlphaPulseError:
    """The error where no exchange can be followed: a line for each."""
    mistaken = all(isinstance(one, UsageError) for one in errors.values())
    if mistaken and len(errors) == 1:
        return next(iter(errors.values()))
    said = "\n".join(_line(name, one) for name, one in errors.items())
    return (UsageError if mistaken else ExchangeUnavailableError)(
        f"no exchange can be {'followed' if mistaken else 'reached'}: {said}"
    )


def _line(name: str, error: AlphaPulseError) -> str:
    """Why, beginning with whose refusal it is."""
    text = str(error)
    return text if text.startswith(name) else f"{name}: {text}"
