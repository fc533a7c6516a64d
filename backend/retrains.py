"""Jobs of the kind `retrain`: models fitted at the next tick, and what was decided about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from backend.jobs import JobFailedError, Note, Outcome
from backend.observer import Observer
from backend.orders import Place, matches
from backend.runner import Runner
from backend.store.database import patiently
from backend.store.jobs import Job
from backend.store.runs import Runs
from domain.market import Timeframe, rfc3339
from domain.ports import Clock

LOOK_EVERY: Final = timedelta(milliseconds=500)  # of wall time


@dataclass(slots=True)
class _Trainings:
    """What a job asked for: the close of each training, and how it ended."""

    asked: dict[Place, datetime] = field(default_factory=dict)
    ended: dict[Place, list[dict[str, Any]]] = field(default_factory=dict)
    failed: dict[Place, str] = field(default_factory=dict)

    def open(self, places: Mapping[Place, Observer]) -> list[Place]:
        return [one for one in places if one not in self.ended and one not in self.failed]

    def progress(self, total: int) -> dict[str, Any]:
        return {
            "done": len(self.ended) + len(self.failed),
            "total": total,
            "trainings": [{**p._asdict(), "as_of": rfc3339(t)} for p, t in self.asked.items()],
        }

    def outcome(self) -> Outcome:
        if not self.ended:
            raise JobFailedError("; ".join(self.failed.values()))
        result = [
            {**place._asdict(), "as_of": rfc3339(self.asked[place]), "models": models}
            for place, models in self.ended.items()
        ]
        return Outcome(result=result, detail="; ".join(self.failed.values()) or None)


class Retrains:
    """Trains a panel on request.

    Args:
        runner, observer: the panel, and what watches it.
        runs: the record of trainings.
        wall: of waits.
    """

    def __init__(self, runner: Runner, observer: Observer, runs: Runs, *, wall: Clock) -> None:
        self._panel = runner.panel
        self._observer = observer
        self._runs = runs
        self._wall = wall

    async def do(self, job: Job, note: Note) -> Outcome:
        places, trainings = self._places(job.request), _Trainings()
        trainings.asked |= await self._begun(job.progress, places)
        for place, observer in places.items():
            learning = observer.learning
            if place in trainings.asked:
                continue
            if (rows := learning.matured(place.horizon)) < learning.plan.minimum_rows:
                least = learning.plan.minimum_rows
                trainings.failed[place] = (
                    f"{place} has {rows} rows with labels, a fit needs {least}"
                )
            else:
                learning.request(place.horizon)
        told: dict[str, Any] = {}
        while waiting := trainings.open(places):
            for place in waiting:
                await self._look(place, places[place], trainings)
            if (now := trainings.progress(len(places))) != told:
                told = now
                await note(told)
            await self._wall.sleep(LOOK_EVERY)
        return trainings.outcome()

    async def _look(self, place: Place, observer: Observer, trainings: _Trainings) -> None:
        """Whether a training has begun or ended."""
        learning = observer.learning
        if place not in trainings.asked:
            if learning.requested(place.horizon):
                return  # it begins at the next tick
            started = learning.started(place.horizon)
            if started is None:
                raise JobFailedError(f"{place} was asked to train and did not")
            trainings.asked[place] = started
        over = not learning.under_way  # before the record is read: it ends with an entry there
        key = (place.exchange, Timeframe(place.timeframe), place.horizon, trainings.asked[place])
        if await patiently(partial(self._runs.finished, *key), self._wall):
            models = await patiently(partial(self._runs.made, *key), self._wall)
            trainings.ended[place] = models
        elif over:
            trainings.failed[place] = (
                f"the training of {place} failed, and is gone on with at the next start; the log"
                " says why"
            )

    async def _begun(
        self, progress: Mapping[str, Any], places: Mapping[Place, Observer]
    ) -> dict[Place, datetime]:
        """What an earlier life asked for and began; the rest is asked for again."""
        begun = {}
        for row in progress.get("trainings", ()):
            place = Place(row["exchange"], row["timeframe"], row["horizon"])
            as_of = datetime.fromisoformat(row["as_of"])
            key = (place.exchange, Timeframe(place.timeframe), place.horizon, as_of)
            known = await patiently(partial(self._runs.finished, *key), self._wall)
            if place in places and known is not None:
                begun[place] = as_of
        return begun

    def _places(self, request: Mapping[str, Any]) -> dict[Place, Observer]:
        """The horizons that a request is about.

        Raises:
            JobFailedError: it is about none.
        """
        key = self._panel.key
        every = [Place(key.exchange, key.timeframe.value, each) for each in self._panel.rooms]
        found = {place: self._observer for place in every if matches(place, request)}
        if not found:
            raise JobFailedError(f"there is {', '.join(map(str, every))} now")
        return found
