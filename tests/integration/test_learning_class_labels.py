"""Who serves a class label: decided by what is fitted and what was said, kept in a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.learning.classes import ClassTrainings
from backend.learning.plan import LearningPlan, Training
from backend.learning.seats import Seats
from backend.panel import Panel, PanelKey
from backend.store.runs import Run
from backend.training_settings import TrainingSettings
from backend.wiring import Store, open_store
from domain.classes import ClassLabelBatch, ClassPredictionBatch
from domain.events import Floats, ModelEvent, Origin
from domain.market import Timeframe, to_ms
from services.classes.rotation import ROTATION
from services.models.class_fits import ClassFit
from services.models.classified import ClassRecipe, recipes_of, train_classes
from services.models.sample import Sample
from services.models.trainer import TrainingRequest
from services.models.walk_forward import SplitKind
from services.signals.policy import PolicySettings
from tests.doubles import START, Impatient, ManualClock
from tests.integration.store_samples import INSTRUMENTS
from tests.integration.test_rollbacks import features_at
from tests.integration.test_training_loses_connections import terminated

H1 = Timeframe.H1
HOUR = timedelta(hours=1)
LABEL = "rotation@1"
PRIOR, TREES, LINES = "class_prior.rotation", "lightgbm.rotation", "logistic.rotation"
CLOSES = 320  # 40 blocks of two horizons
BITCOIN = INSTRUMENTS[1:2]


def artifact_of(recipe: ClassRecipe, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(60, 1))
    sample = Sample(inputs, (inputs[:, 0] > 0).astype(np.float64), np.ones(60))
    return train_classes(recipe, ("log_return_1",), sample, horizon=4, seed=seed)


def losses(gain: float, seed: int) -> Floats:
    """Of each close; less than the prior's by `gain` on average."""
    return np.random.default_rng(seed).normal(0.69 - gain, 0.02, CLOSES)


@dataclass
class Scripted:
    """An executor whose fits are known beforehand: how much each gains on the prior."""

    gains: dict[str, float]
    fitted: int = 0

    def submit(self, _work: Callable[..., Any], order: Any) -> Future[Any]:
        self.fitted += 1
        future: Future[Any] = Future()
        recipe, split = order.recipe, order.split
        first = to_ms(START) + H1.ms
        artifact = artifact_of(recipe, self.fitted)
        found = ClassFit(
            name=recipe.name,
            artifact=artifact,
            sha256=sha256(artifact).hexdigest(),
            as_of_ms=first + H1.ms * np.arange(CLOSES),
            losses=losses(self.gains[recipe.name], 1),
            prior_losses=losses(0.0, 2),
            n_train=1_000,
            n_effective=250.0,
            trained_from_ms=first,
            trained_until_ms=first + H1.ms * CLOSES,
            finite=1.0,
            data_sha256="",
            recipe_sha256=recipe.sha256,
            params={**recipe.written(), "judged_by": str(split)},
            seed=order.seed,
            libraries={},
            train_seconds=0.0,
        )
        future.set_result(found)
        return future

    def close(self) -> None:
        """Nothing runs."""


@dataclass
class Running:
    """A panel with one kind of label, beside the store that outlives it."""

    store: Store
    clock: ManualClock
    told: list[ModelEvent] = field(default_factory=list)

    async def start(self) -> None:
        key = PanelKey(exchange="binance", timeframe=H1)
        policy = PolicySettings()
        self.panel = Panel(key, [4], clock=self.clock, policy=policy, kinds=(ROTATION,))
        self.seats = Seats(
            panel=self.panel,
            store=self.store,
            clock=self.clock,
            wall=Impatient(),
            emit=self._hear,
        )
        await self.seats.restore()

    async def train(self, number: int, **gains: float) -> Training:
        """Training `number` with fits that gain so much; it takes effect."""
        executor = Scripted({f"{name}.rotation": gain for name, gain in gains.items()})
        as_of = START + CLOSES * HOUR + number * HOUR
        request = TrainingRequest(
            as_of=as_of, effective_from=as_of + HOUR, reason="schedule", split=SplitKind.REFRESH
        )
        due = Training(horizon=4, request=request)
        plan = LearningPlan.of(TrainingSettings(), H1, seed=7)
        trainings = ClassTrainings(seats=self.seats, executor=executor, plan=plan)
        await trainings.run(due, (), asyncio.Lock())
        self.panel.seat_due(request.effective_from)
        return due

    def serving(self) -> str:
        """Who serves bitcoin's row at a close, and who else speaks."""
        features = replace(features_at(self.clock.now()), as_of=self.clock.now())
        said = list(self.panel.classes.on_features(features))
        names = [f"{one.model}@{one.version}" for one in said]
        served = [name for name, one in zip(names, said, strict=True) if one.served.any()]
        return " ".join([*served, *sorted(f"({name})" for name in names if name not in served)])

    async def lived(self, gain: float) -> None:
        """The record of the closes that fits are judged on, beside the prior's."""
        said: list[object] = []
        chances = np.exp(-losses(gain, 3)), np.exp(-losses(0.0, 2))
        for number in range(CLOSES):
            as_of = START + (number + 1) * HOUR
            for model, values in zip((TREES, PRIOR), chances, strict=True):
                said.append(prediction(as_of, model, float(values[number])))
            said.append(label(as_of))
        await self.store.recorder.commit_learning(said, published_at=START)

    async def decisions(self, name: str) -> list[str]:
        seat = self.seats.place(4, "rotation", name)
        return [
            f"{row['trigger']}: {row['verdict']}"
            for row in await self.store.registry.decisions(seat)
        ]

    def _hear(self, event: object) -> None:
        assert isinstance(event, ModelEvent)
        self.told.append(event)


