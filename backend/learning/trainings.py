"""The trainings of one panel: when a fit is due, and the fits; none is lost that was begun."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from backend.learning.admission import Admission
from backend.learning.classes import ClassTrainings
from backend.learning.fits import ExamplesOrder, FitOrder, fit_from_store
from backend.learning.plan import LearningPlan, Training
from backend.learning.seats import Seats
from backend.learning.working import NotDoneError, given
from backend.store.database import patiently
from backend.store.runs import Run
from domain.losses import BASELINES
from domain.market import rfc3339
from domain.ports import Executor
from services.features.kinds import RELEASE
from services.models.fitting import FitResult
from services.models.recipes import Recipe
from services.models.trainer import Trainer, TrainingRequest
from services.models.walk_forward import SplitKind

log = logging.getLogger(__name__)

Report = Callable[[int, int], None]


@dataclass(slots=True, kw_only=True)
class Trainings:
    """Fits every kind when it is due; what becomes of each is the admission's.

    A training is entered before its first fit and crossed out after its last decision. One that
    was cut short is asked for again as it was: of what was decided nothing is fitted again, and
    the same fit of the rest gives the same models. While the database is away it waits.
    """

    seats: Seats
    admission: Admission
    executor: Executor
    plan: LearningPlan
    _trainers: dict[int, Trainer] = field(default_factory=dict)
    _classes: ClassTrainings = field(init=False)
    _cut_short: list[Training] = field(default_factory=list)  # by the end of whoever ran them

    def __post_init__(self) -> None:
        self._classes = ClassTrainings(seats=self.seats, executor=self.executor, plan=self.plan)
        for horizon in self.seats.panel.rooms:
            self._trainers[horizon] = Trainer(
                self.seats.panel.key.timeframe,
                every=self.plan.every,
                at=self.plan.at,
                minimum_rows=self.plan.minimum_rows,
                delay=self.plan.delay,
            )

    def due(self, as_of: datetime) -> tuple[Training, ...]:
        """The trainings that the tick at `as_of` makes due; each is told once.

        Those that were cut short come first.
        """
        rooms = self.seats.panel.rooms
        asked = [
            Training(horizon=horizon, request=request)
            for horizon, trainer in self._trainers.items()
            if (request := trainer.on_tick(as_of, rooms[horizon].matured)) is not None
        ]
        cut_short, self._cut_short = self._cut_short, []
        return (*cut_short, *asked)

    def request(self, horizon: int, reason: str) -> None:
        """Train at the next tick."""
        self._trainers[horizon].request(reason)

    def requested(self, horizon: int) -> bool:
        """Whether a training is asked for that no tick has begun yet."""
        return self._trainers[horizon].requested

    @property
    def cut_short(self) -> bool:
        """Whether one is to be gone on with at the next tick."""
        return bool(self._cut_short)

    def started(self, horizon: int) -> datetime | None:
        """The close at which the last training of a horizon began."""
        return self._trainers[horizon].started

    async def resume(self, trained: Mapping[int, datetime]) -> None:
        """Go on after a restart from the last training of each horizon.

        Args:
            trained: when each horizon was fitted last, as the registry has it.
        """
        for horizon, trainer in self._trainers.items():
            trainer.resume(trained.get(horizon))
        key = self.seats.panel.key
        for run in await self.seats.store.runs.unfinished(key.exchange, key.timeframe):
            if run.horizon in self._trainers:
                trainer = self._trainers[run.horizon]
                trainer.resume(max(run.as_of, trainer.started or run.as_of))
                self._cut_short.append(_asked_again(run))
                log.info(
                    "the training of %s at %d bars was cut short: it is gone on with",
                    rfc3339(run.as_of),
                    run.horizon,
                )

    async def run(self, due: Sequence[Training], report: Report, turn: asyncio.Lock) -> None:
        """Fit every kind, decide, register, and schedule what takes a seat.

        Args:
            due: what to fit.
            report: hears how many of how many fits are done.
            turn: held while it is decided.
        """
        done, total = 0, len(due) * len(self.plan.recipes)
        store, clock, wall = self.seats.store, self.seats.clock, self.seats.wall
        report(done, total)
        for one in due:
            run = self._run(one)
            await patiently(partial(store.runs.begin, run, at=clock.now()), wall)
            settled = await patiently(partial(store.registry.settled, run), wall)
            results: dict[str, FitResult] = {}

            async def fit(recipe: Recipe, due: Training = one) -> None:
                nonlocal done
                result = await self._fit(due, recipe)
                done += 1
                report(done, total)
                if result is not None:
                    results[result.name] = result  # noqa: B023 - awaited within the loop

            async with asyncio.TaskGroup() as fits:
                for recipe in self.plan.recipes:
                    if recipe.target not in settled:
                        fits.create_task(fit(recipe))
            self.seats.panel.rooms[one.horizon].predictor.on_fitted()
            for target in BASELINES:
                of_target = {
                    name: results[name] for name in sorted(results) if name.endswith(f".{target}")
                }
                async with turn:
                    if of_target:
                        await self.admission.decide(one, target, of_target)
                    await patiently(partial(self.admission.challenge, one, target), wall)
            await self._classes.run(one, settled, turn)
            await patiently(partial(store.runs.finish, run, at=clock.now()), wall)

    def _run(self, due: Training) -> Run:
        key = self.seats.panel.key
        return Run(
            exchange=key.exchange,
            timeframe=key.timeframe,
            horizon=due.horizon,
            as_of=due.request.as_of,
            effective_from=due.request.effective_from,
            reason=due.request.reason,
            split=due.request.split,
        )

    async def _fit(self, due: Training, recipe: Recipe) -> FitResult | None:
        key = self.seats.panel.key
        order = FitOrder(
            examples=ExamplesOrder(
                database_url=self.seats.store.url,
                exchange=key.exchange,
                timeframe=key.timeframe,
                horizon=due.horizon,
                feature_set=self.seats.panel.fitted_on(recipe.candles),
                candles=recipe.candles or RELEASE.id,
                until=due.request.as_of,
                maximum_rows=self.plan.maximum_rows,
            ),
            recipe=recipe,
            split=due.request.split,
            seed=self.plan.seed,
            plugins=self.plan.plugins,
        )
        try:
            return await given(self.executor, self.seats.wall, fit_from_store, order)
        except NotDoneError as error:
            seat = self.seats.place(due.horizon, recipe.target, recipe.name)
            self.seats.tell("rejected", seat, "", due.request.as_of, f"not fitted: {error}")
            return None


def _asked_again(run: Run) -> Training:
    return Training(
        horizon=run.horizon,
        request=TrainingRequest(
            as_of=run.as_of,
            effective_from=run.effective_from,
            reason=run.reason,
            split=SplitKind(run.split),
        ),
    )
