"""What becomes of the fits of a training: refreshed, begun, or on trial; and the record of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from backend.learning.attempts import COLD_START, REFIT, REFRESH, next_cold_start
from backend.learning.challenges import Challenges
from backend.learning.evidence import beside_seat, cold_start_evidence, dates_of, failed_guardrails
from backend.learning.plan import Training
from backend.learning.seats import Seats
from backend.panel import SeatChange
from backend.store.registry import Decision as DecisionRow
from domain.events import Role, Target
from domain.losses import deciding_loss
from domain.market import Horizon
from domain.ports import Model
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
    """

    seats: Seats
    challenges: Challenges

    async def decide(
        self,
        due: Training,
        target: Target,
        results: Mapping[str, FitResult],
        versions: Mapping[str, int],
    ) -> None:
        """Seated kinds are refreshed; the rest begin together, or go on trial beside them.

        Args:
            due: the training that fitted them.
            target: of all of them.
            results: fits by name.
            versions: of the fits, as registered.
        """
        seated = self.seats.members(due.horizon, target)
        for name in sorted(results.keys() & seated):
            await self._refresh(due, target, results[name], versions[name])
        others = {name: one for name, one in results.items() if name not in seated}
        if others and not seated:
            await self._cold_start(due, target, others, versions)
        elif others:
            await self._on_trial(due, target, others, versions)
        await self.challenges.begin(
            due.horizon,
            target,
            at=due.request.as_of,
            effective_from=due.request.effective_from,
        )

    async def _refresh(
        self, due: Training, target: Target, result: FitResult, version: int
    ) -> None:
        """The same kind on more data: it takes the seat unless it is worse."""
        trial = self.seats.trial(due.horizon, target)
        dates = await beside_seat(self.seats.store.readers, result, trial)
        decision = judge_refresh(dates, trial.horizon, result.name, failed_guardrails(result))
        lifted = decision.verdict is Verdict.PROMOTE
        roles = {result.name: Role.MEMBER} if lifted else {}
        await self._enter(due, target, decision, {result.name: version}, roles, trigger=REFRESH)
        kind = "refreshed" if lifted else "rejected"
        self._tell(due, kind, target, result.name, str(version), decision.words)
        if lifted:
            self._seat(due, result, version, Role.MEMBER)

    async def _on_trial(
        self,
        due: Training,
        target: Target,
        results: Mapping[str, FitResult],
        versions: Mapping[str, int],
    ) -> None:
        """The newest fits of kinds without a seat go on in the shadow of their earlier ones."""
        words = f"in the shadow of {pool_name(target)}"
        for name, result in results.items():
            decision = Decision(verdict=Verdict.KEEP, models=(name,), words=words)
            roles = {name: Role.CHALLENGER}
            await self._enter(due, target, decision, {name: versions[name]}, roles, trigger=REFIT)
            self._seat(due, result, versions[name], Role.CHALLENGER)

    async def _cold_start(
        self,
        due: Training,
        target: Target,
        results: Mapping[str, FitResult],
        versions: Mapping[str, int],
    ) -> None:
        """Kinds without a seat, tested together: those that beat the baseline begin."""
        pool = self.seats.place(due.horizon, target, pool_name(target))
        attempt = next_cold_start(await self.seats.store.registry.record(pool))
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
        for name in decision.models:
            if name in beside:
                await self._seat_learner(due, name, decision)

    async def _seat_learner(self, due: Training, name: str, decision: Decision) -> None:
        """Its decision is all that keeps its seat: it has no version in the registry."""
        learner = self.seats.learner(due.horizon, name)
        target, version = learner.target, learner.version
        row = self._row(due, target, decision, name, int(version), COLD_START)
        await self.seats.store.registry.conclude(
            [row], promoted=None, effective_from=due.request.effective_from
        )
        self._schedule(due, learner, Role.MEMBER)
        self._tell(due, "promoted", target, name, version, decision.words)

    def _rehearse(
        self, due: Training, target: Target, lifted: Sequence[FitResult]
    ) -> Mapping[str, float]:
        """The pool of those that begin, run over the holdout: weights, and blocks for the gate."""
        first = lifted[0].judged
        rehearsal = rehearse(
            target,
            timeframe=self.seats.panel.key.timeframe,
            horizon=due.horizon,
            as_of_ms=first.as_of_ms,
            forecasts={one.name: one.judged.forecast for one in lifted},
            losses={one.name: one.judged.losses for one in lifted} | dict(first.baseline_losses),
        )
        gate = self.seats.panel.rooms[due.horizon].gates[target]
        pooled = deciding_loss(target, rehearsal.pooled, first.answer)
        dates = dates_of(
            first.as_of_ms, [pooled, *(first.baseline_losses[name] for name in gate.columns[1:])]
        )
        gate.seed_holdout(block_means(dates, Horizon(self.seats.panel.key.timeframe, due.horizon)))
        return rehearsal.weights

    def _seat(
        self,
        due: Training,
        result: FitResult,
        version: int,
        role: Role,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        model = self.seats.store.artifacts.open(result.artifact, str(version))
        self._schedule(due, model, role, weights)

    def _schedule(
        self,
        due: Training,
        model: Model,
        role: Role,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.seats.schedule(
            SeatChange(
                model=model,
                role=role,
                horizon=due.horizon,
                effective_from=due.request.effective_from,
                weights=weights or {},
            )
        )

    async def _enter(
        self,
        due: Training,
        target: Target,
        decision: Decision,
        versions: Mapping[str, int],
        roles: Mapping[str, Role],
        *,
        trigger: str,
    ) -> None:
        """Each kind's decision, in one transaction with the seat that follows from it."""
        registry = self.seats.store.registry
        for name, version in versions.items():
            row = self._row(due, target, decision, name, version, trigger)
            match roles.get(name):
                case Role.MEMBER:
                    await registry.promote(row, effective_from=due.request.effective_from)
                case Role.CHALLENGER:
                    await registry.challenge(row)
                case _:
                    await registry.keep(row)

    def _row(
        self,
        due: Training,
        target: Target,
        decision: Decision,
        name: str,
        version: int,
        trigger: str,
    ) -> DecisionRow:
        return DecisionRow(
            seat=self.seats.place(due.horizon, target, name),
            champion_version=self.seats.seated_version(due.horizon, name),
            challenger_version=version,
            verdict=str(decision.verdict if name in decision.models else Verdict.REJECT),
            trigger=trigger,
            decided_at=due.request.as_of,
            evidence={**decision.evidence, "words": decision.words},
        )

    def _tell(
        self, due: Training, kind: str, target: Target, model: str, version: str, detail: str
    ) -> None:
        seat = self.seats.place(due.horizon, target, model)
        self.seats.tell(kind, seat, version, due.request.as_of, detail)
