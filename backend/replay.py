"""The same rooms over recorded candles on a virtual clock, in a database that is then dropped."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from backend import VERSION
from backend.added import added, as_told, fitted_losses, forecasters
from backend.clock import SystemClock, VirtualClock
from backend.devices import refuse_absent
from backend.executor import ProcessExecutor
from backend.exported import REPLAYED
from backend.learning.learning import Learning
from backend.learning.plan import Due, LearningPlan
from backend.panel import Panel, PanelKey
from backend.plugin_checks import admit
from backend.progress import Progress
from backend.replay_store import store_of_its_own
from backend.report import Losses, ReportContext, build_report
from backend.settings import Settings
from backend.store import ledger
from backend.store.columns import CandlePanel, CandleSeries
from backend.ticks import labels_once, ticks
from backend.transfer import make_room, write_replay_tables
from backend.wiring import Store, decided_by, labels_of, online_of, policy_of, sets_of, terms_of
from collectors.recorded import Recording, Selection, choose, read_folder
from collectors.recorded_sources import RecordedSources, read_sources
from domain.errors import UsageError
from domain.events import CandleBatch
from domain.market import Horizon, Timeframe, from_ms, rfc3339, to_ms
from domain.ports import Executor
from domain.sources import Measurement, Metric
from services.features.kinds import RELEASE, CandleSet
from services.sentiment.features import SentimentFeatures

TICKS_PER_COMMIT = 200
FOLDED = 2_000  # closes of the paper account between two transactions


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """What to replay and where the report goes."""

    data: Path
    exchange: str | None
    symbols: list[str] | None
    timeframe: str
    horizon: int
    since: datetime | None
    until: datetime | None
    seed: int
    report: Path
    out: Path | None
    captured: bool = False  # whether `data` holds captured frames
    sentiment: Path | None = None  # folder of what sources told


async def run_replay(plan: ReplayPlan, settings: Settings) -> dict[str, Any]:
    """Replay, write the report, and return it.

    Raises:
        UsageError: the folder, or what was asked of it, holds nothing to replay, or nothing can be
            written where the plan says.
        UnknownPluginError, PluginError: one that is switched on is not there, or not fit to serve.
    """
    timeframe = Timeframe.parse(plan.timeframe)
    selection = await _selected(plan, timeframe)
    series = [_series(one, plan.until) for one in selection.recordings.values()]
    if not any(len(one) for one in series):
        raise UsageError(f"{plan.data}: no candle before {plan.until}")
    _, last, _ = _extent(series, timeframe)
    if plan.since is not None and plan.since > last:
        raise UsageError(
            f"{plan.data}: nothing to predict from {rfc3339(plan.since)} on:"
            f" the last candle closes at {rfc3339(last)}"
        )
    recorded = read_sources(plan.sentiment) if plan.sentiment else None
    tables = [plan.out / f"{kind}.parquet" for kind in REPLAYED] if plan.out else []
    make_room([plan.report, *tables])  # what takes an hour is not to be lost
    sys.stderr.writelines(f"{line}\n" for line in selection.notes())
    with _ended_by_sigterm():
        await admit(settings)
        await refuse_absent(settings)
        without = await _without(plan, settings, timeframe, series) if recorded else None
        async with store_of_its_own(settings) as store:
            replay = Replay(plan, settings, store, timeframe)
            if recorded is not None:
                replay.sentiment = as_told(recorded, {one.instrument.base for one in series})
                await store.sources.measure(funding_of(recorded, series))
            report = await replay.run(series)
            if recorded is not None and without is not None:
                losses = await replay.losses(series)
                span = Horizon(timeframe, plan.horizon)
                targets = forecasters(store.artifacts.catalogue)
                report["sentiment"] = added(
                    losses, without, recorded, targets=targets, span=span, seed=plan.seed
                )
            if plan.out is not None:
                await write_replay_tables(store, plan.out)
    unused = selection.unused
    report["data"]["rejected"] = {"rows": unused.rows, "files": unused.files}
    plan.report.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    return report


async def _without(
    plan: ReplayPlan, settings: Settings, timeframe: Timeframe, series: list[CandleSeries]
) -> dict[str, Losses]:
    """What is lost where nobody tells anything."""
    async with store_of_its_own(settings) as store:
        replay = Replay(plan, settings, store, timeframe)
        await replay.run(series)
        return await replay.losses(series)


def funding_of(recorded: RecordedSources, series: list[CandleSeries]) -> list[Measurement]:
    """The rates that the paper account pays."""
    ours = {one.instrument for one in series}
    rates = (one for one in recorded.measurements if one.metric is Metric.FUNDING_RATE)
    return [one for one in rates if one.instrument in ours]


async def _selected(plan: ReplayPlan, timeframe: Timeframe) -> Selection:
    """The candles of a folder, or those that its captured frames tell."""
    if plan.captured:
        from collectors.captured import candles_of  # noqa: PLC0415 - ccxt takes half a second

        return await candles_of(
            plan.data, exchange=plan.exchange, symbols=plan.symbols, timeframe=timeframe
        )
    return choose(
        read_folder(plan.data), exchange=plan.exchange, symbols=plan.symbols, timeframe=timeframe
    )


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """As by Ctrl-C: what the replay made goes with it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


