"""The models of class labels: fitted when their panel trains, served where they beat the prior."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

import numpy as np

from backend.learning.attempts import COLD_START, REFIT, REFRESH, next_cold_start
from backend.learning.class_fits import ClassFitOrder, fit_classes_from_store
from backend.learning.conclusion import ClassConclusion
from backend.learning.evidence import dates_of
from backend.learning.fits import ExamplesOrder
from backend.learning.plan import LearningPlan, Training
from backend.learning.seats import Seats
from backend.learning.working import NotDoneError, given
from backend.store.classes import ScoredClasses, scored
from backend.store.database import patiently
from backend.store.registry import ModelVersion, Registry
from domain.classes import LabelKind, label_id
from domain.events import Role
from domain.market import Horizon, from_ms
from domain.ports import Executor
from services.classes.room import PRIOR
from services.models.class_fits import ClassFit
from services.models.classified import ClassRecipe, open_classes, recipes_of
from services.scores.blocks import Dates
from services.scores.promotion import (
    Decision,
    Verdict,
    judge_cold_start,
    judge_refresh,
    judge_rollback,
    measure,
)

RECORD: Final = timedelta(days=90)  # of what was said live, that a review looks at
LOSSES: Final = "losses"  # trigger of a decision

Live = Mapping[str, ScoredClasses]  # by model


@dataclass(slots=True, kw_only=True)
class ClassTrainings:
    """One panel's. Of each kind of label one model serves, or the class prior.

    There is no pool, and no challenge of the one that serves: it is refreshed, and leaves where
    its record is proven worse than the prior's.

    Args:
        seats: who speaks, and what is known of it.
        executor: where fits run.
        plan: of the panel's trainings.
    """

    seats: Seats
    executor: Executor
    plan: LearningPlan

    async def run(self, due: Training, settled: Collection[str], turn: asyncio.Lock) -> None:
        """Fit the models of each kind that is on, decide, register, and schedule who speaks.

        Args:
            due: the panel's training.
            settled: kinds that it has decided of before it was cut short.
            turn: held while it is decided.
        """
        for kind in self.seats.panel.classes.kinds:
            if kind.name not in settled:
                await self._train(due, kind, turn)

    async def _train(self, due: Training, kind: LabelKind, turn: asyncio.Lock) -> None:
        recipes = recipes_of(label_id(kind), kind.classes)
        fits = await asyncio.gather(*(self._fit(due, kind, recipe) for recipe in recipes))
        results = {fit.name: fit for fit in fits if fit is not None}
        if results:
            async with turn:
                await self._decide(due, kind, results)

    async def _decide(
        self, due: Training, kind: LabelKind, results: Mapping[str, ClassFit]
    ) -> None:
        """The versions, what is decided of them, and their roles are one transaction."""
        live = await patiently(partial(self._live, due, kind), self.seats.wall)
        kept = await self.seats.keep({name: one.artifact for name, one in results.items()})
        seats = self.seats

        async def conclude(record: Registry) -> ClassConclusion:
            out = ClassConclusion(record=record, due=due, kind=kind, seats=seats)
            await self._conclude(out, results, kept, live)
            return out

        out = await seats.store.registry.together(conclude, seats.wall)
        out.happen()

    async def _conclude(
        self,
        out: ClassConclusion,
        results: Mapping[str, ClassFit],
        kept: Mapping[str, str],
        live: Live,
    ) -> None:
        versions = {
            name: await self._register(out, results[name], kept[name]) for name in sorted(results)
        }
        seated = next(iter(self.seats.members(out.due.horizon, out.about)), None)
        if seated is None:
            await self._cold_start(out, results, versions)
            return
        lost = await self._roll_back(out, seated, live)
        if not lost and seated in results:
            await self._refresh(out, results[seated], versions[seated], live)
        for name in sorted(results):
            if lost or name != seated:
                await self._on_trial(out, results[name], versions[name])

    async def _cold_start(
        self, out: ClassConclusion, results: Mapping[str, ClassFit], versions: Mapping[str, int]
    ) -> None:
        """The best of those that beat the prior on the locked holdout serves."""
        horizon, names = self._horizon(out.due), sorted(results)
        first = results[names[0]]
        losses = [first.prior_losses, *(results[name].losses for name in names)]
        dates = dates_of(first.as_of_ms, losses)
        prior = self.seats.place(horizon.steps, out.about, f"{PRIOR}.{out.about}")
        attempt = next_cold_start(await out.record.record(prior))
        failed = {name: _failed(results[name]) for name in names}
        decision = judge_cold_start(dates, horizon, names, attempt, failed)
        gains = {gain.model: gain.relative for gain in measure(dates, horizon, names)}
        best = max(decision.models, key=gains.__getitem__, default=None)
        for name in names:
            role = Role.MEMBER if name == best else Role.CHALLENGER
            await out.enter(name, versions[name], role, decision, trigger=COLD_START)
            self._seat(out, results[name], versions[name], role)
            kind = "promoted" if role is Role.MEMBER else "rejected"
            out.tell(kind, name, str(versions[name]), decision.words)

    async def _roll_back(self, out: ClassConclusion, seated: str, live: Live) -> bool:
        """Whether the one that serves is proven worse than the prior: then it is on trial again."""
        prior, said = live.get(f"{PRIOR}.{out.about}"), live.get(seated)
        if prior is None or said is None:
            return False
        decision = judge_rollback(_beside(prior, said), self._horizon(out.due), seated)
        model = self.seats.class_model(out.due.horizon, out.kind, seated)
        if decision.verdict is not Verdict.ROLLBACK or model is None:
            return False
        await out.demote(seated, decision, trigger=LOSSES)
        out.schedule(model, Role.CHALLENGER)
        out.tell("rolled_back", seated, model.version, f"{decision.words}; on trial again")
        return True

    async def _refresh(self, out: ClassConclusion, fit: ClassFit, version: int, live: Live) -> None:
        """The same model on more data: it takes the seat unless it is worse."""
        dates = _beside_seat(fit, live.get(fit.name))
        decision = judge_refresh(dates, self._horizon(out.due), fit.name, _failed(fit))
        lifted = decision.verdict is Verdict.PROMOTE
        role = Role.MEMBER if lifted else None
        await out.enter(fit.name, version, role, decision, trigger=REFRESH)
        out.tell("refreshed" if lifted else "rejected", fit.name, str(version), decision.words)
        if lifted:
            self._seat(out, fit, version, Role.MEMBER)

    async def _on_trial(self, out: ClassConclusion, fit: ClassFit, version: int) -> None:
        words = "predicts beside the one that serves"
        decision = Decision(verdict=Verdict.KEEP, models=(fit.name,), words=words)
        await out.enter(fit.name, version, Role.CHALLENGER, decision, trigger=REFIT)
        self._seat(out, fit, version, Role.CHALLENGER)

    def _seat(self, out: ClassConclusion, fit: ClassFit, version: int, role: Role) -> None:
        out.schedule(open_classes(fit.artifact, str(version)), role)

    async def _register(self, out: ClassConclusion, fit: ClassFit, sha256: str) -> int:
        due = out.due
        version = await out.record.register(
            ModelVersion(
                seat=self.seats.place(due.horizon, out.about, fit.name),
                kind=fit.name.partition(".")[0],
                params={
                    **fit.params,
                    "split": due.request.split,
                    "maximum_rows": self.plan.maximum_rows,
                },
                seed=fit.seed,
                code_sha=fit.recipe_sha256,
                data_sha256=fit.data_sha256,
                feature_set=self.seats.panel.fitted_on().id,
                label_set=label_id(out.kind),
                trained_from=from_ms(fit.trained_from_ms),
                trained_until=from_ms(fit.trained_until_ms),
                effective_from=due.request.effective_from,
                n_train=fit.n_train,
                n_effective=fit.n_effective,
                n_trials=1,
                metrics={
                    "judged": {
                        "rows": len(fit.losses),
                        "loss": float(np.nanmean(fit.losses)),
                        "baselines": {f"{PRIOR}.{out.about}": float(fit.prior_losses.mean())},
                    },
                    "failed": _failed(fit),
                },
                environment={
                    **fit.libraries,
                    **self.seats.store.artifacts.catalogue.providers.get(out.kind.name, {}),
                },
                artifact_path=sha256,
                artifact_sha256=sha256,
                artifact_bytes=len(fit.artifact),
                train_seconds=fit.train_seconds,
                parent_version=self.seats.seated_version(due.horizon, fit.name),
                created_at=due.request.as_of,
            )
        )
        rows = f"{fit.n_train} rows, {fit.n_effective:.0f} effective, {due.request.reason}"
        out.tell("trained", fit.name, str(version), rows)
        return version

    async def _live(self, due: Training, kind: LabelKind) -> Live:
        key = self.seats.panel.key
        found = await scored(
            self.seats.store.readers,
            due.horizon,
            exchange=key.exchange,
            timeframe=key.timeframe.value,
            kind=label_id(kind),
            since=due.request.as_of - RECORD,
        )
        return {model: one for (_, model), one in found.items()}

    async def _fit(self, due: Training, kind: LabelKind, recipe: ClassRecipe) -> ClassFit | None:
        panel = self.seats.panel
        order = ClassFitOrder(
            examples=ExamplesOrder(
                database_url=self.seats.store.url,
                exchange=panel.key.exchange,
                timeframe=panel.key.timeframe,
                horizon=due.horizon,
                feature_set=panel.fitted_on(),
                candles=panel.base.id,
                until=due.request.as_of,
                maximum_rows=self.plan.maximum_rows,
            ),
            recipe=recipe,
            split=due.request.split,
            seed=self.plan.seed,
        )
        try:
            return await given(self.executor, self.seats.wall, fit_classes_from_store, order)
        except NotDoneError as error:
            seat = self.seats.place(due.horizon, kind.name, recipe.name)
            self.seats.tell("rejected", seat, "", due.request.as_of, f"not fitted: {error}")
            return None

    def _horizon(self, due: Training) -> Horizon:
        return Horizon(self.seats.panel.key.timeframe, due.horizon)


def _failed(fit: ClassFit) -> list[str]:
    """What forbids a fit whatever its losses are, in words."""
    return [] if fit.finite == 1.0 else [f"{1 - fit.finite:.1%} of its forecasts are not finite"]


def _beside(reference: ScoredClasses, other: ScoredClasses) -> Dates:
    """Losses on the rows that both were judged on, the reference's first."""
    as_of_ms, ours, theirs = reference.shared(other)
    return dates_of(as_of_ms, [reference.loss[ours], other.loss[theirs]])


def _beside_seat(fit: ClassFit, live: ScoredClasses | None) -> Dates:
    """Column 0 the live losses of the seat, column 1 the fit that did not see those blocks."""
    ours = dates_of(fit.as_of_ms, [fit.losses])
    said: dict[int, float] = {}
    if live is not None:
        dates = dates_of(live.as_of_ms, [live.loss])
        said = dict(zip(dates.as_of_ms.tolist(), dates.losses[:, 0].tolist(), strict=True))
    seat = [said.get(ms, np.nan) for ms in ours.as_of_ms.tolist()]
    return Dates(
        as_of_ms=ours.as_of_ms,
        losses=np.column_stack([seat, ours.losses[:, 0]]),
        counts=ours.counts,
    )
