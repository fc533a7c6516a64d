"""What sources tell on its way to the tables: news picked out, texts scored, states noted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import numpy as np

from backend.asked import Asked
from backend.background import Rounds
from backend.clock import SystemClock
from backend.hearing import Hearing
from backend.metrics import FACTS_KEPT
from backend.store.database import CONNECTION_ERRORS, patiently
from backend.store.quarantine import REFUSALS, refuse_answers
from backend.store.sources import Dated
from backend.store.told import EVER
from backend.wiring import Store
from collectors.sources.payloads import refusal
from collectors.sources.poller import Poller
from domain.errors import LeaseLostError
from domain.market import EPOCH, from_ms, to_ms
from domain.ports import Clock
from domain.sources import (
    Answer,
    Measurement,
    Refused,
    SourceState,
    SourceStatus,
    TextItem,
    TextKind,
)
from services.sentiment.blend import shipped
from services.sentiment.clusters import REMEMBERED_MS
from services.sentiment.reader import Reader

log = logging.getLogger(__name__)

_Dating = Callable[..., AbstractAsyncContextManager[Dated]]

LOOK_EVERY_S: Final = 1.0  # wall seconds between two looks at the states
FORGET_EVERY_S: Final = 600.0  # wall seconds
STOPPED: Final = "the system is stopped"
NOT_ASKED: Final = "not among the settings"


class Collection:
    """Polls what is asked and keeps what it tells; while the database is away it waits.

    `begin`, then `run` until it is cancelled, then `close`.

    Args:
        asked: sources with distinct names.
        store: the tables.
        clock: of the market.
        wall: of waiting for the database.
        hearing: of the panels in this process, if there are any.
    """

    def __init__(
        self,
        asked: Asked,
        *,
        store: Store,
        clock: Clock,
        wall: Clock | None = None,
        hearing: Hearing | None = None,
    ) -> None:
        self._asked = asked
        self._store = store.sources
        self._hearing = hearing
        self._dated = hearing.storing if hearing else store.sources.dated
        self._pool = store.writers
        self._clock = clock
        self._wall = wall or SystemClock()
        self._instruments = store.instruments
        self._reader: Reader
        self._poller = Poller(asked.sources, clock=clock, deliver=self.keep, least=asked.least)
        self._records: dict[str, Rounds] = {}  # by source
        self._off = [_off(name, why, clock.now()) for name, why in asked.off.items()]

    def statuses(self) -> list[SourceStatus]:
        """How each source is doing now; those that are off at the end."""
        return [*self._poller.statuses(), *self._off]

    async def begin(self) -> None:
        """Load the scorer, know the stories of before, and store the past of a simulated market."""
        scorer = await asyncio.to_thread(shipped)
        self._reader = Reader(scorer, assets=self._asked.assets())
        since = self._clock.now() - timedelta(milliseconds=REMEMBERED_MS)
        texts = await patiently(partial(self._store.texts, since), self._wall)
        await asyncio.to_thread(self._reader.remember, texts)
        for answer in self._asked.past:
            await self._take_past(answer)
        await patiently(self._retire, self._wall)
        if self._hearing is not None:
            await self._hearing.begin(since=EPOCH if self._asked.past else None)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._poller.run())
            tasks.create_task(self._note_states())
            tasks.create_task(self._forget())

    async def close(self) -> None:
        """Say that nobody is asked any more, where the database is there to be told."""
        for work in self._records.values():
            work.close()
        now = self._clock.now()
        stopped = [_off(one.source, STOPPED, now) for one in self._poller.statuses()]
        try:
            await self._change(stopped, self._store.dated)
        except (LeaseLostError, *CONNECTION_ERRORS) as error:
            log.warning("states of sources are not stored", extra={"reason": str(error)})

    async def keep(self, source: str, answer: Answer) -> None:
        """Store what an answer tells; whatever came through before is not stored twice."""
        if source not in self._records:
            self._records[source] = Rounds(f"the record of what {source} tells")
        with self._records[source].going_on():
            await self._keep(answer)

    async def _keep(self, answer: Answer) -> None:
        try:
            await patiently(partial(self._record, answer), self._wall)
        except REFUSALS as error:
            facts: tuple[TextItem | Measurement, ...] = (*answer.items, *answer.measurements)
            log.error("an answer of a source cannot be stored", extra={"reason": str(error)})  # noqa: TRY400 - one line, and the answer is in quarantine
            impossible = [
                refusal(_source(one), f"not stored: {error}", repr(one).encode()) for one in facts
            ]
            await patiently(partial(self._refuse, impossible), self._wall)

    async def _record(self, answer: Answer) -> None:
        """What is news, known from now on: it can be used when it is stored, and not before."""
        news, measured = await self._store.news(answer.items), answer.measurements
        if news:
            self._reader.watch(self._asked.assets())
        scored = await asyncio.to_thread(self._reader.on_texts, news)
        await self._instruments.ids([one.instrument for one in measured])
        known_ms = [*(one.known_ms for one in news), *(one.known_ms for one in measured)]
        if known_ms:
            async with self._dated(self._clock, least_ms=max(known_ms)) as (store, moment):
                now_ms = to_ms(moment)
                await store.write(
                    [replace(one, known_ms=now_ms) for one in news],
                    replace(scored, known_ms=np.full(len(scored), now_ms, dtype=np.int64)),
                    scored_at=moment,
                )
                new = await store.measure([replace(one, known_ms=now_ms) for one in measured])
            FACTS_KEPT.labels("texts").inc(len(news))
            FACTS_KEPT.labels("measurements").inc(new)
        if answer.refused:
            await self._refuse(answer.refused)

    async def _take_past(self, past: Answer) -> None:
        """What a simulated market had told, to somebody who had listened all along."""
        wall, store = self._wall, self._store
        news = await patiently(partial(store.news, past.items), wall)
        scored = await asyncio.to_thread(self._reader.on_texts, news)
        scored_at = self._clock.now()
        await patiently(partial(store.write, news, scored, scored_at=scored_at), wall)
        await patiently(partial(store.measure, past.measurements), wall)
        told: list[TextItem | Measurement] = [*past.items, *past.measurements]
        first = from_ms(min(one.known_ms for one in told))
        fine = [
            replace(one, state=SourceState.OK, since=first, reason="")
            for one in self._poller.statuses()
        ]
        await patiently(partial(store.change, fine, known_at=first), wall)

    async def _refuse(self, refused: Sequence[Refused]) -> None:
        await refuse_answers(self._pool, refused, received_at=self._clock.now())

    async def _retire(self) -> None:
        """Sources that were asked once and are not among the settings any more are off."""
        now = self._clock.now()
        here = {one.source for one in self.statuses()}
        gone = [
            _off(name, NOT_ASKED, now)
            for name, one in (await self._store.states(EVER)).items()
            if name not in here and one.state is not SourceState.OFF
        ]
        await self._change(gone, self._store.dated)

    async def _note_states(self) -> None:
        """Store each change of a state when it is seen."""
        told: dict[str, tuple[SourceState, str]] = {}
        with Rounds("the record of states of sources") as record:
            while True:
                with record.going_on():
                    changed = [one for one in self.statuses() if told.get(one.source) != _said(one)]
                    await patiently(partial(self._change, changed, self._dated), self._wall)
                    told |= {one.source: _said(one) for one in changed}
                await asyncio.sleep(LOOK_EVERY_S)

    async def _change(self, changed: Sequence[SourceStatus], dated: _Dating) -> None:
        """Store states, seen from now on."""
        if changed:
            async with dated(self._clock) as (store, moment):
                await store.change(changed, known_at=moment)

    async def _forget(self) -> None:
        with Rounds("the forgetting of posts") as work:
            while True:
                before = self._clock.now() - self._asked.keep_posts
                forget = partial(self._store.forget_texts, TextKind.SOCIAL, before=before)
                with work.going_on():
                    await patiently(forget, self._wall)
                await asyncio.sleep(FORGET_EVERY_S)


def _source(fact: TextItem | Measurement) -> str:
    return fact.source if isinstance(fact, TextItem) else fact.metric.value


def _off(name: str, why: str, since: datetime) -> SourceStatus:
    return SourceStatus(source=name, state=SourceState.OFF, since=since, reason=why)


def _said(status: SourceStatus) -> tuple[SourceState, str]:
    return status.state, status.reason
