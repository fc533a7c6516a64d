"""Signals that are open when a panel is lost are gone on with, and end as if nothing had been."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from backend.leaving import withdraw_signals
from backend.panel import Panel, PanelKey
from backend.revisions import Revisions
from backend.runner import Runner
from backend.store.candles import store_candles
from backend.store.chain import verify
from backend.store.published import compare
from backend.store.recorder import Recorder
from backend.store.snapshots import Snapshot
from backend.store.stream_log import StreamEvent
from backend.warmup import catch_up, snapshot_of
from backend.wiring import Store, open_store
from domain.events import Candle, CandleBatch, PredictionBatch, Signal, SignalBatch, Source
from domain.market import Instrument, Timeframe, to_ms
from services.signals.policy import PolicySettings, SignalPolicy
from tests.doubles import START, ManualClock
from tests.factories import candle, candle_batches

H1 = Timeframe.H1
HISTORY, KEPT, KILLED, BACK, END = 60, 64, 70, 74, 86  # ticks
HORIZON = 9
COLUMNS = ("open", "high", "low", "close", "volume")
SIGMA = 0.025  # some signals hit a barrier, and some expire
NAMES = ("AAA/USDT", "BBB/USDT", "CCC/USDT")
SIGNALS = """
SELECT symbol, as_of, status, closed_at, side, entry_price, stop, take, exit_price,
    realized_return FROM trading_signals JOIN instruments USING (instrument_id)
WHERE exchange = $1 ORDER BY 1, 2
"""
COMPOSED = """
SELECT symbol, as_of, model, made_at, origin FROM ml_predictions
JOIN instruments USING (instrument_id) WHERE exchange = $1 AND role <> 'challenger' ORDER BY 1, 2, 3
"""
SCORED = """
SELECT symbol, as_of, model, origin, log_loss, pinball, qlike FROM ml_prediction_outcomes
JOIN instruments USING (instrument_id) WHERE exchange = $1 AND role <> 'challenger' ORDER BY 1, 2, 3
"""
NOT_ONCE = """
SELECT symbol, p.as_of, p.model, p.origin, count(o) FROM ml_predictions p
JOIN instruments USING (instrument_id) LEFT JOIN ml_prediction_outcomes o
    USING (instrument_id, timeframe, horizon, as_of, revision, role, model, origin)
WHERE exchange = $1 AND EXISTS (SELECT FROM ml_labels AS l
    WHERE (l.instrument_id, l.as_of) = (p.instrument_id, p.as_of) AND log_return IS NOT NULL)
GROUP BY 1, 2, 3, 4 HAVING count(o) <> 1
"""
TOLD = "SELECT event, payload FROM stream_events WHERE stream LIKE 'signals.1h.' || $1 || '.%'"


class Bold(SignalPolicy):
    """Takes sides in turn, whatever holds them back."""

    opposite = False

    def on_predictions(self, batch: PredictionBatch) -> Iterable[SignalBatch]:
        for decided in super().on_predictions(batch):
            yield replace(decided, signals=tuple(map(self._bold, decided.signals)))

    def _bold(self, signal: Signal) -> Signal:
        side = ("long", "short")[(signal.as_of_ms // H1.ms + self.opposite) % 2]
        return replace(
            signal,
            side=side,
            gate="",
            status="pending",
            sigma=SIGMA,
            strength=0.2 if self.opposite else 0.1,
            size_fraction=0.01,
        )


class Watch:
    """An observer that keeps the panel's state of one tick."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel

    def seated(self, changes: object) -> None:
        assert not changes

    def states(self, as_of: datetime) -> Sequence[Snapshot]:
        return (snapshot_of(self.panel, as_of),) if as_of == close(KEPT) else ()

    def past(self, candles: CandleBatch) -> Sequence[Snapshot]:
        raise AssertionError(candles)

    async def after_tick(self, candles: CandleBatch) -> None:
        return


class KilledError(Exception):
    """In place of a signal that nothing survives."""


class Torn:
    """A recorder of first transactions."""

    def __init__(self, recorder: Recorder) -> None:
        self.commit_tick = recorder.commit_tick

    async def commit_learning(self, *_: object, **__: object) -> list[StreamEvent]:
        raise KilledError


