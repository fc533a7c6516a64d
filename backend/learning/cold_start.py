"""A cold start: what the kinds of a target that has no members have shown since the first one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from backend.learning.evidence import (
    Trial,
    cold_start_evidence,
    failed_guardrails,
    shadow_of_pool,
)
from backend.learning.plan import Training
from backend.learning.seats import Seats
from domain.events import Target
from domain.market import from_ms, to_ms
from services.models.fitting import FitResult
from services.scores.blocks import Dates, block_ms
from services.scores.gathering import Gathering, judge_beginning
from services.scores.promotion import Decision

RECORD: Final = timedelta(days=90)  # of a kind that begins to gather, before its judged rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """One training's, with all that was counted at the ones before it.

    Args:
        seats: of the panel.
        trial: what is compared.
        results: fits by name.
        beside: kinds that learn with each label.
        told: of each kind the losses that this cold start reads, the baseline's in column 0.
        gathering: with their blocks.
        first: whether it is the first since somebody was lifted.
        begun: where the first one's record begins.
    """

    seats: Seats
    trial: Trial
    results: Mapping[str, FitResult]
    beside: Sequence[str]
    told: Mapping[str, Dates]
    gathering: Gathering
    first: bool
    begun: datetime

    @classmethod
    async def of(
        cls,
        seats: Seats,
        decided: Sequence[Mapping[str, Any]],
        due: Training,
        target: Target,
        *,
        results: Mapping[str, FitResult],
        beside: Sequence[str],
    ) -> ColdStart:
        """Go on from the record.

        Args:
            seats: of the panel.
            decided: the cold starts of the target since somebody was lifted.
            due: the training.
            target: of the seats.
            results: fits by name.
            beside: kinds that learn with each label.
        """
        at, trial = due.request.as_of, seats.trial(due.horizon, target)
        before = Gathering.read(decided[-1]["evidence"]) if decided else None
        gathering = before.following() if before else Gathering()
        told = await cold_start_evidence(
            seats.store.readers,
            results,
            trial,
            since=_uncounted(gathering, (*results, *beside), trial, at),
            beside=beside,
        )
        return cls(
            seats=seats,
            trial=trial,
            results=results,
            beside=beside,
            told=told,
            gathering=gathering.add(told, trial.horizon, to_ms(at)),
            first=not decided,
            begun=(decided[0]["decided_at"] if decided else at) - RECORD,
        )

    def judge(self) -> Decision:
        """Who begins; its evidence is what the next one goes on from."""
        asking = [one for one in (*self.results, *self.beside) if one in self.gathering.capitals]
        failed = {name: failed_guardrails(one) for name, one in self.results.items()}
        trials = {name: one.n_trials for name, one in self.results.items()}
        horizon = self.trial.horizon
        if self.first:
            decision = judge_beginning(
                self.gathering, self.told, horizon, asking, failed=failed, trials=trials
            )
        else:
            decision = self.gathering.judge(asking, failed, trials)
        numbers = self.gathering.numbers(horizon)
        return replace(decision, evidence={**decision.evidence, **numbers})

    async def shadow(self, names: Sequence[str]) -> Dates:
        """What `names` said live in the time that is counted, as `shadow_of_pool` has it."""
        readers = self.seats.store.readers
        return await shadow_of_pool(readers, names, self.trial, since=self.begun)


def _uncounted(gathering: Gathering, names: Sequence[str], trial: Trial, at: datetime) -> datetime:
    """Where the first block begins that is not counted yet, of one of `names`."""
    capitals = [gathering.capitals.get(name) for name in names]
    begun = [(one.last + 1) * block_ms(trial.horizon) for one in capitals if one and one.blocks]
    if len(begun) < len(names):
        begun.append(to_ms(at - RECORD))
    return from_ms(min(begun))
