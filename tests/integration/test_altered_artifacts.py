"""A model whose artifact was altered is refused; the version before it is used, or a baseline."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from backend.executor import ProcessExecutor
from backend.learning.learning import Learning
from backend.learning.plan import LearningPlan
from backend.panel import Panel, PanelKey
from backend.store.registry import Decision, Seat
from backend.training_settings import TrainingSettings
from backend.wiring import Store, open_store
from domain.events import Target
from domain.market import Timeframe
from services.features.feature_set import OHLCV
from services.models.bundle import write_bundle
from services.models.catalogue import BUILT_IN
from services.predictions.composition import ON_TRIAL
from services.signals.policy import PolicySettings
from tests.doubles import ManualClock
from tests.integration.store_samples import at
from tests.integration.test_store_registry import version

NAME = "logistic.direction"
SEAT = Seat(
    exchange="binance", timeframe=Timeframe.H1, horizon=4, target=Target.DIRECTION, name=NAME
)


@dataclass
class Fitted:
    """Two versions of a model, the second of which serves; and what starts from them."""

    store: Store
    artifacts: Path
    clock: ManualClock
    hashes: list[str]
    refused: list[str] = field(default_factory=list)  # as the last start told users

    def alter(self, number: int) -> None:
        path = self.artifacts / self.hashes[number - 1]
        path.write_bytes(path.read_bytes() + b"!")

    async def start(self) -> Panel:
        panel = Panel(
            PanelKey(exchange="binance", timeframe=Timeframe.H1),
            [4],
            clock=self.clock,
            policy=PolicySettings(),
        )
        executor = ProcessExecutor()
        learning = Learning(
            panel=panel,
            store=self.store,
            executor=executor,
            clock=self.clock,
            wall=self.clock,
            plan=LearningPlan.of(TrainingSettings(), Timeframe.H1, seed=7),
            emit=lambda _: None,
        )
        try:
            await learning.restore()
        finally:
            executor.close()
        self.refused = learning.refused
        return panel

    async def promote(self, champion: int | None, challenger: int) -> None:
        decision = Decision(
            seat=SEAT,
            champion_version=champion,
            challenger_version=challenger,
            verdict="promote",
            trigger="schedule",
            decided_at=at(102),
        )
        await self.store.registry.promote(decision, effective_from=at(103))

    async def fit(self, number: int) -> None:
        """Register version `number`, with content of its own."""
        sha256 = self.store.artifacts.save(logistic(number / 10))
        self.hashes.append(sha256)
        await self.store.registry.register(
            replace(version(), seat=SEAT, kind="logistic", artifact_sha256=sha256)
        )

    async def put_on_trial(
        self, number: int, trigger: str = "refit", verdict: str = "keep"
    ) -> None:
        """Put version `number` into the shadow."""
        await self.store.registry.challenge(
            Decision(
                seat=SEAT,
                champion_version=None,
                challenger_version=number,
                verdict=verdict,
                trigger=trigger,
                decided_at=at(102 + number),
            )
        )

    async def listed(self) -> dict[int, list[str]]:
        """The versions that have aliases, as `models list` reads them."""
        rows = await self.store.registry.versions()
        return {row["version"]: row["aliases"] for row in rows if row["aliases"]}


def on_trial(panel: Panel) -> str | None:
    seat = panel.rooms[4].predictor.seats().get(f"{ON_TRIAL}{NAME}")
    return None if seat is None else seat.model.version


def serving(panel: Panel) -> str | None:
    seat = panel.rooms[4].predictor.seats().get(NAME)
    return None if seat is None else seat.model.version


def logistic(bias: float) -> bytes:
    """A whole artifact; `bias` makes its content its own."""
    columns = list(OHLCV.model_columns)
    zeros = [0.0] * len(columns)
    description: dict[str, Any] = {
        "kind": "logistic",
        "target": "direction",
        "horizon": 4,
        "columns": columns,
        "medians": zeros,
        "mean": zeros,
        "scale": [1.0] * len(columns),
        "coefficients": [zeros] * 3,
        "intercepts": [bias, 0.0, 0.0],
    }
    return write_bundle(description, {})


@pytest.fixture
async def unfitted(
    database_url: str, tmp_path: Path, manual_clock: ManualClock
) -> AsyncIterator[Fitted]:
    async with open_store(database_url, tmp_path) as store:
        yield Fitted(store, tmp_path, manual_clock, [])


@pytest.fixture
async def fitted(unfitted: Fitted) -> Fitted:
    for number in (1, 2):
        await unfitted.fit(number)
        await unfitted.promote(number - 1 or None, number)
    return unfitted


async def test_an_altered_artifact_is_refused_and_the_version_before_it_serves(
    fitted: Fitted, caplog: pytest.LogCaptureFixture
) -> None:
    before = await fitted.start()
    fitted.alter(2)
    with caplog.at_level(logging.ERROR):
        panel = await fitted.start()
    panel.restore(before.snapshot())

    assert (serving(before), serving(panel)) == ("2", "1")
    assert [record.message for record in caplog.records] == ["model refused"]
    assert await fitted.store.registry.aliases(SEAT) == {"champion": 1}
    assert fitted.refused == [
        f"model {NAME}@2 (binance 1h, horizon 4) refused:"
        " artifact was altered: its content has another hash"
    ]
    *_, last = await fitted.store.registry.decisions(SEAT)
    assert (last["verdict"], last["trigger"]) == ("rollback", "artifact")
    assert "was altered" in last["evidence"]["words"]


async def test_a_version_whose_plugin_is_another_now_is_refused(fitted: Fitted) -> None:
    before = await fitted.start()
    provided = replace(BUILT_IN, providers={"logistic": {"plugins/ours.py": "sha256:new"}})
    fitted.store.artifacts.catalogue = provided
    untouched = await fitted.start()
    await fitted.store.writers.execute(
        """UPDATE ml_models_metadata SET environment = '{"plugins/ours.py": "sha256:old"}'
        WHERE version = 2"""
    )
    panel = await fitted.start()

    assert (serving(before), serving(untouched), serving(panel)) == ("2", "2", "1")
    assert fitted.refused == [
        f"model {NAME}@2 (binance 1h, horizon 4) refused:"
        " plugins/ours.py is not what it was when this was fitted"
    ]


async def test_where_no_version_is_left_the_baseline_serves_and_the_next_fit_may_sit(
    fitted: Fitted,
) -> None:
    before = await fitted.start()
    fitted.alter(1)
    fitted.alter(2)
    panel = await fitted.start()
    panel.restore(before.snapshot())

    assert serving(panel) is None
    assert "class_prior.direction" in panel.rooms[4].predictor.seats()
    assert await fitted.store.registry.aliases(SEAT) == {}
    await fitted.fit(3)
    await fitted.promote(None, 3)
    assert serving(await fitted.start()) == "3"


async def test_of_an_altered_challenger_the_version_before_it_is_on_trial(
    unfitted: Fitted,
) -> None:
    for number, trigger, verdict in ((1, "cold_start", "reject"), (2, "refit", "keep")):
        await unfitted.fit(number)
        await unfitted.put_on_trial(number, trigger, verdict)
    unfitted.alter(2)

    panel = await unfitted.start()

    assert (on_trial(panel), serving(panel)) == ("1", None)
    assert await unfitted.listed() == {1: ["challenger"]}
    (refused,) = unfitted.refused
    assert refused.startswith(f"model {NAME}@2 ")
    *_, last = await unfitted.store.registry.decisions(SEAT)
    assert (last["verdict"], last["trigger"]) == ("rollback", "artifact")
    assert (last["champion_version"], last["challenger_version"]) == (None, 2)
    await unfitted.start()
    assert unfitted.refused == []


async def test_where_no_version_was_on_trial_before_an_altered_one_nobody_is(
    fitted: Fitted,
) -> None:
    """The seated versions before it were never on trial."""
    await fitted.fit(3)
    await fitted.put_on_trial(3)
    fitted.alter(3)

    panel = await fitted.start()

    assert (on_trial(panel), serving(panel)) == (None, "2")
    assert await fitted.listed() == {1: ["previous"], 2: ["champion"]}


async def test_each_altered_version_on_trial_is_refused_once(unfitted: Fitted) -> None:
    for number in (1, 2, 3):
        await unfitted.fit(number)
        await unfitted.put_on_trial(number)
        unfitted.alter(number)

    panel = await unfitted.start()

    assert on_trial(panel) is None
    assert await unfitted.listed() == {}
    assert [words.split()[1] for words in unfitted.refused] == [f"{NAME}@{n}" for n in (3, 2, 1)]
