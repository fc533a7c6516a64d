"""What becomes of the fits of a training: refreshed, begun, or on trial; and the record of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from backend.learning.attempts import COLD_START, REFIT, REFRESH, next_cold_start
from backend.learning.challenges import Challenges
from backend.learning.conclusion import Conclusion
from backend.learning.evidence import (
    beside_seat,
    cold_start_evidence,
    dates_of,
    failed_guardrails,
    metrics_of,
)
from backend.learning.plan import LearningPlan, Training
from backend.learning.seats import Seats
from backend.store.registry import ModelVersion, Registry
from backend.store.tables import LABEL_SET
from domain.events import Role, Target
from domain.losses import deciding_loss
from domain.market import Horizon, from_ms
from services.models.fitting import FitResult
from services.predictions.rehearsal import rehearse
from services.scores.blocks import block_means
from services.scores.gate import pool_name
from services.scores.promotion import Decision, Verdict, judge_cold_start, judge_refresh

RECORD = timedelta(days=90)  # of a trial that an attempt looks at


@dataclass(slots=True, kw_only=True)
class Admission:
    """Who of those fitted takes a seat.

    Args:
        challenges: where kinds without a seat go once somebody has one.
        plan: what was fitted, of how much, and whether it is judged at all.
    """

    seats: Seats
    challenges: Challenges
    plan: LearningPlan

    async def decide(self, due: Training, target: Target, results: Mapping[str, FitResult]) -> None:
        """Seated kinds are refreshed; the rest begin together, or go on trial beside them.

        The versions, what is decided of them, and their roles are one transaction: of a
        training that is cut short a target's fits are all in the registry, or none.

        Args:
            due: the training that fitted them.
            target: of all of them.
            results: fits by name.
        """
        kept = await self.seats.keep({name: one.artifact for name, one in results.items()})

        async def conclude(record: Registry) -> Conclusion:
            out = Conclusion(record=record, due=due, target=target, seats=self.seats)
            await self._conclude(out, results, kept)
            return out

        out = await self.seats.store.registry.together(conclude, self.seats.wall)
        out.happen()

    async def _conclude(
        self, out: Conclusion, results: Mapping[str, FitResult], kept: Mapping[str, str]
    ) -> None:
        versions = {
            name: await self._register(out, results[name], kept[name]) for name in sorted(results)
        }
        if not self.plan.by_evidence:
            await self._admit(out, results, versions)
            return
        seated = self.seats.members(out.due.horizon, out.target)
        for name in sorted(results.keys() & seated):
            await self._refresh(out, results[name], versions[name])
        if others := {name: one for name, one in results.items() if name not in seated}:
            judge = self._on_trial if seated else self._cold_start
            await judge(out, others, versions)

    async def challenge(self, due: Training, target: Target) -> None:
        """Those on trial challenge those who have seats, where nobody does yet."""
        await self.challenges.begin(
            due.horizon,
            target,
            at=due.request.as_of,
            effective_from=due.request.effective_from,
        )

    async def _register(self, out: Conclusion, result: FitResult, sha256: str) -> int:
        due = out.due
        model = ModelVersion(
            seat=self.seats.place(due.horizon, out.target, result.name),
            kind=result.name.partition(".")[0],
            params={
                **result.params,
                "split": due.request.split,
                "maximum_rows": self.plan.maximum_rows,
            },
            seed=result.seed,
            code_sha=result.recipe_sha256,
            data_sha256=result.data_sha256,
            feature_set=self.seats.panel.fitted_on(result.params.get("candles", "")).id,
            label_set=LABEL_SET,
            trained_from=from_ms(result.trained_from_ms),
            trained_until=from_ms(result.trained_until_ms),
            effective_from=due.request.effective_from,
            n_train=result.n_train,
            n_effective=result.n_effective,
            n_trials=result.n_trials,
            metrics=metrics_of(result),
            environment=result.libraries,
            artifact_path=sha256,
            artifact_sha256=sha256,
            artifact_bytes=len(result.artifact),
            train_seconds=result.train_seconds,
            parent_version=self.seats.seated_version(due.horizon, result.name),
            created_at=due.request.as_of,
        )
        version = await out.record.register(model)
        span = model.trained_from, model.trained_until
        out.afterwards(lambda: self.seats.trained_on(due.horizon, *span))
        rows = f"{result.n_train} rows, {result.n_effective:.0f} effective, {due.request.reason}"
        out.tell("trained", result.name, str(version), rows)
        return version

    async def _admit(
        self, out: Conclusion, results: Mapping[str, FitResult], versions: Mapping[str, int]
    ) -> None:
        """No questions asked: what systems without a policy do, to be compared with one."""
        for name, result in results.items():
            decision = Decision(verdict=Verdict.PROMOTE, models=(name,), words="not judged")
            await out.enter(name, versions[name], Role.MEMBER, decision, trigger=REFRESH)
            self._seat(out, result, versions[name], Role.MEMBER)
            out.tell("promoted", name, str(versions[name]), decision.words)

    async def _refresh(self, out: Conclusion, result: FitResult, version: int) -> None:
        """The same kind on more data: it takes the seat unless it is worse."""
        trial = self.seats.trial(out.due.horizon, out.target)
        dates = await beside_seat(self.seats.store.readers, result, trial)
        decision = judge_refresh(dates, trial.horizon, result.name, failed_guardrails(result))
        lifted = decision.verdict is Verdict.PROMOTE
        role = Role.MEMBER if lifted else None
        await out.enter(result.name, version, role, decision, trigger=REFRESH)
        out.tell("refreshed" if lifted else "rejected", result.name, str(version), decision.words)
        if lifted:
            self._seat(out, result, version, Role.MEMBER)

    async def _on_trial(
        self, out: Conclusion, results: Mapping[str, FitResult], versions: Mapping[str, int]
    ) -> None:
        """The newest fits of kinds without a seat go on in the shadow of their earlier ones."""
        words = f"in the shadow of {pool_name(out.target)}"
        for name, result in results.items():
            decision = Decision(verdict=Verdict.KEEP, models=(name,), words=words)
            await out.enter(name, versions[name], Role.CHALLENGER, decision, trigger=REFIT)
            self._seat(out, result, versions[name], Role.CHALLENGER)

    async def _cold_start(
        self, out: Conclusion, results: Mapping[str, FitResult], versions: Mapping[str, int]
    ) -> None:
        """Kinds without a seat, tested together: those that beat the baseline begin."""
        due, target = out.due, out.target
        pool = self.seats.place(due.horizon, target, pool_name(target))
        attempt = next_cold_start(await out.record.record(pool))
        trial = self.seats.trial(due.horizon, target)
        beside = [name for name in self.seats.learners if name.endswith(f".{target}")]
        dates, names = await cold_start_evidence(
            self.seats.store.readers,
            results,
            trial,
            since=due.request.as_of - RECORD,
            beside=beside,
        )
        failed = {name: failed_guardrails(result) for name, result in results.items()}
        trials = {name: result.n_trials for name, result in results.items()}
        decision = judge_cold_start(dates, trial.horizon, names, attempt, failed, trials)
        lifted = [results[name] for name in decision.models if name in results]
        weights = self._rehearse(out, lifted) if lifted else {}
        for name, result in results.items():
            role = Role.MEMBER if name in decision.models else Role.CHALLENGER
            await out.enter(name, versions[name], role, decision, trigger=COLD_START)
            self._seat(out, result, versions[name], role, weights)
            kind = "promoted" if role is Role.MEMBER else "rejected"
            out.tell(kind, name, str(versions[name]), decision.words)
        for name in decision.models:
            if name in beside:
                learner = self.seats.learner(due.horizon, name)
                await out.enter_learner(learner, decision, trigger=COLD_START)
                out.schedule(learner, Role.MEMBER)
                out.tell("promoted", name, learner.version, decision.words)

    def _rehearse(self, out: Conclusion, lifted: Sequence[FitResult]) -> Mapping[str, float]:
        """The pool of those that begin, run over the holdout: weights, and blocks for the gate."""
        horizon = Horizon(self.seats.panel.key.timeframe, out.due.horizon)
        first = lifted[0].judged
        rehearsal = rehearse(
            out.target,
            timeframe=horizon.timeframe,
            horizon=horizon.steps,
            as_of_ms=first.as_of_ms,
            forecasts={one.name: one.judged.forecast for one in lifted},
            losses={one.name: one.judged.losses for one in lifted} | dict(first.baseline_losses),
        )
        gate = self.seats.panel.rooms[horizon.steps].gates[out.target]
        pooled = deciding_loss(out.target, rehearsal.pooled, first.answer)
        dates = dates_of(
            first.as_of_ms, [pooled, *(first.baseline_losses[name] for name in gate.columns[1:])]
        )
        blocks = block_means(dates, horizon)
        out.afterwards(lambda: gate.seed_holdout(blocks))
        return rehearsal.weights

    def _seat(
        self,
        out: Conclusion,
        result: FitResult,
        version: int,
        role: Role,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        model = self.seats.store.artifacts.open(result.artifact, str(version))
        out.schedule(model, role, weights)
