"""Drift in a real store: what is found in the record, what is done, and what is written down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from backend.learning.drift import Drifts
from backend.learning.learning import Learning
from backend.learning.plan import LearningPlan
from backend.panel import Panel, PanelKey
from backend.training_settings import TrainingSettings
from backend.wiring import Store, open_store
from domain.events import LOSSES, Floats, ModelEvent, Origin, OutcomeBatch, Role
from domain.market import Timeframe, to_ms
from services.signals.policy import PolicySettings
from tests.doubles import ManualClock
from tests.integration.store_samples import INSTRUMENTS, at
from tests.integration.test_altered_artifacts import Fitted

T = TypeVar("T")
H1 = Timeframe.H1
HORIZON = 4
DAYS = 60
NOW = at(24 * DAYS + 1)  # 01:00 UTC


class Threads:
    """An executor whose workers are threads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        return self._pool.submit(work, *arguments)

    def close(self) -> None:
        self._pool.shutdown()


class Examined:
    """A panel whose learning hears of what is found."""

    def __init__(self, store: Store, clock: ManualClock, **training: Any) -> None:
        self.store, self.told = store, list[ModelEvent]()
        self.panel = Panel(
            PanelKey(exchange="binance", timeframe=H1),
            [HORIZON],
            clock=clock,
            policy=PolicySettings(),
        )
        self.threads = Threads()
        self.learning = Learning(
            panel=self.panel,
            store=store,
            executor=self.threads,
            clock=clock,
            wall=clock,
            plan=LearningPlan.of(TrainingSettings(**training), H1, seed=7, live=True),
            emit=self._hear,
        )

    def _hear(self, event: object) -> None:
        assert isinstance(event, ModelEvent)
        self.told.append(event)

    @property
    def drifts(self) -> Drifts:
        return self.learning._drifts

    async def lose(self, model: str, values: Floats, *, loss: str) -> None:
        """Live losses of a pool at each close up to `NOW`; (closes,)."""
        first = NOW - len(values) * timedelta(hours=1)
        count = len(INSTRUMENTS)
        table = np.full((len(values) * count, len(LOSSES)), np.nan)
        table[:, LOSSES.index(loss)] = np.repeat(values, count)
        closes = [to_ms(first) + (n + 1) * H1.ms for n in range(len(values))]
        batch = OutcomeBatch(
            exchange="binance",
            timeframe=H1,
            horizon=HORIZON,
            role=Role.MEMBER,
            model=model,
            version="1",
            scored_at=NOW,
            instruments=INSTRUMENTS * len(values),
            as_of_ms=np.repeat(np.array(closes), count),
            revision=np.ones(len(values) * count, dtype=np.int64),
            origin=Origin.LIVE,
            losses=table,
        )
        await self.store.recorder.commit_learning([batch], published_at=NOW)

    async def day(self) -> None:
        """The day's examination, and what it makes due."""
        self.drifts.due(NOW - timedelta(hours=23))
        (one,) = self.drifts.due(NOW)
        await self.drifts.examine(one)

    async def events(self) -> list[tuple[str, str, str]]:
        rows = await self.store.readers.fetch(
            "SELECT kind, target, action FROM drift_events ORDER BY id"
        )
        return [tuple(row) for row in rows]

    def reason(self, moment: datetime) -> str | None:
        """Why a training is due, if one is."""
        self.panel.rooms[HORIZON].matured = 10_000
        due = self.learning._trainings.due(moment)
        return due[0].request.reason if due else None


@pytest.fixture
async def store(
    database_url: str, tmp_path: Path, manual_clock: ManualClock
) -> AsyncIterator[Store]:
    """One version of a kind, fitted long ago."""
    async with open_store(database_url, tmp_path) as opened:
        await Fitted(opened, tmp_path, manual_clock, []).fit(1)
        await opened.instruments.ids(INSTRUMENTS)
        yield opened


@pytest.fixture
async def examined(store: Store, manual_clock: ManualClock) -> AsyncIterator[Examined]:
    panel = Examined(store, manual_clock)
    await panel.learning.restore()
    yield panel
    panel.threads.close()