class Replay:
    """One pass over the ticks; a subclass may open other rooms or another executor."""

    def __init__(
        self, plan: ReplayPlan, settings: Settings, store: Store, timeframe: Timeframe
    ) -> None:
        self._plan, self._settings, self._store = plan, settings, store
        self._timeframe = timeframe
        self._clock = VirtualClock(from_ms(0))
        self._events: list[object] = []
        self.sentiment: SentimentFeatures | None = None  # what sources told
        self.sets: tuple[CandleSet, ...] = (RELEASE,)  # what candles are made into

    async def run(self, series: list[CandleSeries]) -> dict[str, Any]:
        began = time.perf_counter()
        exchange = series[0].instrument.exchange
        self.sets = await sets_of(self._store.writers, self._settings, self._clock.now())
        panel = self.open_panel(PanelKey(exchange=exchange, timeframe=self._timeframe))
        executor = self.open_executor()
        learning = Learning(
            panel=panel,
            store=self._store,
            executor=executor,
            clock=self._clock,
            wall=SystemClock(),
            plan=LearningPlan.of(
                self._settings.training,
                self._timeframe,
                seed=self._plan.seed,
                plugins=self._settings.plugins,
                sets=self.sets,
            ),
            emit=self._events.append,
        )
        batches = list(ticks(CandlePanel.of(series, self._timeframe), exchange=exchange))
        try:
            await self._play(panel, learning, batches)
        finally:
            executor.close()
        await self._fold()
        candles = sum(len(batch) for batch in batches)
        seconds = time.perf_counter() - began
        return await self._report(panel, series, candles, seconds)

    def open_panel(self, key: PanelKey) -> Panel:
        """The rooms that the ticks run through."""
        policy = policy_of(self._settings)
        return Panel(
            key,
            [self._plan.horizon],
            clock=self._clock,
            policy=policy,
            sentiment=self.sentiment,
            kinds=labels_of(self._settings),
            online=online_of(self._settings),
            decided_by=decided_by(self._settings),
            sets=self.sets,
        )

    async def losses(self, series: list[CandleSeries]) -> dict[str, Losses]:
        """What pools and fitted models lost."""
        numbers = await self._store.instruments.ids([one.instrument for one in series])
        named = dict(zip(numbers.tolist(), [one.instrument for one in series], strict=True))
        async with self._store.readers.acquire() as connection:
            names = [*forecasters(self._store.artifacts.catalogue)]
            return await fitted_losses(connection, self._plan.horizon, named, names)

    def open_executor(self) -> Executor:
        """Where the fits run; closed at the end of the pass."""
        return ProcessExecutor(workers=2, nice=0)

    async def _play(self, panel: Panel, learning: Learning, batches: Sequence[CandleBatch]) -> None:
        """The ticks in turn: some are written while the next are computed."""
        with Progress("replay", len(batches)) as progress:
            done = 0
            while done < len(batches):
                chunk = batches[done : done + TICKS_PER_COMMIT]
                (played, due), _ = await asyncio.gather(
                    asyncio.to_thread(self._advance, panel, learning, chunk), self._written()
                )
                done += played
                if due:
                    await self._written()
                    await learning.run(due)
                progress.report(done)
            await self._written()

    def _advance(
        self, panel: Panel, learning: Learning, batches: Sequence[CandleBatch]
    ) -> tuple[int, Due]:
        """Play ticks up to one that makes learning due: how many, and what is due."""
        since = self._plan.since
        for number, batch in enumerate(batches, start=1):
            live = since is None or batch.as_of >= since
            # Before `--from` the clock stands at `--from`: those candles are history, of which
            # the first fit is made, as a system has it that starts then.
            self._clock.set(batch.as_of if live or since is None else since)
            panel.seat_due(batch.as_of)
            hot, _ = panel.hot.run(batch)
            cold, _ = panel.cold.run(batch, *hot)
            self._events += [batch, *hot, *cold]
            if live and (due := learning.due(batch.as_of)):
                return number, due
        return len(batches), Due()

    def _written(self) -> Awaitable[object]:
        """The commit of all that has happened up to this call."""
        events, self._events[:] = list(self._events), []
        return self._store.recorder.commit_tick(labels_once(events), published_at=self._clock.now())

    async def _fold(self) -> None:
        """The paper account, from what was written."""
        async with self._store.writers.acquire() as connection:
            while await ledger.fold(connection, partial(terms_of, self._settings), closes=FOLDED):
                pass

    async def _report(
        self,
        panel: Panel,
        series: list[CandleSeries],
        candles: int,
        seconds: float,
    ) -> dict[str, Any]:
        instruments = [one.instrument for one in series]
        numbers = await self._store.instruments.ids(instruments)
        rooms = panel.rooms[self._plan.horizon]
        first, last, gaps = _extent(series, self._timeframe)
        async with self._store.readers.acquire() as connection:
            return await build_report(
                connection,
                timeframe=self._timeframe,
                horizon=self._plan.horizon,
                instruments=dict(zip(numbers.tolist(), instruments, strict=True)),
                context=ReportContext(
                    run={
                        "exchange": instruments[0].exchange,
                        "timeframe": self._timeframe.value,
                        "horizon": self._plan.horizon,
                        "seed": self._plan.seed,
                        "symbols": sorted(one.symbol for one in instruments),
                        "from": rfc3339(self._plan.since) if self._plan.since else None,
                        "version": VERSION,
                    },
                    data={
                        "candles": candles,
                        "instruments": len(series),
                        "from": rfc3339(first),
                        "to": rfc3339(last),
                        "gaps": gaps,
                    },
                    cost={
                        "seconds": round(seconds, 3),
                        "candles_per_second": round(candles / seconds, 1),
                        "peak_rss_mb": peak_rss_mb(),
                    },
                    weights=rooms.predictor.weights(),
                    cost_bps=self._settings.signals.cost_bps,
                    seed=self._plan.seed,
                ),
            )


def peak_rss_mb() -> float:
    """The most memory that this process has held."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024, 1)


def _series(recording: Recording, until: datetime | None) -> CandleSeries:
    """The candles of a recording that close by `until`."""
    n = len(recording)
    if until is not None:
        closed = recording.open_ms + recording.timeframe.ms <= to_ms(until)
        n = int(closed.sum())
    opened, high, low, close, volume = recording.values[:n].T
    return CandleSeries(
        instrument=recording.instrument,
        open_ms=recording.open_ms[:n],
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume,
        revision=np.ones(n, dtype=np.int64),
    )


def _extent(series: list[CandleSeries], timeframe: Timeframe) -> tuple[datetime, datetime, int]:
    """First open, last close, and how many candles are missing between each one's ends."""
    filled = [one for one in series if len(one)]
    first = min(int(one.open_ms[0]) for one in filled)
    last = max(int(one.open_ms[-1]) for one in filled) + timeframe.ms
    gaps = sum(
        (int(one.open_ms[-1]) - int(one.open_ms[0])) // timeframe.ms + 1 - len(one)
        for one in filled
    )
    return from_ms(first), from_ms(last), gaps
