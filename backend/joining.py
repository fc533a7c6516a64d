"""Instruments join and leave an exchange that is followed; the others go on meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from backend.following import Following
from backend.leaving import why_away, withdraw_signals
from backend.store.database import CONNECTION_ERRORS
from backend.symbols import nowhere
from domain.errors import AlphaPulseError, UnknownExchangeError, UnknownSymbolError, UsageError
from domain.market import Instrument, Listing

log = logging.getLogger(__name__)

LOOK_EVERY = timedelta(milliseconds=50)  # of wall time, for the first prediction


class Orders:
    """Takes orders for the exchanges of a running system; no exchange means all that fit."""

    def __init__(self) -> None:
        self._joinings: dict[str, Joining] = {}

    def take(self, following: Following) -> None:
        """This exchange is followed from now on."""
        self._joinings[following.feed.exchange.id] = Joining(following=following)

    def under_way(self) -> dict[Instrument, datetime]:
        """Those that are joining, since when."""
        every = self._joinings.values()
        return {one: since for joining in every for one, since in joining.under_way.items()}

    async def add(self, exchange: str | None, symbol: str) -> list[Instrument]:
        """As `Joining.add`; without an exchange on every one that lists the symbol.

        Raises:
            UnknownExchangeError: nothing of it is followed.
        """
        return await from_those_that_know(symbol, [one.add(symbol) for one in self._of(exchange)])

    async def remove(self, exchange: str | None, symbol: str) -> list[Instrument]:
        """As `Joining.remove`; without an exchange on every one on which it is watched.

        Raises:
            UnknownExchangeError: nothing of it is followed.
        """
        return await from_those_that_know(
            symbol, [one.remove(symbol) for one in self._of(exchange)]
        )

    def _of(self, exchange: str | None) -> list[Joining]:
        if exchange is None:
            return list(self._joinings.values())
        try:
            return [self._joinings[exchange]]
        except KeyError:
            raise UnknownExchangeError(exchange, self._joinings) from None


def not_watched(
    instrument: Instrument, watched: Iterable[Instrument], ever: Collection[Instrument]
) -> UsageError:
    """Why there is nothing to remove."""
    if instrument in ever:
        return UsageError(f"{instrument} is not watched: it has left already")
    return UnknownSymbolError(instrument.symbol, [one.symbol for one in watched])


async def from_those_that_know(
    symbol: str, answers: Sequence[Coroutine[Any, Any, Instrument]]
) -> list[Instrument]:
    """What the exchanges say of an order that at least one can follow.

    Raises:
        UnknownSymbolError: none knows the symbol.
        AlphaPulseError: nobody could follow it, the first reason.
    """
    told = await asyncio.gather(*answers, return_exceptions=True)
    errors = [one for one in told if isinstance(one, BaseException)]
    mishaps = [one for one in errors if not isinstance(one, UnknownSymbolError)]
    done = [one for one in told if isinstance(one, Instrument)]
    for error in mishaps:
        if not (done and isinstance(error, AlphaPulseError)):
            raise error
    if done:
        return done
    unknown = [one for one in errors if isinstance(one, UnknownSymbolError)]
    raise unknown[0] if len(unknown) == 1 else nowhere(symbol, unknown)


@dataclass(slots=True, kw_only=True)
class Joining:
    """The instruments of one exchange, changed while it is followed.

    Args:
        following: the exchange, at its live edge.
        under_way: since when each of those that are joining is; they join one after another.
    """

    following: Following
    under_way: dict[Instrument, datetime] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def add(self, symbol: str) -> Instrument:
        """Begin to take in an instrument; one that is watched or on its way stays so.

        Raises:
            UnknownSymbolError: the exchange does not list it.
            ExchangeUnavailableError: it cannot be asked.
        """
        instrument = Instrument(self.following.feed.exchange.id, symbol)
        if instrument not in self.following.listings and instrument not in self.under_way:
            (listing,) = await self.following.feed.exchange.listings([symbol])
            now = self.following.plan.clock.now()
            # Before it is answered, and not in its turn: a kill forgets no order.
            await self.following.store.instruments.watch([listing], since=now, added=True)
            if instrument not in self.under_way:
                self.under_way[instrument] = now
                self.following.tasks.create_task(self._join(listing))
        return instrument

    async def remove(self, symbol: str) -> Instrument:
        """Follow an instrument no more; its history stays, its open signals are closed.

        Raises:
            UnknownSymbolError: it was never watched.
            UsageError: it is the last one, has not joined yet, or has left.
        """
        following = self.following
        instrument = Instrument(following.feed.exchange.id, symbol)
        if instrument in self.under_way:
            raise UsageError(f"{instrument} is joining; remove it when it has")
        if instrument not in following.listings:
            ever = await following.store.instruments.membership(instrument.exchange)
            raise not_watched(instrument, following.listings, ever.joined)
        if len(following.listings) == 1:
            raise UsageError(f"{instrument} is the last instrument of {instrument.exchange}")
        async with self._turn:
            del following.listings[instrument]
            following.edge.watch(following.instruments)
            following.auditor.instruments = following.instruments
            status = following.status
            status.instruments = tuple(one for one in status.instruments if one != instrument)
            for timeframe in status.timeframes:
                status.newest.pop((instrument, timeframe), None)
            now = following.plan.clock.now()
            await following.store.instruments.unwatch(instrument, until=now, removed=True)
            for runner, _ in following.panels:
                await withdraw_signals(runner, following.store, following.listings)
        log.info("%s left", instrument)
        return instrument

    async def _join(self, listing: Listing) -> None:
        instrument, status = listing.instrument, self.following.status
        try:
            async with self._turn:
                took = await self._take_in(listing)
        except (AlphaPulseError, *CONNECTION_ERRORS) as error:
            log.warning("%s could not join", instrument, extra={"reason": str(error)})
            status.notes.append(f"{instrument} could not join: {error}")
        else:
            log.info("%s joined", instrument, extra=took)
            status.notes = [note for note in status.notes if note != why_away(instrument)]
        finally:
            del self.under_way[instrument]

    async def _take_in(self, listing: Listing) -> dict[str, float]:
        """History, its rows, and then the live edge, which brings the newest closes.

        Returns:
            Seconds that each of these took.
        """
        following, instrument = self.following, listing.instrument
        store, clock, wall = following.store, following.plan.clock, following.feed.pace.wall
        moments = [wall.now()]
        answered = [
            (runner.panel.key.timeframe, runner.panel.engine.as_of)
            for runner, _ in following.panels
        ]
        stored = await following.backfill(
            [instrument], before={timeframe: end for timeframe, end in answered if end}
        )
        moments.append(wall.now())
        for runner, observer in following.panels:
            runner.panel.enlist([listing])
            first = stored.get(runner.panel.key.timeframe)
            await observer.revisions.take_in(instrument, first=first)
        moments.append(wall.now())
        joined_at = clock.now()
        new = [observer.revisions.joins(instrument, joined_at) for _, observer in following.panels]
        if any(new):
            await store.instruments.join(instrument, at=joined_at)
        following.listings[instrument] = listing
        following.auditor.instruments = following.instruments
        following.edge.watch(following.instruments)
        await self._predicted(instrument)
        following.status.instruments += (instrument,)
        moments.append(wall.now())
        spans = zip(("history_s", "rows_s", "edge_s"), pairwise(moments), strict=True)
        return {name: (end - begin).total_seconds() for name, (begin, end) in spans}

    async def _predicted(self, instrument: Instrument) -> None:
        """Wait for the first prediction at each timeframe."""
        status, wall = self.following.status, self.following.feed.pace.wall
        while any((instrument, each) not in status.newest for each in status.timeframes):
            await wall.sleep(LOOK_EVERY)
