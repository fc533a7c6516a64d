"""Self-training of one panel: when a fit is due, what it may replace, and the record of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from backend.evidence import (
    COLD_START,
    Trial,
    beside_seat,
    cold_start_evidence,
    dates_of,
    failed_attempts,
    failed_guardrails,
    metrics_of,
)
from backend.learning_plan import Due, LearningPlan, Sitting
from backend.panel import Panel, SeatChange
from backend.store.registry import Decision as DecisionRow
from backend.store.registry import ModelVersion, Seat
from backend.store.tables import LABEL_SET
from backend.training import ExamplesOrder, FitOrder, fit_from_store
from backend.wiring import Store
from domain.errors import ArtifactError, StoreUnavailableError
from domain.events import ModelEvent, Role, Target
from domain.losses import BASELINES, deciding_loss
from domain.market import Horizon, from_ms
from domain.ports import Clock, Executor
from services.features.feature_set import OHLCV
from services.models.artifacts import open_model
from services.models.fitting import FitResult
from services.models.recipes import Recipe
from services.models.trainer import Trainer
from services.predictions.rehearsal import rehearse
from services.scores.blocks import block_means
from services.scores.promotion import Decision, Verdict, judge_cold_start, judge_refresh

log = logging.getLogger(__name__)

RIVER = "river.direction"
ALIASES = {"champion": Role.MEMBER, "challenger": Role.CHALLENGER}
RECORD = timedelta(days=90)  # of a trial that an attempt looks at
Report = Callable[[int, int], None]
Emit = Callable[[object], None]


@dataclass(slots=True, kw_only=True)
class Learning:
    """One panel's trainings.

    Args:
        emit: takes the model events; the caller commits them.
    """

    panel: Panel
    store: Store
    executor: Executor
    clock: Clock
    plan: LearningPlan
    emit: Emit
    _trainers: dict[int, Trainer] = field(default_factory=dict)
    _seats: dict[tuple[int, str], Sitting] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for horizon in self.panel.rooms:
            self._trainers[horizon] = Trainer(
                self.panel.key.timeframe,
                every=self.plan.every,
                minimum_rows=self.plan.minimum_rows,
                delay=self.plan.delay,
            )

    def due(self, as_of: datetime) -> list[Due]:
        """The trainings that the tick at `as_of` makes due; each is told once."""
        found = []
        for horizon, trainer in self._trainers.items():
            request = trainer.on_tick(as_of, self.panel.rooms[horizon].matured)
            if request is not None:
                found.append(Due(horizon=horizon, request=request))
        return found

    def request(self) -> None:
        """Train at the next tick."""
        for trainer in self._trainers.values():
            trainer.request()

    async def restore(self) -> None:
        """Take the seats as the registry has them; for a panel that starts."""
        created: dict[int, list[datetime]] = {horizon: [] for horizon in self._trainers}
        key = self.panel.key
        for row in await self.store.registry.versions(key.exchange, key.timeframe):
            if row["horizon"] not in created:
                continue
            created[row["horizon"]].append(row["created_at"])
            for alias, role in ALIASES.items():
                if alias in row["aliases"]:
                    await self._reseat(row, role)
        for horizon, moments in created.items():
            self._trainers[horizon].resume(max(moments, default=None))

    async def _reseat(self, row: Mapping[str, Any], role: Role) -> None:
        try:
            model = await asyncio.to_thread(
                self.store.artifacts.load,
                name=row["name"],
                version=str(row["version"]),
                sha256=row["artifact_sha256"],
            )
        except ArtifactError as error:
            await self._previous(row, role, error)
            return
        self.panel.rooms[row["horizon"]].predictor.seat(model, role)
        self._seats[row["horizon"], row["name"]] = Sitting(row["version"], role)

    async def _previous(self, row: Mapping[str, Any], role: Role, error: ArtifactError) -> None:
        """An artifact that is not what it was is refused; the version before it serves."""
        log.error("model refused", extra={"model": row["name"], "reason": str(error)})
        if role is not Role.MEMBER:
            return
        refused = DecisionRow(
            seat=self._seat_of(row["horizon"], Target(row["target"]), row["name"]),
            champion_version=row["version"],
            challenger_version=None,
            verdict="rollback",
            trigger="artifact",
            decided_at=self.clock.now(),
            evidence={"words": str(error)},
        )
        previous = await self.store.registry.withdraw(refused)
        before = previous and await self.store.registry.show(refused.seat, previous)
        if before:
            await self._reseat(before, role)

    async def train(self, due: Sequence[Due], report: Report | None = None) -> None:
        """Fit every kind, decide, register, and schedule what takes a seat."""
        done, total = 0, len(due) * len(self.plan.recipes)
        report = report or (lambda _done, _total: None)
        report(done, total)
        for one in due:
            results: dict[str, FitResult] = {}

            async def fit(recipe: Recipe, due: Due = one) -> None:
                nonlocal done
                result = await self._fit(due, recipe)
                done += 1
                report(done, total)
                if result is not None:
                    results[result.name] = result  # noqa: B023 - awaited within the loop

            async with asyncio.TaskGroup() as fits:
                for recipe in self.plan.recipes:
                    fits.create_task(fit(recipe))
            for target in BASELINES:
                of_target = {
                    name: results[name] for name in sorted(results) if name.endswith(f".{target}")
                }
                if of_target:
                    await self._decide(one, target, of_target)

    async def _fit(self, due: Due, recipe: Recipe) -> FitResult | None:
        key = self.panel.key
        order = FitOrder(
            examples=ExamplesOrder(
                database_url=self.store.url,
                exchange=key.exchange,
                timeframe=key.timeframe,
                horizon=due.horizon,
                feature_set=OHLCV,
                until=due.request.as_of,
                newest_rows=self.plan.newest_rows,
            ),
            recipe=recipe,
            split=due.request.split,
            seed=self.plan.seed,
        )
        try:
            return await asyncio.wrap_future(self.executor.submit(fit_from_store, order))
        except (ValueError, BrokenProcessPool, StoreUnavailableError) as error:
            name = f"{recipe.kind}.{recipe.target}"
            self._tell(due, "rejected", recipe.target, name, "", f"not fitted: {error}")
            return None

    async def _decide(self, due: Due, target: Target, results: Mapping[str, FitResult]) -> None:
        seated = {
            name
            for (horizon, name), sitting in self._seats.items()
            if horizon == due.horizon and sitting.role is Role.MEMBER
        }
        versions = {name: await self._register(due, target, one) for name, one in results.items()}
        for name in sorted(results.keys() & seated):
            await self._refresh(due, target, results[name], versions[name])
        fresh = {name: one for name, one in results.items() if name not in seated}
        if fresh:
            await self._cold_start(due, target, fresh, versions)

    async def _refresh(self, due: Due, target: Target, result: FitResult, version: int) -> None:
        """The same kind on more data: it takes the seat unless it is worse."""
        trial = self._trial(due, target)
        horizon = trial.horizon
        dates = await beside_seat(self.store.readers, result, trial)
        decision = judge_refresh(dates, horizon, result.name, failed_guardrails(result))
        lifted = decision.verdict is Verdict.PROMOTE
        roles = {result.name: Role.MEMBER} if lifted else {}
        await self._enter(due, target, decision, {result.name: version}, roles, trigger="refresh")
        kind = "refreshed" if lifted else "rejected"
        self._tell(due, kind, target, result.name, str(version), decision.words)
        if lifted:
            self._seat(due, result, version, Role.MEMBER)

    async def _cold_start(
        self,
        due: Due,
        target: Target,
        results: Mapping[str, FitResult],
        versions: Mapping[str, int],
    ) -> None:
        """Kinds without a seat, tested together: those that beat the baseline begin."""
        kinds = {recipe.kind for recipe in self.plan.recipes}
        seats = [self._seat_of(due.horizon, target, f"{kind}.{target}") for kind in sorted(kinds)]
        attempt = 1 + await failed_attempts(self.store.registry, seats)
        river = target is Target.DIRECTION and (due.horizon, RIVER) not in self._seats
        trial = self._trial(due, target)
        dates, names = await cold_start_evidence(
            self.store.readers,
            results,
            trial,
            since=due.request.as_of - RECORD,
            beside=[RIVER] if river else [],
        )
        failed = {name: failed_guardrails(result) for name, result in results.items()}
        decision = judge_cold_start(dates, trial.horizon, names, attempt, failed)
        roles = {
            name: Role.MEMBER if name in decision.models else Role.CHALLENGER for name in results
        }
        await self._enter(due, target, decision, versions, roles, trigger=COLD_START)
        lifted = [results[name] for name in decision.models if name in results]
        weights = self._rehearse(due, target, lifted) if lifted else {}
        for name, result in results.items():
            self._seat(due, result, versions[name], roles[name], weights)
            kind = "promoted" if roles[name] is Role.MEMBER else "rejected"
            self._tell(due, kind, target, name, str(versions[name]), decision.words)
        if RIVER in decision.models:
            self._seat_river(due, decision)

    def _seat_river(self, due: Due, decision: Decision) -> None:
        rooms = self.panel.rooms[due.horizon]
        river = next(one for one in rooms.learners if one.name == RIVER)
        self.panel.schedule(
            SeatChange(
                model=river,
                role=Role.MEMBER,
                horizon=due.horizon,
                effective_from=due.request.effective_from,
            )
        )
        self._seats[due.horizon, RIVER] = Sitting(int(river.version), Role.MEMBER)
        self._tell(due, "promoted", Target.DIRECTION, RIVER, river.version, decision.words)

    def _rehearse(
        self, due: Due, target: Target, lifted: Sequence[FitResult]
    ) -> Mapping[str, float]:
        """The pool of those that begin, run over the holdout: weights, and blocks for the gate."""
        first = lifted[0].judged
        rehearsal = rehearse(
            target,
            timeframe=self.panel.key.timeframe,
            horizon=due.horizon,
            as_of_ms=first.as_of_ms,
            forecasts={one.name: one.judged.forecast for one in lifted},
            losses={one.name: one.judged.losses for one in lifted} | dict(first.baseline_losses),
        )
        gate = self.panel.rooms[due.horizon].gates[target]
        pooled = deciding_loss(target, rehearsal.pooled, first.answer)
        dates = dates_of(
            first.as_of_ms, [pooled, *(first.baseline_losses[name] for name in gate.columns[1:])]
        )
        gate.seed_holdout(block_means(dates, Horizon(self.panel.key.timeframe, due.horizon)))
        return rehearsal.weights

    def _seat(
        self,
        due: Due,
        result: FitResult,
        version: int,
        role: Role,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.panel.schedule(
            SeatChange(
                model=open_model(result.artifact, str(version)),
                role=role,
                horizon=due.horizon,
                effective_from=due.request.effective_from,
                weights=weights or {},
            )
        )
        self._seats[due.horizon, result.name] = Sitting(version, role)

    async def _register(self, due: Due, target: Target, result: FitResult) -> int:
        sha256 = await asyncio.to_thread(self.store.artifacts.save, result.artifact)
        model = ModelVersion(
            seat=self._seat_of(due.horizon, target, result.name),
            kind=result.name.partition(".")[0],
            params=result.params,
            seed=result.seed,
            code_sha=result.recipe_sha256,
            data_sha256=result.data_sha256,
            feature_set=OHLCV.id,
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
            parent_version=self._version(due, result.name),
            created_at=due.request.as_of,
        )
        version = await self.store.registry.register(model)
        rows = f"{result.n_train} rows, {result.n_effective:.0f} effective, {due.request.reason}"
        self._tell(due, "trained", target, result.name, str(version), rows)
        return version

    async def _enter(
        self,
        due: Due,
        target: Target,
        decision: Decision,
        versions: Mapping[str, int],
        roles: Mapping[str, Role],
        *,
        trigger: str,
    ) -> None:
        """Each kind's decision, in one transaction with the seat that follows from it."""
        for name, version in versions.items():
            row = DecisionRow(
                seat=self._seat_of(due.horizon, target, name),
                champion_version=self._version(due, name),
                challenger_version=version,
                verdict=str(decision.verdict if name in decision.models else Verdict.REJECT),
                trigger=trigger,
                decided_at=due.request.as_of,
                evidence={**decision.evidence, "words": decision.words},
            )
            registry = self.store.registry
            match roles.get(name):
                case Role.MEMBER:
                    await registry.promote(row, effective_from=due.request.effective_from)
                case Role.CHALLENGER:
                    await registry.challenge(row)
                case _:
                    await registry.keep(row)

    def _version(self, due: Due, name: str) -> int | None:
        sitting = self._seats.get((due.horizon, name))
        return sitting.version if sitting and sitting.role is Role.MEMBER else None

    def _trial(self, due: Due, target: Target) -> Trial:
        horizon = Horizon(self.panel.key.timeframe, due.horizon)
        return Trial(exchange=self.panel.key.exchange, horizon=horizon, target=target)

    def _seat_of(self, horizon: int, target: Target, name: str) -> Seat:
        return Seat(
            exchange=self.panel.key.exchange,
            timeframe=self.panel.key.timeframe,
            horizon=horizon,
            target=target,
            name=name,
        )

    def _tell(
        self, due: Due, kind: str, target: Target, model: str, version: str, detail: str
    ) -> None:
        self.emit(
            ModelEvent(
                exchange=self.panel.key.exchange,
                timeframe=self.panel.key.timeframe,
                horizon=due.horizon,
                at=due.request.as_of,
                kind=kind,
                target=target.value,
                model=model,
                version=version,
                detail=detail,
            )
        )
