"""Cold starts in a real store: what is counted at one is gone on from at the next."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alphapulse_testing.panel import HORIZON, HOUR_MS, MODEL_COLUMNS, panel_examples
from backend.learning.admission import Admission
from backend.learning.attempts import COLD_START
from backend.learning.challenges import Challenges
from backend.learning.plan import LearningPlan, Training
from backend.learning.seats import Seats
from backend.panel import Panel, PanelKey
from backend.settings import TrainingSettings
from backend.store.registry import Seat
from backend.wiring import Store, open_store
from domain.events import LOSSES, Floats, ModelEvent, Origin, OutcomeBatch, Role, Target
from domain.market import Timeframe, to_ms
from services.models.catalogue import BUILT_IN
from services.models.fitting import FitResult, FitTask, Judged, fit
from services.models.trainer import TrainingRequest
from services.models.walk_forward import SplitKind
from services.signals.policy import PolicySettings
from tests.doubles import ManualClock
from tests.integration.store_samples import INSTRUMENTS, at

H1 = Timeframe.H1
BLOCK = 8  # closes, at a horizon of four
KIND, PRIOR = "logistic.direction", "class_prior.direction"
HOLDOUT = 30  # blocks
FIRST = HOLDOUT * BLOCK + HORIZON  # the close of the first training: all labels are known
MONTH = 20 * BLOCK


@pytest.fixture(scope="module")
def fitted() -> FitResult:
    task = FitTask(
        recipe=BUILT_IN.recipes[KIND],
        horizon=HORIZON,
        horizon_ms=HORIZON * HOUR_MS,
        columns=MODEL_COLUMNS,
        examples=panel_examples(150),
        split=SplitKind.LEAN,
        seed=1,
    )
    return fit(task)


def judged(one: FitResult, first: int, closes: int, gain: float) -> FitResult:
    """The fit, as if it had been judged on these closes with this gain over the prior."""
    rows = np.resize(np.arange(len(one.judged.losses)), closes)
    wave: Floats = np.where(np.arange(closes) // BLOCK % 2, -0.05, 0.05)
    of = one.judged
    told = Judged(
        instruments=tuple(of.instruments[row] for row in rows),
        as_of_ms=np.array([to_ms(at(first + n)) for n in range(closes)]),
        answer=type(of.answer)(
            outcome=of.answer.outcome[rows],
            log_return=of.answer.log_return[rows],
            realized_volatility=of.answer.realized_volatility[rows],
        ),
        forecast=of.forecast[rows],
        losses=1.0 - gain + wave,
        baseline_losses={PRIOR: np.ones(closes)},
    )
    return replace(one, judged=told)


@dataclass
class Panels:
    """A panel that learns, beside the store that outlives it."""

    store: Store
    fitted: FitResult
    told: list[ModelEvent] = field(default_factory=list)

    async def start(self) -> None:
        """As a system does that starts: everything is read from the store."""
        clock = ManualClock()
        key = PanelKey(exchange="binance", timeframe=H1)
        self.panel = Panel(key, [HORIZON], clock=clock, policy=PolicySettings())
        self.seats = Seats(panel=self.panel, store=self.store, clock=clock, emit=self._hear)
        self.admission = Admission(
            seats=self.seats,
            challenges=Challenges(seats=self.seats),
            plan=LearningPlan.of(TrainingSettings(kinds=(KIND,)), H1, seed=1),
        )
        await self.seats.restore()

    def _hear(self, event: object) -> None:
        assert isinstance(event, ModelEvent)
        self.told.append(event)

    async def train(self, close: int, result: FitResult) -> None:
        request = TrainingRequest(
            as_of=at(close),
            effective_from=at(close + 1),
            reason="schedule",
            split=SplitKind.REFRESH,
        )
        due = Training(horizon=HORIZON, request=request)
        await self.admission.decide(due, Target.DIRECTION, {KIND: result})
        self.panel.seat_due(at(close + 1))

    async def live(self, first: int, closes: int, gain: float) -> None:
        """What the prior and the kind on trial said of these closes, the kind better by `gain`."""
        wave = 0.05 * (-1.0) ** (np.arange(first, first + closes) // BLOCK)[:, None]
        prior = np.ones((closes, len(INSTRUMENTS)))
        batches = [
            outcome(first, PRIOR, prior, Role.MEMBER),
            outcome(first, KIND, prior - gain + wave, Role.CHALLENGER),
        ]
        await self.store.recorder.commit_learning(batches, published_at=at(0))

    async def evidence(self) -> Sequence[Mapping[str, Any]]:
        seat = Seat(
            exchange="binance", timeframe=H1, horizon=HORIZON, target=Target.DIRECTION, name=KIND
        )
        rows = await self.store.registry.decisions(seat)
        return [row["evidence"] for row in rows if row["trigger"] == COLD_START]

    def role(self) -> Role | None:
        found = self.seats.sitting(HORIZON, KIND)
        return None if found is None else found.role


def outcome(first: int, model: str, losses: Any, role: Role) -> OutcomeBatch:
    closes, count = losses.shape
    table = np.full((closes * count, len(LOSSES)), np.nan)
    table[:, LOSSES.index("log_loss")] = losses.ravel()
    return OutcomeBatch(
        exchange="binance",
        timeframe=H1,
        horizon=HORIZON,
        role=role,
        model=model,
        version="1",
        scored_at=at(first + closes + HORIZON),
        instruments=INSTRUMENTS * closes,
        as_of_ms=np.repeat([to_ms(at(first + i)) for i in range(closes)], count),
        revision=np.ones(closes * count, dtype=np.int64),
        origin=Origin.LIVE,
        losses=table,
    )


@pytest.fixture
async def panels(database_url: str, tmp_path: Path, fitted: FitResult) -> AsyncIterator[Panels]:
    async with open_store(database_url, tmp_path) as store:
        found = Panels(store, fitted)
        await found.start()
        yield found


async def test_evidence_gathers_over_refits_and_restarts_until_it_is_enough(
    panels: Panels,
) -> None:
    """A gain of 0.3 spreads of a block: 30 blocks of holdout are too few, a year is enough."""
    await panels.train(FIRST, judged(panels.fitted, 0, HOLDOUT * BLOCK, 0.01))
    assert panels.role() is Role.CHALLENGER
    for month in range(12):
        if panels.role() is Role.MEMBER:
            break
        begun = FIRST + 1 + month * MONTH
        await panels.live(begun, MONTH, 0.015)
        await panels.start()
        # Most of the blocks that judge the newest fit have been counted before.
        newest = judged(panels.fitted, begun + MONTH - HOLDOUT * BLOCK, HOLDOUT * BLOCK, 0.015)
        await panels.train(FIRST + (month + 1) * MONTH, newest)

    told = await panels.evidence()
    counted = [one[f"{KIND}.gathered_blocks"] for one in told]
    capitals = [one[f"{KIND}.evidence"] for one in told]
    assert panels.role() is Role.MEMBER
    assert counted[:3] == [30, 50, 70]
    assert capitals == sorted(capitals)
    assert capitals[-2] < told[-1]["needed"] <= capitals[-1]
    assert {one["round"] for one in told} == {1}
    assert "beat the baseline: evidence" in told[-1]["words"]
    (promoted,) = [one for one in panels.told if one.kind == "promoted"]
    assert promoted.detail == told[-1]["words"]


async def test_the_gate_knows_what_those_who_begin_said_on_trial(panels: Panels) -> None:
    gate = panels.panel.rooms[HORIZON].gates[Target.DIRECTION]
    await panels.train(FIRST, judged(panels.fitted, 0, HOLDOUT * BLOCK, 0.0))
    await panels.live(FIRST + 1, 6 * MONTH, 0.05)
    last = FIRST + 6 * MONTH
    await panels.train(last, judged(panels.fitted, last - 10 * BLOCK - HORIZON, 10 * BLOCK, 0.05))

    verdict = gate.verdict(at(last))

    assert panels.role() is Role.MEMBER
    assert verdict.blocks == 60
    assert not verdict.no_skill


async def test_a_cold_start_of_a_build_that_gathered_nothing_is_gone_on_from(
    panels: Panels,
) -> None:
    """It has looked at the holdout; from now on it gathers."""
    await panels.train(FIRST, judged(panels.fitted, 0, HOLDOUT * BLOCK, -0.01))
    async with panels.store.writers.acquire() as connection:
        await connection.execute("""UPDATE promotion_decisions SET evidence = '{"attempt": 1}'""")

    await panels.train(FIRST + MONTH, judged(panels.fitted, MONTH, HOLDOUT * BLOCK, 0.0))

    _, told = await panels.evidence()
    assert "alpha" not in told
    assert told[f"{KIND}.gathered_blocks"] == HOLDOUT


async def test_kinds_that_are_worse_begin_another_round(panels: Panels) -> None:
    await panels.train(FIRST, judged(panels.fitted, 0, HOLDOUT * BLOCK, -0.05))
    await panels.live(FIRST + 1, MONTH, -0.05)
    await panels.train(FIRST + MONTH, judged(panels.fitted, MONTH, HOLDOUT * BLOCK, 0.0))

    first, second = await panels.evidence()

    assert first[f"{KIND}.evidence"] < 0.1
    assert (first["round"], second["round"]) == (1, 2)
    assert second["needed"] == pytest.approx(4 * first["needed"])