def prediction(as_of: datetime, model: str, chance: float) -> ClassPredictionBatch:
    return ClassPredictionBatch(
        exchange="binance",
        timeframe=H1,
        as_of=as_of,
        instruments=BITCOIN,
        horizon=4,
        kind=LABEL,
        model=model,
        version="1",
        made_at=as_of,
        origin=Origin.LIVE,
        revision=np.array([1]),
        served=np.array([model == TREES]),
        names=ROTATION.classes,
        probabilities=np.array([[1 - chance, chance]]),
        degraded=("",),
    )


def label(as_of: datetime) -> ClassLabelBatch:
    return ClassLabelBatch(
        exchange="binance",
        timeframe=H1,
        horizon=4,
        kind=LABEL,
        instruments=BITCOIN,
        as_of_ms=np.array([to_ms(as_of)]),
        revision=np.array([1]),
        known_ms=np.array([to_ms(as_of) + 4 * H1.ms]),
        names=ROTATION.classes,
        classes=np.array([1]),
    )


@pytest.fixture
async def running(
    database_url: str, tmp_path: Path, manual_clock: ManualClock
) -> AsyncIterator[Running]:
    async with open_store(database_url, tmp_path) as store:
        await store.instruments.ids(INSTRUMENTS)
        system = Running(store, manual_clock)
        await system.start()
        yield system


async def test_the_best_that_beats_the_prior_serves_also_after_a_restart(running: Running) -> None:
    assert running.serving() == f"{PRIOR}@1"

    await running.train(1, lightgbm=0.05, logistic=0.02)
    before = running.serving()
    await running.start()

    assert before == f"{TREES}@1 ({PRIOR}@1) ({LINES}@1)"
    assert running.serving() == before
    assert await running.decisions(TREES) == ["cold_start: cold_start"]
    (row,) = [row for row in await running.store.registry.versions() if row["name"] == TREES]
    assert (row["label_set"], row["target"], row["kind"]) == (LABEL, "rotation", "lightgbm")
    assert [event.kind for event in running.told] == ["trained", "trained", "promoted", "rejected"]


@pytest.mark.parametrize("table", ["ml_class_predictions", "ml_models_metadata"])
async def test_a_connection_that_is_lost_on_the_way_costs_nothing_but_time(
    running: Running, database_url: str, table: str
) -> None:
    training = partial(running.train, 1, lightgbm=0.05, logistic=0.02)
    await terminated(database_url, table, training)

    assert running.serving() == f"{TREES}@1 ({PRIOR}@1) ({LINES}@1)"
    assert await running.decisions(TREES) == ["cold_start: cold_start"]
    assert [event.kind for event in running.told] == ["trained", "trained", "promoted", "rejected"]


async def test_what_does_not_beat_the_prior_is_heard_by_nobody(running: Running) -> None:
    await running.train(1, lightgbm=0.0, logistic=-0.05)
    await running.train(2, lightgbm=0.0, logistic=-0.05)

    assert running.serving() == f"{PRIOR}@1 ({TREES}@2) ({LINES}@2)"
    assert await running.decisions(LINES) == ["cold_start: reject", "cold_start: reject"]
    words = [event.detail for event in running.told if event.kind == "rejected"]
    assert "(attempt 2)" in words[-1]


async def test_a_seat_is_refreshed_unless_the_fit_is_worse_than_what_it_said(
    running: Running,
) -> None:
    await running.train(1, lightgbm=0.05, logistic=0.0)
    await running.lived(0.05)

    await running.train(2, lightgbm=0.05, logistic=0.5)
    refreshed = running.serving()
    await running.train(3, lightgbm=0.0, logistic=0.5)

    assert refreshed == f"{TREES}@2 ({PRIOR}@1) ({LINES}@2)"
    assert running.serving() == f"{TREES}@2 ({PRIOR}@1) ({LINES}@3)"
    assert await running.decisions(TREES) == [
        "cold_start: cold_start",
        "refresh: promote",
        "refresh: reject",
    ]


async def test_a_seat_whose_record_is_worse_than_the_priors_is_lost(running: Running) -> None:
    await running.train(1, lightgbm=0.05, logistic=0.0)
    await running.lived(-0.05)

    await running.train(2, lightgbm=0.05, logistic=0.0)
    lost = running.serving()
    await running.start()

    assert lost == f"{PRIOR}@1 ({TREES}@2) ({LINES}@2)"
    assert running.serving() == lost
    assert "losses: rollback" in await running.decisions(TREES)


async def test_an_artifact_that_was_altered_leaves_the_prior(
    running: Running, tmp_path: Path
) -> None:
    await running.train(1, lightgbm=0.05, logistic=0.0)
    (row,) = [row for row in await running.store.registry.versions() if row["name"] == TREES]
    (tmp_path / row["artifact_sha256"]).write_bytes(b"another")

    await running.start()

    assert running.serving() == f"{PRIOR}@1 ({LINES}@1)"
    assert "was altered" in running.seats.refused[0]


async def test_a_training_that_was_cut_short_knows_which_kinds_are_settled(
    running: Running,
) -> None:
    due = await running.train(1, lightgbm=0.0, logistic=0.0)
    run = Run(
        exchange="binance",
        timeframe=H1,
        horizon=4,
        as_of=due.request.as_of,
        effective_from=due.request.effective_from,
        reason="schedule",
        split=due.request.split,
    )

    assert await running.store.registry.settled(run) == {"rotation"}
    assert {one.label for one in recipes_of(LABEL, ROTATION.classes)} == {LABEL}
