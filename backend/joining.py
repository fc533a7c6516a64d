"""Instruments join and leave an exchange that is followed; the others go on meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, Final

from backend.backfills import Backfills
from backend.following import Following
from backend.jobs import Bell, JobFailedError, Jobs, Note, Outcome
from backend.leaving import why_away
from backend.store.database import patiently
from backend.store.instruments import Instruments
from backend.store.jobs import Job, JobStore, Order
from backend.store.leases import Fence, no_fence
from backend.store.system_status import collectors_voice, panel_voice
from domain.errors import AlphaPulseError, UnknownSymbolError, UsageError, in_one_line
from domain.market import Horizon, Instrument, Listing, Timeframe, rfc3339
from domain.ports import Clock
from domain.topics import panel_key

log = logging.getLogger(__name__)

LOOK_EVERY: Final = timedelta(milliseconds=50)  # of wall time, whether panels are so far
WITHDRAWN_WITHIN_S: Final = 3.0  # else whoever runs a panel does it when it comes


async def exchange_jobs(following: Following, bell: Bell, fence: Fence = no_fence) -> Jobs:
    """What callers ask of whoever collects an exchange.

    Args:
        following: the exchange, at its live edge.
        bell: of the process.
        fence: of its lease.
    """
    store, wall = JobStore(following.store.writers, fence), following.feed.pace.wall
    joining = Joining(following=following, jobs=store, ring=bell.ring)
    await patiently(joining.begin, wall)
    following.tasks.create_task(joining.try_again())
    return Jobs(
        store,
        collectors_voice(following.feed.exchange.id),
        [
            {"backfill": Backfills(following)},
            {"add": Additions(joining), "remove": Removals(joining)},  # the last word holds
        ],
        bell=bell,
        clock=following.plan.clock,
        wall=wall,
    )


def not_watched(
    instrument: Instrument, watched: Iterable[Instrument], ever: Collection[Instrument]
) -> UsageError:
    """Why there is nothing to remove."""
    if instrument in ever:
        return UsageError(f"{instrument} is not watched: it has left already")
    return UnknownSymbolError(instrument.symbol, [one.symbol for one in watched])


class Additions:
    """Jobs of the kind `add`: one more instrument of an exchange.

    Done when it is entered: from then on it joins, whoever is killed.
    """

    def __init__(self, joining: Joining) -> None:
        self._joining = joining

    async def do(self, job: Job, note: Note) -> Outcome:
        del note
        return _outcome(*await self._joining.add(job.request["symbol"]))


class Removals:
    """Jobs of the kind `remove`: one instrument less of an exchange."""

    def __init__(self, joining: Joining) -> None:
        self._joining = joining

    async def do(self, job: Job, note: Note) -> Outcome:
        del note
        explain = partial(self._joining.explain, job)
        return _outcome(await self._joining.remove(job.request["symbol"], explain), "left")


def _outcome(instrument: Instrument, state: str) -> Outcome:
    row = {"exchange": instrument.exchange, "symbol": instrument.symbol, "state": state}
    return Outcome(result=[row])


@dataclass(slots=True, kw_only=True)
class Joining:
    """The instruments of one exchange, changed while it is followed.

    Its panels make the rows of one that joins, and close the signals of one that leaves, wherever
    they run: they are asked by jobs of their own.

    Args:
        following: the exchange, at its live edge.
        jobs: of the panels.
        ring: wakes those in this process.
    """

    following: Following
    jobs: JobStore
    ring: Callable[[], None]
    _under_way: dict[Instrument, asyncio.Task[None]] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # they join one after another
    _order: asyncio.Lock = field(default_factory=asyncio.Lock)  # what is tried again is one too

    async def begin(self) -> None:
        """Nobody waits for what panels were asked before: they begin anew with all of it."""
        await self.jobs.give_up(self._voice, "who collects it began anew", at=self._now())

    async def try_again(self) -> None:
        """Take in those that were added and could not join in an earlier life."""
        read = partial(self._book.membership, self.following.feed.exchange.id)
        for instrument in (await patiently(read, self._wall)).waiting:
            try:
                async with self._order:
                    if instrument in (await patiently(read, self._wall)).waiting:  # not removed
                        await patiently(partial(self._enter, instrument), self._wall)
            except AlphaPulseError as error:
                self._note(instrument, error)

    async def add(self, symbol: str) -> tuple[Instrument, str]:
        """Begin to take in an instrument; one that is watched or on its way stays so.

        Returns:
            It, and whether it is `watched` or `joining`.

        Raises:
            UnknownSymbolError: the exchange does not list it.
            ExchangeUnavailableError: it cannot be asked.
        """
        instrument = self._named(symbol)
        async with self._order:
            if instrument in self.following.listings:
                return instrument, "watched"
            if instrument not in self._under_way:
                await self._enter(instrument)
            return instrument, "joining"

    async def explain(self, job: Job, why: str) -> None:
        """Say in a job why it waits."""
        await patiently(partial(self.jobs.explain, job, why, at=self._now()), self._wall)

    async def remove(self, symbol: str, explain: Callable[[str], Awaitable[None]]) -> Instrument:
        """Follow an instrument no more; its history stays, its open signals are closed.

        Args:
            symbol: of the exchange.
            explain: is told why where one that is joining leaves only when it has, or could not.

        Raises:
            UnknownSymbolError: it was never watched.
            UsageError: it is the last one, or has left.
        """
        async with self._order:
            instrument = self._named(symbol)
            if joins := self._under_way.get(instrument):
                await explain(f"{instrument} is joining; it leaves when it has")
                await asyncio.shield(joins)  # a stop ends neither by the other
            return await self._remove(instrument)

    async def _enter(self, instrument: Instrument) -> None:
        following = self.following
        (listing,) = await following.feed.exchange.listings([instrument.symbol])
        # Before it is answered, and not in its turn: a kill forgets no order.
        await self._book.watch([listing], since=self._now(), added=True)
        self._under_way[instrument] = following.tasks.create_task(self._join(listing))

    async def _remove(self, instrument: Instrument) -> Instrument:
        following = self.following
        if instrument not in following.listings:
            ever = await self._book.membership(instrument.exchange)
            if instrument in ever.waiting:
                await self._book.unwatch(instrument, until=self._now(), removed=True)
                return instrument
            raise not_watched(instrument, following.listings, ever.joined)
        if len(following.listings) == 1:
            raise UsageError(f"{instrument} is the last instrument of {instrument.exchange}")
        async with self._turn:
            del following.listings[instrument]
            following.edge.watch(following.instruments)
            following.auditor.instruments = following.instruments
            following.status.forget(instrument)
            unwatch = partial(self._book.unwatch, instrument, until=self._now(), removed=True)
            await patiently(unwatch, self._wall)
            await self._ask_panels("leave", instrument, {}, within_s=WITHDRAWN_WITHIN_S)
        log.info("%s left", instrument)
        return instrument

    async def _join(self, listing: Listing) -> None:
        instrument, status = listing.instrument, self.following.status
        try:
            async with self._turn:
                took = await patiently(partial(self._take_in, listing), self._wall)
        except AlphaPulseError as error:
            await self._could_not(instrument, error)
        except Exception as error:  # the others go on
            log.exception("nobody foresaw what %s met", instrument)
            await self._could_not(instrument, error)
        else:
            log.info("%s joined", instrument, extra=took)
            gone = why_away(instrument), f"{instrument} could not join"
            status.notes = [note for note in status.notes if not note.startswith(gone)]
        finally:
            del self._under_way[instrument]

    async def _could_not(self, instrument: Instrument, error: BaseException) -> None:
        self._note(instrument, error)
        unwatch = partial(self._book.unwatch, instrument, until=self._now(), waiting=True)
        await patiently(unwatch, self._wall)

    def _note(self, instrument: Instrument, error: BaseException) -> None:
        why = in_one_line(error)
        log.warning("%s could not join", instrument, extra={"reason": why})
        self.following.status.notes.append(
            f"{instrument} could not join: {why}; it is tried again at the next start"
        )

    async def _take_in(self, listing: Listing) -> dict[str, float]:
        """History, its rows, and then the live edge, which brings the newest closes.

        Returns:
            Seconds that each of these took.
        """
        following, instrument, wall = self.following, listing.instrument, self._wall
        moments = [wall.now()]
        answered = await self._answered()
        stored = await following.backfill([instrument], before=answered)
        moments.append(wall.now())
        first = {timeframe.value: rfc3339(close) for timeframe, close in stored.items()}
        await self._ask_panels("join", instrument, {"first": first})
        moments.append(wall.now())
        # Before the first tick that has it: who runs a panel reads it then.
        join = partial(self._book.join, instrument, at=self._now())
        await patiently(join, wall)
        following.listings[instrument] = listing
        following.auditor.instruments = following.instruments
        following.edge.watch(following.instruments)
        await self._predicted(instrument, answered)
        following.status.instruments += (instrument,)
        moments.append(wall.now())
        spans = zip(("history_s", "rows_s", "edge_s"), pairwise(moments), strict=True)
        return {name: (end - begin).total_seconds() for name, (begin, end) in spans}

    async def _answered(self) -> dict[Timeframe, datetime]:
        """The newest close of the others that is predicted; the live edge brings it and later."""
        newest: dict[Timeframe, datetime] = {}
        for timeframe in self.following.feed.timeframes:
            if served := await self._served(self.following.instruments, timeframe):
                newest[timeframe] = max(served.values())
        return newest

    async def _predicted(self, instrument: Instrument, since: Mapping[Timeframe, datetime]) -> None:
        """Wait at each timeframe for a prediction that is as new as those of the others were."""
        for timeframe in self.following.feed.timeframes:
            while True:
                served = (await self._served([instrument], timeframe)).get(instrument)
                if served is not None and served >= since.get(timeframe, served):
                    self.following.status.predicted(timeframe, (instrument,), served)
                    break
                await self._wall.sleep(LOOK_EVERY)

    async def _served(
        self, instruments: Sequence[Instrument], timeframe: Timeframe
    ) -> dict[Instrument, datetime]:
        horizon = Horizon(timeframe, min(self.following.plan.horizons))
        read = partial(self.following.store.history.newest_served, instruments, horizon)
        return await patiently(read, self._wall)

    async def _ask_panels(
        self,
        kind: str,
        instrument: Instrument,
        more: Mapping[str, Any],
        *,
        within_s: float | None = None,
    ) -> None:
        """Have whoever runs the exchange's panels do something, and wait for it.

        Raises:
            JobFailedError: one of them could not.
        """
        request = {"exchange": instrument.exchange, "symbol": instrument.symbol, **more}
        order = Order(kind=kind, request=request, caller=self._voice, key=None)
        owners = [
            panel_voice(panel_key(instrument.exchange, timeframe))
            for timeframe in self.following.feed.timeframes
        ]
        enter = partial(self.jobs.enter, order, owners, at=self._now())
        asked = await patiently(enter, self._wall)
        self.ring()
        looks = None if within_s is None else round(within_s / LOOK_EVERY.total_seconds())
        while looks is None or looks > 0:
            parts = await patiently(partial(self.jobs.parts, asked.row["id"]), self._wall)
            if all(part.ended for part in parts):
                if failed := [part for part in parts if part.state == "failed"]:
                    raise JobFailedError(f"{failed[0].owner}: {failed[0].detail}")
                return
            await self._wall.sleep(LOOK_EVERY)
            looks = None if looks is None else looks - 1

    def _named(self, symbol: str) -> Instrument:
        return Instrument(self.following.feed.exchange.id, symbol)

    @property
    def _voice(self) -> str:
        return collectors_voice(self.following.feed.exchange.id)

    @property
    def _book(self) -> Instruments:
        return self.following.store.instruments

    @property
    def _wall(self) -> Clock:
        return self.following.feed.pace.wall

    def _now(self) -> datetime:
        return self.following.plan.clock.now()
