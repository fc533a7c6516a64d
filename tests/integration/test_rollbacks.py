"""Rollbacks in a real store: who leaves a seat, who takes it, and what a restart remembers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest

from backend.learning.learning import Learning
from backend.learning.plan import LearningPlan
from backend.learning.rollbacks import EVERY_BLOCKS
from backend.panel import Panel, PanelKey
from backend.store.registry import Decision, Registry, Seat
from backend.training_settings import TrainingSettings
from backend.wiring import Store, open_store
from domain.errors import UsageError
from domain.events import FeatureBatch, Floats, ModelEvent, Origin, OutcomeBatch, Role, Target
from domain.market import Timeframe, from_ms
from services.features.feature_set import OHLCV
from services.signals.policy import PolicySettings
from tests.doubles import Impatient, ManualClock
from tests.integration.store_samples import INSTRUMENTS, at
from tests.integration.test_altered_artifacts import NAME, SEAT, Fitted
from tests.integration.test_challenges import outcome
from tests.integration.test_drift_of_a_record import Threads

H1 = Timeframe.H1
PRIOR = "class_prior.direction"
BLOCK = 8  # closes, at a horizon of four
SPAN_MS = EVERY_BLOCKS * BLOCK * H1.ms
REVIEW = from_ms((int(at(400).timestamp() * 1000) // SPAN_MS + 1) * SPAN_MS)


@dataclass(frozen=True)
class Nonsense:
    """What a version became that gives no forecast."""

    version: str
    name: str = NAME
    target: Target = Target.DIRECTION

    def predict(self, features: FeatureBatch) -> Floats:
        return np.full((len(features), 3), np.nan)


@dataclass
class Running:
    """A panel that learns, beside the store that outlives it."""

    store: Store
    clock: ManualClock
    told: list[ModelEvent] = field(default_factory=list)

    async def start(self) -> None:
        self.panel = Panel(
            PanelKey(exchange="binance", timeframe=H1),
            [4],
            clock=self.clock,
            policy=PolicySettings(),
        )
        self.threads = Threads()
        self.learning = Learning(
            panel=self.panel,
            store=self.store,
            executor=self.threads,
            clock=self.clock,
            wall=Impatient(),
            plan=LearningPlan.of(TrainingSettings(), H1, seed=7),
            emit=self._hear,
        )
        await self.learning.restore()

    def _hear(self, event: object) -> None:
        assert isinstance(event, ModelEvent)
        self.told.append(event)

    async def tick(self, moment: datetime) -> list[str]:
        """Who voted at a close; then what it makes due is done, up to the next close."""
        self.panel.seat_due(moment)
        predictor = self.panel.rooms[4].predictor
        features = replace(features_at(moment), as_of=moment)
        rows = [*predictor.on_features(features), *predictor.on_features_published(features)]
        await self.learning.run(self.learning.due(moment))
        return [f"{row.model}@{row.version}" for row in rows if row.model == NAME]

    def break_down(self) -> None:
        """Whoever sits there gives no forecast from now on."""
        predictor = self.panel.rooms[4].predictor
        seat = next(one for one in predictor.seats().values() if one.model.name == NAME)
        predictor.seat(Nonsense(seat.model.version), seat.role)

    def roles(self) -> dict[str, Role]:
        seats = self.panel.rooms[4].predictor.seats().values()
        return {one.model.version: one.role for one in seats if one.model.name == NAME}

    async def last(self) -> dict[str, Any]:
        *_, decision = await self.store.registry.decisions(SEAT)
        return decision


def features_at(moment: datetime) -> FeatureBatch:
    ones = np.ones(len(INSTRUMENTS), dtype=np.int64)
    return FeatureBatch(
        exchange="binance",
        timeframe=H1,
        as_of=moment,
        instruments=INSTRUMENTS,
        feature_set=OHLCV,
        values=np.full((len(INSTRUMENTS), len(OHLCV.columns)), 1e-4),
        coverage=np.ones(len(INSTRUMENTS)),
        revision=ones,
        candle_revision=ones,
        known_at=moment,
    )


@pytest.fixture
async def running(
    database_url: str, tmp_path: Path, manual_clock: ManualClock
) -> AsyncIterator[Running]:
    """Two versions of a kind, the second of which has the seat."""
    async with open_store(database_url, tmp_path) as store:
        fitted = Fitted(store, tmp_path, manual_clock, [])
        for number in (1, 2):
            await fitted.fit(number)
            await fitted.promote(number - 1 or None, number)
        await store.instruments.ids(INSTRUMENTS)
        system = Running(store, manual_clock)
        await system.start()
        yield system
        system.threads.close()


async def test_who_gives_no_forecast_is_gone_and_the_version_before_it_speaks_next(
    running: Running,
) -> None:
    assert await running.tick(at(200)) == [f"{NAME}@2"]
    running.break_down()

    assert await running.tick(at(201)) == []
    assert await running.store.registry.aliases(SEAT) == {"champion": 1}
    assert await running.tick(at(202)) == [f"{NAME}@1"]
    (told,) = running.told
    assert (told.kind, told.version) == ("rolled_back", "2")
    decision = await running.last()
    assert (decision["verdict"], decision["trigger"]) == ("rollback", "broken")
    assert "no forecast of 3 rows" in decision["evidence"]["words"]


async def test_where_the_one_before_it_is_broken_too_nobody_is_left(running: Running) -> None:
    for hour in (201, 203):
        running.break_down()
        assert await running.tick(at(hour)) == []
        await running.tick(at(hour + 1))

    assert running.roles() == {}
    assert await running.store.registry.aliases(SEAT) == {}
    await running.start()
    assert running.roles() == {}


class Losing(Registry):
    """The connection is lost the first time that a version is looked for."""

    lost = False

    async def show(self, seat: Seat, version: int) -> dict[str, Any] | None:
        if not self.lost:
            self.lost = True
            raise asyncpg.InternalClientError("the connection was closed")
        return await super().show(seat, version)


async def test_one_version_leaves_though_the_connection_is_lost_after_its_decision(
    running: Running,
) -> None:
    losing = Losing(running.store.writers)
    running.store = replace(running.store, registry=losing)
    await running.start()
    before = await running.learning.roll_back(4, NAME)

    assert losing.lost
    assert before == 1
    assert await losing.aliases(SEAT) == {"champion": 1}
    assert [one["verdict"] for one in await losing.decisions(SEAT)].count("rollback") == 1
    assert [one.kind for one in running.told] == ["rolled_back"]


async def test_an_artifact_that_was_altered_does_not_come_back(
    running: Running, tmp_path: Path
) -> None:
    row = await running.store.registry.show(SEAT, 1)
    assert row is not None
    path = tmp_path / row["artifact_sha256"]
    path.write_bytes(path.read_bytes() + b"!")
    running.break_down()

    await running.tick(at(201))

    assert await running.tick(at(202)) == []
    assert await running.store.registry.aliases(SEAT) == {}
    assert [one["trigger"] for one in await running.store.registry.decisions(SEAT)][2:] == [
        "broken",
        "artifact",
    ]


async def test_a_broken_challenger_leaves_its_trial(running: Running) -> None:
    decision = Decision(
        seat=SEAT,
        champion_version=2,
        challenger_version=None,
        verdict="rollback",
        trigger="losses",
        decided_at=at(150),
    )
    await running.store.registry.demote(decision)
    await running.start()
    assert running.roles() == {"2": Role.CHALLENGER}
    running.break_down()

    await running.tick(at(201))
    await running.tick(at(202))

    assert running.roles() == {}
    assert await running.store.registry.aliases(SEAT) == {}


async def test_while_a_training_runs_who_breaks_is_gone_all_the_same(running: Running) -> None:
    running.learning._busy = True
    running.break_down()

    assert await running.tick(at(201)) == []
    assert await running.tick(at(202)) == [f"{NAME}@1"]


async def test_by_hand_the_version_before_it_comes_back(running: Running) -> None:
    assert await running.learning.roll_back(4, NAME) == 1
    running.panel.seat_due(at(300))

    assert running.roles() == {"1": Role.MEMBER}
    assert await running.learning.roll_back(4, NAME) is None
    running.panel.seat_due(at(301))
    assert running.roles() == {}
    with pytest.raises(UsageError, match="has no version at horizon 4"):
        await running.learning.roll_back(4, NAME)
    assert [one.kind for one in running.told] == ["rolled_back"] * 2


@pytest.mark.parametrize(
    ("worse", "roles", "aliases"),
    [
        (0.05, {"2": Role.CHALLENGER}, {"challenger": 2}),
        (0.0, {"2": Role.MEMBER}, {"champion": 2, "previous": 1}),
    ],
)
async def test_who_is_proven_worse_than_its_baseline_is_on_trial_again(
    running: Running, worse: float, roles: dict[str, Role], aliases: dict[str, int]
) -> None:
    closes = 25 * BLOCK
    first = round((REVIEW - at(0)) / timedelta(hours=1)) - closes
    rng = np.random.default_rng(5)
    prior = 1.0 + 0.1 * rng.normal(size=(closes, len(INSTRUMENTS)))
    spread = 0.02 * rng.normal(size=(closes, 1))
    said = {PRIOR: prior, NAME: prior + worse + spread - spread.mean()}
    batches = [
        as_member(outcome(first, name, losses, Origin.LIVE)) for name, losses in said.items()
    ]
    await running.store.recorder.commit_learning(batches, published_at=at(0))

    await running.tick(REVIEW)
    await running.tick(REVIEW + timedelta(hours=1))

    assert running.roles() == roles
    assert await running.store.registry.aliases(SEAT) == aliases
    await running.start()
    assert running.roles() == roles


def as_member(batch: OutcomeBatch) -> OutcomeBatch:
    return replace(batch, role=Role.MEMBER)