class Life:
    """One panel over the store, on an exchange of its own."""

    def __init__(self, store: Store, exchange: str) -> None:
        self.store, self.exchange = store, exchange
        self.instruments = tuple(Instrument(exchange, name) for name in NAMES)
        self.clock = ManualClock(close(HISTORY))
        self.walk = candle_batches(self.instruments, END, seed=4)

    async def begin(self) -> None:
        await self.collect(0, HISTORY)
        await self.start()

    async def start(self, *, opposite: bool = False) -> None:
        """Catch up and go on.

        Args:
            opposite: of what was said; so it may be where a membership has changed meanwhile.
        """
        policy = PolicySettings(cost_bps=0.0)
        key = PanelKey(exchange=self.exchange, timeframe=H1)
        panel = Panel(key, [HORIZON], clock=self.clock, policy=policy)
        panel.rooms[HORIZON].policy = bold = Bold(horizon=HORIZON, settings=policy)
        bold.opposite = opposite
        revisions = Revisions(
            panel=panel,
            joined=dict.fromkeys(self.instruments),
            store=self.store,
            clock=self.clock,
            wall=self.clock,
        )
        self.caught_up = await catch_up(revisions, since=START, report=lambda done, total: None)
        self.runner = Runner(
            panel=panel,
            recorder=self.store.recorder,
            publish=lambda events: None,
            clock=self.clock,
            wall=self.clock,
            observer=Watch(panel),
            turn=revisions.turn,
        )

    async def live(self, first: int, last: int) -> None:
        for batch in self.walk[first:last]:
            self.clock.advance(batch.as_of - self.clock.now())
            await self.runner.on_candles(batch)

    async def torn(self, tick: int) -> None:
        """Die between the two transactions of tick number `tick`."""
        self.runner.recorder = Torn(self.store.recorder)
        with pytest.raises(KilledError):
            await self.live(tick - 1, tick)

    async def collect(self, first: int, last: int) -> None:
        """Store candles that no panel takes."""
        told = [one for batch in self.walk[first:last] for one in rows_of(batch)]
        self.clock.advance(close(last) - self.clock.now())
        now = self.clock.now()
        await store_candles(self.store.writers, self.store.instruments, told, known_at=now)

    async def fetch(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.store.readers.fetch(query, self.exchange)]

    async def revise(self, tick: int) -> None:
        """Store other candles of a tick, which no signal would have outlived."""
        told = [
            replace(one, high=2 * one.high, low=one.low / 2) for one in rows_of(self.walk[tick - 1])
        ]
        now = self.clock.now()
        await store_candles(self.store.writers, self.store.instruments, told, known_at=now)

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Every event that was told of signals, and what it says."""
        return [(event, orjson.loads(payload)) for event, payload in await self.fetch(TOLD)]

    async def told(self) -> Counter[tuple[str, str, str]]:
        """How often each event of each signal was told."""
        told = await self.events()
        return Counter((event, row["symbol"], row["as_of"]) for event, row in told)


def close(tick: int) -> datetime:
    """When tick number `tick`, from 1, closes."""
    return START + tick * H1.duration


def rows_of(batch: CandleBatch) -> list[Candle]:
    return [
        candle(
            instrument=instrument,
            open_ms=to_ms(batch.as_of) - H1.ms,
            source=Source.BACKFILL,
            confirmed=True,
            **{name: float(getattr(batch, name)[row]) for name in COLUMNS},
        )
        for row, instrument in enumerate(batch.instruments)
    ]


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as opened:
        yield opened


@pytest.mark.long
async def test_open_signals_end_after_a_kill_as_they_do_without_one(store: Store) -> None:
    whole, killed = Life(store, "whole"), Life(store, "killed")
    for life in (whole, killed):
        await life.begin()
    await whole.live(HISTORY, END)
    await killed.live(HISTORY, KILLED - 1)
    await killed.torn(KILLED)
    before = {row[:2]: row for row in await killed.fetch(SIGNALS)}
    await killed.collect(KILLED, BACK)
    await killed.start()
    await killed.live(BACK, END)

    assert killed.caught_up.snapshot_at == close(KEPT)
    expected = {row[:2]: row for row in await whole.fetch(SIGNALS)}
    found = {row[:2]: row for row in await killed.fetch(SIGNALS)}
    # Closes that were made good too late have no signal.
    assert found == {
        key: row for key, row in expected.items() if not close(KILLED) < key[1] < close(BACK)
    }
    # The kill met every kind: of before and after the snapshot, ended since then or still open.
    met = {
        (as_of > close(KEPT), closed_at is not None)
        for _, as_of, _, closed_at, *_ in before.values()
        if closed_at is None or closed_at > close(KEPT)
    }
    assert met == {(False, False), (False, True), (True, False), (True, True)}
    assert {row[2] for row in found.values()} >= {"take_profit", "stop_loss", "expired"}
    told = await killed.told()
    assert set(told.values()) == {1}
    ended = {key for key, row in found.items() if row[3] is not None}
    assert len([one for one in told if one[0] == "closed"]) == len(ended) > len(NAMES) * HORIZON
    async with store.readers.acquire() as connection:
        assert await verify(connection) is None
    # What died with the second transaction is made again as what it was, and judged.
    for query in (COMPOSED, SCORED):
        expected_rows, rows = [
            [row for row in await life.fetch(query) if row[1] <= close(KILLED)]
            for life in (whole, killed)
        ]
        assert rows == expected_rows
        assert {row[1] for row in rows} >= {close(HISTORY - HORIZON), close(KILLED)}
    assert await killed.fetch(NOT_ONCE) == []


@pytest.mark.long
async def test_a_tick_that_is_made_again_says_of_its_signals_what_was_said(store: Store) -> None:
    whole, killed = Life(store, "whole"), Life(store, "killed")
    for life in (whole, killed):
        await life.begin()
    await whole.live(HISTORY, END)
    await killed.live(HISTORY, KILLED - 1)
    await killed.torn(KILLED)
    await killed.revise(KILLED - 1)
    await killed.start(opposite=True)  # within the bar: what is made again is live
    await killed.live(KILLED, END)

    expected, found = [
        {row[:2]: row for row in await life.fetch(SIGNALS) if row[1] <= close(KILLED)}
        for life in (whole, killed)
    ]
    assert found == expected
    said: dict[tuple[str, str], set[tuple[object, ...]]] = {}
    for _, row in await killed.events():
        decided = tuple(row[name] for name in ("side", "strength", "version", "revision"))
        said.setdefault((row["symbol"], row["as_of"]), set()).add(decided)
    assert {len(decided) for decided in said.values()} == {1}
    assert set((await killed.told()).values()) == {1}
    async with store.readers.acquire() as connection:
        assert await verify(connection) is None
        assert not await compare(connection)


async def test_signals_of_an_instrument_that_left_are_withdrawn_also_at_the_next_start(
    store: Store,
) -> None:
    life = Life(store, "smaller")
    *followed, gone = life.instruments
    await life.begin()
    await life.live(HISTORY, KILLED)
    life.clock.advance(H1.duration / 2)
    before = {row[:2]: row for row in await life.fetch(SIGNALS)}
    await life.start()  # the order was followed so far when the process died

    await withdraw_signals(life.runner, store, followed)
    await withdraw_signals(life.runner, store, followed)

    changed = [row for row in await life.fetch(SIGNALS) if row != before[row[:2]]]
    was_open = [row for row in before.values() if row[0] == gone.symbol and row[3] is None]
    assert {row[:2] for row in changed} == {row[:2] for row in was_open}
    assert {row[2:4] for row in changed} == {("withdrawn", life.clock.now())}
    # The newest was not entered yet; what was has left at the last close.
    entered = {row[1]: (row[5] is None, row[8] is None, row[9] is None) for row in changed}
    assert entered.pop(close(KILLED)) == (True, True, True)
    assert set(entered.values()) == {(False, False, False)}
    assert {count for (event, *_), count in (await life.told()).items() if event == "closed"} == {1}
    async with store.readers.acquire() as connection:
        assert not await compare(connection)