def walk(rise: float) -> Floats:
    rng = np.random.default_rng(8)
    losses = 1.0 + 0.1 * rng.normal(size=24 * DAYS)
    losses[-30:] += rise
    return losses


async def test_losses_that_rise_make_a_training_due_and_rows_say_so_until_then(
    examined: Examined,
) -> None:
    await examined.lose("pool.direction", walk(0.6), loss="log_loss")

    await examined.day()

    assert await examined.events() == [("error", "direction", "retrain")]
    (told,) = examined.told
    assert (told.kind, told.model) == ("drift", "pool.direction")
    assert "loss of pool.direction rose" in told.detail
    assert told.detail.endswith("retrain")
    assert examined.panel.rooms[HORIZON].predictor._drifting
    assert examined.reason(NOW + timedelta(hours=1)) == "error"
    examined.panel.rooms[HORIZON].predictor.on_fitted()
    assert not examined.panel.rooms[HORIZON].predictor._drifting


async def test_losses_as_ever_make_nothing_due(examined: Examined) -> None:
    await examined.lose("pool.direction", walk(0.0), loss="log_loss")
    await examined.learning._trainings.resume({HORIZON: NOW - timedelta(hours=1)})

    await examined.day()

    assert await examined.events() == []
    assert examined.told == []
    assert examined.reason(NOW) is None


async def test_soon_after_a_training_an_alarm_waits_for_what_it_changed(
    examined: Examined,
) -> None:
    await examined.lose("pool.direction", walk(0.6), loss="log_loss")
    await examined.learning._trainings.resume({HORIZON: NOW - timedelta(hours=1)})

    await examined.day()

    assert await examined.events() == [("error", "direction", "cool_down")]
    assert examined.reason(NOW) is None


async def test_what_has_not_earned_the_right_reports(
    store: Store, manual_clock: ManualClock
) -> None:
    panel = Examined(store, manual_clock, triggers=("coverage",))
    await panel.learning.restore()
    await panel.learning._trainings.resume({HORIZON: NOW - timedelta(days=2)})
    await panel.lose("pool.direction", walk(0.6), loss="log_loss")

    await panel.day()
    panel.threads.close()

    assert await panel.events() == [("error", "direction", "report")]


async def test_intervals_that_cover_too_little_make_a_training_due(examined: Examined) -> None:
    rng = np.random.default_rng(9)
    share = 0.5 + 0.05 * rng.normal(size=24 * DAYS)
    await examined.lose("pool.quantiles", share, loss="covered")

    await examined.day()

    assert await examined.events() == [("coverage", "quantiles", "retrain")]
    assert "intervals cover 50" in examined.told[0].detail


async def test_a_day_is_examined_once_and_only_what_was_fitted(examined: Examined) -> None:
    midnight = NOW - timedelta(hours=1)

    assert examined.drifts.due(midnight - timedelta(hours=1)) == ()
    assert examined.drifts.due(midnight) == ()
    (one,) = examined.drifts.due(NOW)
    assert one.since == midnight - timedelta(hours=1)
    assert examined.drifts.due(NOW) == ()
    assert examined.drifts.due(NOW + timedelta(hours=23)) == ()
    (after,) = examined.drifts.due(NOW + timedelta(hours=26))
    assert after.since == NOW
    examined.learning._seats._trained.clear()
    assert examined.drifts.due(NOW + timedelta(days=3)) == ()


async def test_an_alarm_that_stands_is_told_once(examined: Examined) -> None:
    share = 0.5 + 0.05 * np.random.default_rng(9).normal(size=24 * DAYS)
    await examined.lose("pool.quantiles", share, loss="covered")
    await examined.day()

    (tomorrow,) = examined.drifts.due(NOW + timedelta(days=1))
    await examined.drifts.examine(tomorrow)

    assert await examined.events() == [("coverage", "quantiles", "retrain")]


async def test_the_same_close_leaves_one_event(examined: Examined) -> None:
    await examined.lose("pool.direction", walk(0.6), loss="log_loss")
    await examined.day()
    (again,) = examined.drifts.due(NOW + timedelta(days=1))
    examined.drifts._standing.clear()  # as a start does
    await examined.drifts.examine(replace(again, as_of=NOW, since=NOW - timedelta(days=1)))

    assert len(await examined.events()) == 1
