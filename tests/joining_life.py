"""A panel over the store that has heard news, and whose exchange has instruments added."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np

from backend.clock import SystemClock
from backend.hearing import Hearing
from backend.panel import Panel, PanelKey
from backend.revisions import Revisions
from backend.store.candles import store_candles
from backend.wiring import Store
from domain.events import CandleBatch
from domain.market import EPOCH, Instrument, Listing, to_ms
from domain.sources import SourceState, SourceStatus, TextItem
from services.sentiment.blend import NAME
from services.sentiment.items import ScoredItems
from services.signals.policy import PolicySettings
from tests.doubles import START, ManualClock
from tests.factories import BTC, CANDLE, ETH, candles

H1 = CANDLE.timeframe
NEWS = SourceStatus(source="coindesk", state=SourceState.OK, since=EPOCH)
APART = {"BTC": (0.5, 0.7, 0.6), "ETH": (-0.2, -0.4, -0.3), "SOL": (0.1, 0.3, 0.9)}


class Joining:
    """A panel that has heard news of three assets, and follows BTC and ETH."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock(START + H1.duration / 2)
        self.hearing = Hearing(store=store, clock=self.clock, wall=SystemClock(), alone=True)

    async def begin(self, said: Mapping[str, Sequence[float]] = APART) -> None:
        await self.hearing.begin()
        self.key = PanelKey(exchange=BTC.exchange, timeframe=H1)
        self.panel = Panel(
            self.key, [1], clock=self.clock, policy=PolicySettings(), sentiment=self.hearing.told
        )
        self.revisions = Revisions(
            panel=self.panel,
            joined=dict.fromkeys([BTC, ETH]),
            store=self.store,
            clock=self.clock,
            wall=self.clock,
        )
        listings = [Listing(instrument=one) for one in (BTC, ETH)]
        await self.store.instruments.watch(listings, since=self.clock.now())
        async with self.hearing.storing(self.clock) as (dated, moment):
            await dated.change([NEWS], known_at=moment)
            items, scored = articles(moment, said)
            await dated.write(items, scored, scored_at=moment)

    async def tick(self, batch: CandleBatch) -> None:
        self.clock.advance(batch.as_of - self.clock.now())
        await self.hearing.before(self.key, batch.as_of)
        hot, _ = self.panel.hot.run(batch)
        await self.store.recorder.commit_tick([batch, *hot], published_at=batch.as_of)

    async def join(self, *added: Instrument) -> None:
        """One after another, with a history as long as that of the others."""
        for one in added:
            self.clock.advance(timedelta(minutes=1))
            past = candles(2, seed=9, instrument=one)
            book, now = self.store.instruments, self.clock.now()
            await book.watch([Listing(instrument=one)], since=now, added=True)
            await store_candles(self.store.writers, book, past, known_at=now)
            taken_in = self.revisions.take_in(one, first=START + H1.duration)
            await asyncio.gather(taken_in, self._settle())
            await book.join(one, at=now)
            self.revisions.joins((await book.membership(one.exchange)).joined)

    async def _settle(self) -> None:
        await asyncio.sleep(0)
        await self.revisions.settle()


def articles(
    known_at: datetime, said: Mapping[str, Sequence[float]]
) -> tuple[list[TextItem], ScoredItems]:
    """By the polarities of each asset's."""
    pairs = [(asset, polarity) for asset, ours in said.items() for polarity in ours]
    n, now_ms = len(pairs), to_ms(known_at)
    names = [str(number) for number in range(n)]
    items = [
        TextItem(source="coindesk", item_id=name, published_ms=now_ms, known_ms=now_ms, title=name)
        for name in names
    ]
    scored = ScoredItems(
        source=np.full(n, "coindesk"),
        item_id=np.array(names),
        asset=np.array([asset for asset, _ in pairs]),
        relevance=np.ones(n),
        cluster=np.array([f"coindesk:{name}" for name in names]),
        language=np.full(n, "en"),
        published_ms=np.full(n, now_ms),
        known_ms=np.full(n, now_ms),
        engagement=np.full(n, np.nan),
        scorer=np.full(n, NAME),
        polarity=np.array([polarity for _, polarity in pairs]),
        confidence=np.ones(n),
    )
    return items, scored
