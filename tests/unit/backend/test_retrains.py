"""A retrain is over when its trainings are, and says of each why it could not be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from backend.jobs import JobFailedError, Outcome
from backend.retrains import Retrains
from backend.store.jobs import Job
from domain.market import Timeframe, rfc3339
from tests.doubles import START

LEAST = 300
MADE = [{"model": "logistic.direction@2", "verdict": "promote"}]


@dataclass
class Pupil:
    """The learning of one panel: a tick begins what is requested, the next one ends it."""

    rows: int = 1_000
    fails: bool = False
    under_way: bool = False
    asked: list[int] = field(default_factory=list)
    waiting: set[int] = field(default_factory=set)
    begun: dict[int, datetime] = field(default_factory=dict)
    over: set[tuple[int, datetime]] = field(default_factory=set)
    plan: Any = field(default_factory=lambda: SimpleNamespace(minimum_rows=LEAST))

    def matured(self, horizon: int) -> int:
        return self.rows // horizon

    def request(self, horizon: int) -> None:
        self.asked.append(horizon)
        self.waiting.add(horizon)

    def requested(self, horizon: int) -> bool:
        return horizon in self.waiting

    def started(self, horizon: int) -> datetime | None:
        return self.begun.get(horizon)

    def tick(self, at: datetime) -> None:
        if not self.fails:
            self.over |= set(self.begun.items())
        self.under_way = bool(self.waiting)
        self.begun |= dict.fromkeys(self.waiting, at)
        self.waiting.clear()


@dataclass
class Market:
    """A clock by which a tick passes whenever somebody waits, and the record of trainings."""

    pupils: dict[str, Pupil]
    at: datetime = START

    def now(self) -> datetime:
        return self.at

    async def sleep(self, _: timedelta) -> None:
        self.at += timedelta(hours=1)
        for pupil in self.pupils.values():
            pupil.tick(self.at)

    async def finished(
        self, exchange: str, timeframe: Timeframe, horizon: int, as_of: datetime
    ) -> bool | None:
        pupil = self.pupils[exchange]
        if (horizon, as_of) in pupil.over:
            return True
        return False if pupil.begun.get(horizon) == as_of else None

    async def made(self, *_: object) -> list[dict[str, Any]]:
        return MADE

    def retrains(self, exchange: str) -> Retrains:
        panel = SimpleNamespace(
            key=SimpleNamespace(exchange=exchange, timeframe=Timeframe.H1),
            rooms={1: None, 4: None},
        )
        runner: Any = SimpleNamespace(panel=panel)
        observer: Any = SimpleNamespace(learning=self.pupils[exchange])
        runs: Any = self
        return Retrains(runner, observer, runs, wall=self)

    async def do(self, request: Mapping[str, Any], **progress: Any) -> Outcome:
        async def note(_: Mapping[str, Any]) -> None: ...

        job = Job(id="one", kind="retrain", request=request, created_at=START, progress=progress)
        return await self.retrains(next(iter(self.pupils))).do(job, note)


async def test_each_place_that_matches_is_trained_once() -> None:
    market = Market({"binance": Pupil(rows=2_000), "kraken": Pupil()})
    outcome = await market.do({"exchange": "binance"})

    places = [(row["exchange"], row["timeframe"], row["horizon"]) for row in outcome.result or ()]
    assert places == [("binance", "1h", 1), ("binance", "1h", 4)]
    assert all(row["models"] == MADE for row in outcome.result or ())
    assert outcome.detail is None
    assert market.pupils["binance"].asked == [1, 4]
    assert market.pupils["kraken"].asked == []


async def test_too_few_rows_are_counted_in_one_line() -> None:
    with pytest.raises(JobFailedError, match=r"^binance 1hx4 has 3 rows .* a fit needs 300$"):
        await Market({"binance": Pupil(rows=12)}).do({"horizon": 4})


async def test_where_some_can_be_fitted_the_others_are_said() -> None:
    outcome = await Market({"binance": Pupil(rows=400)}).do({})

    assert [row["horizon"] for row in outcome.result or ()] == [1]
    assert outcome.detail == "binance 1hx4 has 100 rows with labels, a fit needs 300"


async def test_a_training_that_fails_ends_its_job() -> None:
    with pytest.raises(JobFailedError, match="the training of binance 1hx1 failed"):
        await Market({"binance": Pupil(fails=True)}).do({"horizon": 1})


async def test_who_takes_it_up_again_asks_only_for_what_was_not_begun() -> None:
    pupil = Pupil(rows=2_000, under_way=True, begun={4: START})
    told = {"exchange": "binance", "timeframe": "1h", "as_of": rfc3339(START)}
    trainings = [{**told, "horizon": horizon} for horizon in (1, 4)]
    outcome = await Market({"binance": pupil}).do({}, trainings=trainings)

    assert pupil.asked == [1]
    as_of = {row["horizon"]: row["as_of"] for row in outcome.result or ()}
    assert as_of == {1: rfc3339(START + timedelta(hours=1)), 4: rfc3339(START)}


async def test_a_horizon_that_is_not_predicted_any_more_ends_it() -> None:
    with pytest.raises(JobFailedError, match="there is binance 1hx1, binance 1hx4 now"):
        await Market({"binance": Pupil()}).do({"horizon": 9})
