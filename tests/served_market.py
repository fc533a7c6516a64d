"""A small served market: recorded ticks in a real database behind a real server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import httpx
import numpy as np
import orjson
import websockets

from backend.api.access import Access
from backend.api.app import create_app
from backend.api.hub import Hub
from backend.api.limits import Limits
from backend.api.server import listen, serve
from backend.api.state import ApiState
from backend.api.status import Market, Status
from backend.store import retention
from backend.store.audit import AuditLog
from backend.store.database import connect_pool
from backend.store.instruments import Instruments
from backend.store.keys import KeyStore
from backend.store.recorder import CrossSection, Recorder
from backend.store.stream_log import StreamEvent
from domain.events import (
    CandleBatch,
    FeatureBatch,
    FeatureSet,
    LabelBatch,
    Origin,
    OutcomeBatch,
    PredictionBatch,
    Role,
    Signal,
    SignalBatch,
    Target,
)
from domain.market import Timeframe, to_ms
from tests.doubles import START, ManualClock
from tests.factories import BTC, ETH, SOL, candle_batches

MEMBERS = (BTC, ETH, SOL)
HORIZON = 4
TICKS = 30
_TRUST: Final = ssl.create_default_context()  # each client would take 30 ms for one of its own
SET = FeatureSet(
    name="few", version=1, columns=("rsi", "close"), model_columns=("rsi",), warmup_bars=3
)


def prediction(
    candles: CandleBatch, *, role: Role = Role.CHAMPION, revision: int = 1, **changes: Any
) -> PredictionBatch:
    """One row an instrument; rows of a member know direction only."""
    n = len(candles)
    served = role is Role.CHAMPION
    up = 0.3 + 0.1 * np.arange(n)
    made = PredictionBatch(
        exchange=candles.exchange,
        timeframe=candles.timeframe,
        as_of=candles.as_of,
        instruments=candles.instruments,
        horizon=HORIZON,
        role=role,
        target=Target.SERVED if served else Target.DIRECTION,
        model="served" if served else "class_prior.direction",
        version="abc123" if served else "1",
        members={"class_prior.direction": "1"} if served else {},
        made_at=candles.as_of + timedelta(milliseconds=120),
        origin=Origin.LIVE,
        revision=np.full(n, revision, dtype=np.int64),
        feature_set=SET.id,
        feature_revision=np.ones(n, dtype=np.int64),
        probabilities=np.stack([0.7 - up, np.full(n, 0.3), up], axis=1),
        quantiles=np.tile([-0.02, 0.001, 0.021], (n, 1)) if served else np.full((n, 3), np.nan),
        volatility=np.full(n, 0.012) if served else np.full(n, np.nan),
        degraded=("no_skill.direction", "", "gap,no_skill.direction")[:n] if served else ("",) * n,
    )
    return replace(made, **changes)


def signals(candles: CandleBatch, *, event: str = "opened", **changes: Any) -> SignalBatch:
    """ETH goes long, the others are flat and say why."""
    rows = []
    for instrument in candles.instruments:
        flat = instrument != ETH
        as_of_ms = to_ms(candles.as_of)
        row = Signal(
            instrument=instrument,
            timeframe=candles.timeframe,
            horizon=HORIZON,
            as_of_ms=as_of_ms,
            revision=1,
            side="flat" if flat else "long",
            strength=0.25,
            gate="no_skill.direction" if flat else "",
            size_fraction=0.0 if flat else 0.1,
            expires_ms=as_of_ms + HORIZON * candles.timeframe.ms,
            model="served",
            version="abc123",
            made_ms=as_of_ms + 130,
            status="flat" if flat else "pending",
            expected_edge_bps=None if flat else 31.5,
            votes=None if flat else (("logistic.direction", 0.4),),
        )
        rows.append(row if flat else replace(row, **changes))
    return SignalBatch(
        exchange=candles.exchange,
        timeframe=candles.timeframe,
        as_of=candles.as_of,
        instruments=candles.instruments,
        event=event,
        signals=tuple(rows),
    )


def features(candles: CandleBatch) -> FeatureBatch:
    n = len(candles)
    return FeatureBatch(
        exchange=candles.exchange,
        timeframe=candles.timeframe,
        as_of=candles.as_of,
        instruments=candles.instruments,
        feature_set=SET,
        values=np.stack([np.full(n, np.nan), candles.close], axis=1),
        coverage=np.ones(n),
        revision=np.ones(n, dtype=np.int64),
        candle_revision=np.ones(n, dtype=np.int64),
        known_at=candles.known_at,
    )


def outcomes(candles: CandleBatch, scored_at: datetime) -> list[object]:
    """The served rows of `candles` did better than the class prior; their labels."""
    n = len(candles)
    noise = np.random.default_rng(to_ms(candles.as_of) // candles.timeframe.ms).normal(0, 0.05, n)
    of_tick: dict[str, Any] = {
        "exchange": candles.exchange,
        "timeframe": candles.timeframe,
        "horizon": HORIZON,
        "instruments": candles.instruments,
        "as_of_ms": np.full(n, to_ms(candles.as_of)),
        "revision": np.ones(n, dtype=np.int64),
    }
    made: list[object] = [
        LabelBatch(
            **of_tick,
            direction_known_ms=np.full(n, to_ms(scored_at)),
            known_ms=np.full(n, to_ms(scored_at)),
            outcome=np.ones(n),
            weight=np.ones(n),
            log_return=np.full(n, 0.01),
            realized_volatility=np.full(n, 0.02),
            uniqueness=np.full(n, 0.25),
        )
    ]
    for role, model, loss in (
        (Role.CHAMPION, "served", 0.9 + noise),
        (Role.MEMBER, "class_prior.direction", np.full(n, 1.0)),
    ):
        losses = np.full((n, 5), np.nan)
        losses[:, 0] = loss
        made.append(
            OutcomeBatch(
                **of_tick,
                role=role,
                model=model,
                version="1",
                scored_at=scored_at,
                origin=Origin.LIVE,
                losses=losses,
            )
        )
    return made


@dataclass(slots=True, repr=False)  # asyncio puts the result of a fixture's task into words
class ServedMarket:
    """The server, its address, and ways to make things happen behind it."""

    state: ApiState
    pool: asyncpg.Pool
    recorder: Recorder
    clock: ManualClock
    batches: list[CandleBatch]
    url: str = ""

    @classmethod
    def over(
        cls,
        pool: asyncpg.Pool,
        clock: ManualClock,
        limits: Limits | None = None,
        access: Access | None = None,
    ) -> ServedMarket:
        """The market on a database, ready after its recorded ticks."""
        access = access or Access()
        access.keyring.store = KeyStore(pool, pool)
        access.trail.log = AuditLog(pool)
        status = Status(
            market=Market.SIMULATED,
            instruments=MEMBERS,
            timeframes=(Timeframe.H1,),
            horizons=(HORIZON,),
        )
        status.predicted(Timeframe.H1, MEMBERS, START)
        hub = Hub(clock, limits)
        return cls(
            state=ApiState(clock=clock, hub=hub, status=status, access=access, reader=pool),
            pool=pool,
            recorder=Recorder(pool, Instruments(pool)),
            clock=clock,
            batches=candle_batches(MEMBERS, TICKS + 10, start=START - timedelta(hours=TICKS)),
        )

    async def told(self, stream: str) -> list[dict[str, Any]]:
        """Every row that the log has of `stream`, oldest first."""
        found = await self.pool.fetch(
            'SELECT payload FROM stream_events WHERE stream = $1 ORDER BY "offset"', stream
        )
        return [orjson.loads(row["payload"]) for row in found]

    async def tick(self, number: int) -> list[StreamEvent]:
        """Commit tick `number` and publish it."""
        events = await self.commit(number)
        self.state.hub.publish(events)
        batch = self.batches[number]
        self.state.status.predicted(batch.timeframe, batch.instruments, batch.as_of)
        return events

    async def commit(self, number: int) -> list[StreamEvent]:
        """Commit tick `number`; nobody is told."""
        batch = self.batches[number]
        section = CrossSection(
            exchange=batch.exchange,
            timeframe=batch.timeframe,
            as_of=batch.as_of,
            instruments=batch.instruments,
            arrived_at=batch.as_of,
            deadline=False,
            stage_us={"features": 100 + number, "predictions": 200},
        )
        events = await self.recorder.commit_tick(
            [batch, features(batch), prediction(batch), signals(batch)],
            published_at=batch.as_of + timedelta(milliseconds=150),
            cross_section=section,
        )
        await self.recorder.commit_learning(
            [prediction(batch, role=Role.MEMBER)],
            published_at=batch.as_of + timedelta(milliseconds=200),
        )
        return events

    def client(self, **headers: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60.0, verify=_TRUST)

    def connect(self, **options: Any) -> websockets.connect:
        address = self.url.replace("http", "ws") + "/ws"
        return websockets.connect(address, **{"open_timeout": 60, **options})


async def record(database_url: str, ticks: int) -> None:
    """Commit the first `ticks` ticks of the market into a fresh database."""
    pool = await connect_pool(database_url)
    try:
        await pool.execute(
            "INSERT INTO feature_sets VALUES ($1, $2, $3, '{}', 'test', 3)",
            SET.id, list(SET.columns), list(SET.model_columns),
        )  # fmt: skip
        served = ServedMarket.over(pool, ManualClock())
        for number in range(ticks):
            await served.commit(number)
    finally:
        await pool.close()


@asynccontextmanager
async def serving(
    database_url: str,
    clock: ManualClock,
    *,
    limits: Limits | None = None,
    access: Access | None = None,
    port: int = 0,
) -> AsyncIterator[ServedMarket]:
    """Serve a recorded market; port 0 is one of its own."""
    pool = await connect_pool(database_url)
    listener = listen("127.0.0.1", port)
    served = ServedMarket.over(pool, clock, limits, access)
    served.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    running = asyncio.create_task(serve(create_app(served.state), listener))
    try:
        yield served
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        listener.close()  # it may have ended before it began
        await pool.close()


async def drop_events(market: ServedMarket, blocks: int) -> int:
    """Drop the first blocks of the log of signals, as retention does; the last offset in them."""
    log = "signals.1h.simulated"
    async with market.pool.acquire() as connection:
        extent = next(one for one in await retention.extents(connection, ()) if one.log == log)
        await retention.drop_events(
            connection, extent._replace(upto=blocks), before=datetime.max.replace(tzinfo=UTC)
        )
    offsets = await market.pool.fetchval("SELECT offsets FROM stream_bases WHERE log = $1", log)
    return int(offsets[0])
