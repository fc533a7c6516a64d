"""The trainings of one panel: when a fit is due, the fits, and their versions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import datetime

from backend.learning.admission import Admission
from backend.learning.evidence import metrics_of
from backend.learning.fits import ExamplesOrder, FitOrder, fit_from_store
from backend.learning.plan import LearningPlan, Training
from backend.learning.seats import Seats
from backend.store.registry import ModelVersion
from backend.store.tables import LABEL_SET
from domain.errors import StoreUnavailableError
from domain.events import Target
from domain.losses import BASELINES
from domain.market import from_ms
from domain.ports import Executor
from services.models.fitting import FitResult
from services.models.recipes import Recipe
from services.models.trainer import Trainer

Report = Callable[[int, int], None]


@dataclass(slots=True, kw_only=True)
class Trainings:
    """Fits and registers every kind when it is due; what becomes of each is the admission's."""

    seats: Seats
    admission: Admission
    executor: Executor
    plan: LearningPlan
    _trainers: dict[int, Trainer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for horizon in self.seats.panel.rooms:
            self._trainers[horizon] = Trainer(
                self.seats.panel.key.timeframe,
                every=self.plan.every,
                at=self.plan.at,
                minimum_rows=self.plan.minimum_rows,
                delay=self.plan.delay,
            )

    def due(self, as_of: datetime) -> tuple[Training, ...]:
        """The trainings that the tick at `as_of` makes due; each is told once."""
        rooms = self.seats.panel.rooms
        asked = {
            horizon: trainer.on_tick(as_of, rooms[horizon].matured)
            for horizon, trainer in self._trainers.items()
        }
        return tuple(
            Training(horizon=horizon, request=request)
            for horizon, request in asked.items()
            if request is not None
        )

    def request(self, horizon: int, reason: str) -> None:
        """Train at the next tick."""
        self._trainers[horizon].request(reason)

    def started(self, horizon: int) -> datetime | None:
        """The close at which the last training of a horizon began."""
        return self._trainers[horizon].started

    def resume(self, trained: Mapping[int, datetime]) -> None:
        """Go on after a restart from the last training of each horizon."""
        for horizon, trainer in self._trainers.items():
            trainer.resume(trained.get(horizon))

    async def run(self, due: Sequence[Training], report: Report, turn: asyncio.Lock) -> None:
        """Fit every kind, decide, register, and schedule what takes a seat.

        Args:
            due: what to fit.
            report: hears how many of how many fits are done.
            turn: held while it is decided.
        """
        done, total = 0, len(due) * len(self.plan.recipes)
        report(done, total)
        for one in due:
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
                    fits.create_task(fit(recipe))
            self.seats.panel.rooms[one.horizon].predictor.on_fitted()
            for target in BASELINES:
                of_target = {
                    name: results[name] for name in sorted(results) if name.endswith(f".{target}")
                }
                if of_target:
                    versions = {
                        name: await self._register(one, target, result)
                        for name, result in of_target.items()
                    }
                    async with turn:
                        await self.admission.decide(one, target, of_target, versions)

    async def _fit(self, due: Training, recipe: Recipe) -> FitResult | None:
        key = self.seats.panel.key
        order = FitOrder(
            examples=ExamplesOrder(
                database_url=self.seats.store.url,
                exchange=key.exchange,
                timeframe=key.timeframe,
                horizon=due.horizon,
                feature_set=self.seats.panel.feature_set,
                until=due.request.as_of,
                newest_rows=self.plan.newest_rows,
            ),
            recipe=recipe,
            split=due.request.split,
            seed=self.plan.seed,
            plugins=self.plan.plugins,
        )
        try:
            return await asyncio.wrap_future(self.executor.submit(fit_from_store, order))
        except (ValueError, BrokenProcessPool, StoreUnavailableError) as error:
            seat = self.seats.place(due.horizon, recipe.target, recipe.name)
            self.seats.tell("rejected", seat, "", due.request.as_of, f"not fitted: {error}")
            return None

    async def _register(self, due: Training, target: Target, result: FitResult) -> int:
        sha256 = await asyncio.to_thread(self.seats.store.artifacts.save, result.artifact)
        model = ModelVersion(
            seat=self.seats.place(due.horizon, target, result.name),
            kind=result.name.partition(".")[0],
            params={
                **result.params,
                "split": due.request.split,
                "newest_rows": self.plan.newest_rows,
            },
            seed=result.seed,
            code_sha=result.recipe_sha256,
            data_sha256=result.data_sha256,
            feature_set=self.seats.panel.feature_set.id,
            label_set=LABEL_SET,
            trained_from=from_ms(result.trained_from_ms),
            trained_until=from_ms(result.trained_until_ms),
            effective_from=due.request.effective_from,
            n_train=result.n_train,
            n_effective=result.n_effective,
            n_trials=1,
            metrics=metrics_of(result),
            environment=result.libraries,
            artifact_path=sha256,
            artifact_sha256=sha256,
            artifact_bytes=len(result.artifact),
            train_seconds=result.train_seconds,
            parent_version=self.seats.seated_version(due.horizon, result.name),
            created_at=due.request.as_of,
        )
        version = await self.seats.store.registry.register(model)
        self.seats.trained_on(due.horizon, model.trained_from, model.trained_until)
        rows = f"{result.n_train} rows, {result.n_effective:.0f} effective, {due.request.reason}"
        self.seats.tell("trained", model.seat, str(version), due.request.as_of, rows)
        return version
