"""Warm panels behind a real store, hub, server and subscriber, and a stopwatch at each step."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from backend.api.app import create_app
from backend.api.hub import Hub
from backend.api.server import listen, serve
from backend.api.state import ApiState
from backend.api.status import Market, Status
from backend.clock import SystemClock
from backend.garbage import settle
from backend.panel import SeatChange
from backend.runner import Lane, Runner
from backend.store import database
from backend.store.snapshots import Snapshot
from backend.store.stream_log import StreamEvent
from backend.wiring import Store, open_store
from collectors.cross_section import CrossSection
from domain.events import Candle, CandleBatch
from domain.market import Instrument, Timeframe
from services.classes.rooms import ClassSeat
from tests.benchmarks.market import EXCHANGE, HORIZON, Scene, messages

PATIENCE_S = 60.0


class Quiet:
    """Watches nothing: no snapshot, no training."""

    def seated(self, changes: Sequence[SeatChange | ClassSeat]) -> None:
        return

    def states(self, as_of: datetime) -> Sequence[Snapshot]:
        return ()

    def past(self, candles: CandleBatch) -> Sequence[Snapshot]:
        return ()

    async def after_tick(self, candles: CandleBatch) -> None:
        return


@dataclass(slots=True)
class TimedRecorder:
    """The real recorder, and how long the tick's own transaction took."""

    store: Store
    stages: dict[str, float] = field(default_factory=dict)  # milliseconds

    async def commit_tick(self, events: Sequence[object], **told: Any) -> list[StreamEvent]:
        began = time.monotonic_ns()
        done = await self.store.recorder.commit_tick(events, **told)
        drawn = told["cross_section"]  # none where a candle was late
        self.stages = {name: us / 1_000 for name, us in drawn.stage_us.items()} if drawn else {}
        self.stages["commit"] = (time.monotonic_ns() - began) / 1e6
        return done

    async def commit_learning(self, events: Sequence[object], **told: Any) -> list[StreamEvent]:
        began = time.monotonic_ns()
        done = await self.store.recorder.commit_learning(events, **told)
        self.stages["second commit"] = (time.monotonic_ns() - began) / 1e6
        return done


@dataclass(slots=True, kw_only=True)
class Played:
    """One panel whose ticks can be played."""

    scene: Scene
    runner: Runner
    recorder: TimedRecorder
    section: CrossSection
    published_ns: list[int] = field(default_factory=list)

    async def tick(self, batch: CandleBatch, told: Sequence[Candle]) -> dict[str, float]:
        """Candle messages in; what each step took, in milliseconds."""
        self.scene.clock.set(batch.as_of + timedelta(milliseconds=50))
        self.published_ns.clear()
        arrived = self.scene.clock.now()
        began = time.monotonic_ns()
        drawn = [made for one in told for made in self.section.add(one, arrived=arrived)]
        assembled = time.monotonic_ns()
        for made in drawn:
            await self.runner.on_candles(made)
        ended = time.monotonic_ns()
        return {
            "began_ns": began,
            "published_ns": self.published_ns[0],
            "assembly": (assembled - began) / 1e6,
            **self.recorder.stages,
            "to publication": (self.published_ns[0] - began) / 1e6,
            "whole tick": (ended - began) / 1e6,
        }


@dataclass(slots=True, kw_only=True)
class Subscriber:
    """The other end of the socket."""

    process: asyncio.subprocess.Process

    async def next(self) -> tuple[str, int]:
        """What has come, and when the last of it did (monotonic, in ns)."""
        what, *times = await self.arrivals()
        return what, times[-1]

    async def arrivals(self) -> tuple[str, int, int, int]:
        """The same, with the median and the 99th percentile of its arrivals before."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S)
        what, *times = line.decode().rsplit(" ", 3)
        middle, high, last = map(int, times)
        return what, middle, high, last


@dataclass(slots=True, kw_only=True)
class Served:
    """A store and a server over it."""

    store: Store
    hub: Hub
    url: str
    status: Status
    lane: Lane = field(default_factory=Lane)

    def play(self, scene: Scene) -> Played:
        timeframe = scene.panel.key.timeframe
        recorder = TimedRecorder(self.store)
        played = Played(
            scene=scene,
            recorder=recorder,
            runner=Runner(
                panel=scene.panel,
                recorder=recorder,
                publish=lambda events: self._publish(played, events),
                clock=scene.clock,
                wall=SystemClock(),
                observer=Quiet(),
                lane=self.lane,
            ),
            section=CrossSection(
                exchange=EXCHANGE,
                timeframe=timeframe,
                instruments=scene.ticks[0].instruments,
                deadline=None,
            ),
        )
        return played

    def _publish(self, played: Played, events: Sequence[StreamEvent]) -> None:
        began = time.monotonic_ns()
        self.hub.publish(events)
        played.published_ns.append(time.monotonic_ns())
        if len(played.published_ns) == 1:
            played.recorder.stages["publish"] = (played.published_ns[0] - began) / 1e6

    @asynccontextmanager
    async def subscriber(
        self, pattern: str, streams: int, clients: int = 1, events: int | None = None
    ) -> AsyncIterator[Subscriber]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.benchmarks.subscriber",
            self.url, pattern, str(events or streams), str(clients),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        found = Subscriber(process=process)
        try:
            for _ in range(clients):
                what, _ = await found.next()
                if what != f"subscribed {streams}":
                    raise RuntimeError(what)
            yield found
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


@asynccontextmanager
async def served(
    server_url: str, folder: Path, scenes: Sequence[Scene] = ()
) -> AsyncIterator[Served]:
    """A database of its own on the server at `server_url`, and the API over it."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    url = await database.create_database(server_url, name)
    async with open_store(url, folder / name) as store:
        status = Status(
            market=Market.SIMULATED,
            instruments=_instruments(scenes),
            timeframes=_timeframes(scenes),
            horizons=(HORIZON,),
        )
        hub = Hub(SystemClock())
        state = ApiState(clock=SystemClock(), hub=hub, status=status, reader=store.readers)
        listener = listen("127.0.0.1", 0)
        running = asyncio.create_task(serve(create_app(state), listener))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settle()  # as the system does when it is ready
        try:
            yield Served(store=store, hub=hub, url=address, status=status)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    await database.drop_database(server_url, name)


def _instruments(scenes: Sequence[Scene]) -> tuple[Instrument, ...]:
    return tuple(sorted({one for scene in scenes for one in scene.ticks[0].instruments}))


def _timeframes(scenes: Sequence[Scene]) -> tuple[Timeframe, ...]:
    return tuple(scene.panel.key.timeframe for scene in scenes)


def told(scene: Scene) -> list[tuple[CandleBatch, list[Candle]]]:
    """The ticks with their messages, made before the stopwatch starts."""
    return [(batch, messages(batch)) for batch in scene.ticks]
