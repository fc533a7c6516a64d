"""Who leaves a seat: a model that broke, one that is worse than its baseline, one sent by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from backend.learning.evidence import beside_baseline
from backend.learning.plan import Review, Withdrawal
from backend.learning.seats import Seats, Sitting
from backend.panel import SeatChange
from backend.store.registry import Decision as DecisionRow
from backend.store.registry import Registry, Seat
from domain.errors import UsageError
from domain.events import Role, Target
from domain.losses import BASELINES
from domain.market import Horizon, from_ms, to_ms
from domain.ports import Model
from services.scores.blocks import block_ms
from services.scores.promotion import Decision, Verdict, judge_rollback

BROKEN: Final = "broken"  # triggers of decisions
LOSSES: Final = "losses"
BY_HAND: Final = "by_hand"
EVERY_BLOCKS: Final = 10  # between two reviews: each look at a record may be wrong by chance
RECORD_BLOCKS: Final = 60  # that a review looks at


@dataclass(slots=True, kw_only=True)
class Rollbacks:
    """Of one panel. A version that left its seat never takes it again; its kind may."""

    seats: Seats

    def due(self, as_of: datetime) -> tuple[Review, ...]:
        """The reviews that fall on a close."""
        return tuple(
            Review(horizon=horizon, as_of=as_of)
            for horizon in self.seats.panel.rooms
            if any(self.seats.members(horizon, target) for target in BASELINES)
            and to_ms(as_of) % (EVERY_BLOCKS * self._block_ms(horizon)) == 0
        )

    async def withdraw(self, one: Withdrawal) -> None:
        """The panel hears a broken model no more; now the registry does not either."""
        broken = one.broken
        gone = self.seats.sitting(one.horizon, broken.name)
        if gone is None or gone.version != int(broken.version):
            return  # a later version waits for the place already
        await self._leave(
            one.horizon, broken.target, broken.name, at=one.as_of, trigger=BROKEN,
            words=f"{broken.name}@{broken.version} rolled back: {broken.words}",
        )  # fmt: skip

    async def by_hand(self, horizon: int, name: str, at: datetime) -> int | None:
        """Take a kind's version from its place; the one before it comes back.

        Returns:
            Its number; None where there is none, and the kind has no place any more.

        Raises:
            UsageError: the kind has no place, or no versions.
        """
        gone, target = self.seats.sitting(horizon, name), name.rpartition(".")[2]
        if gone is None or name in self.seats.learners or target not in BASELINES:
            raise UsageError(f"{name} has no version at horizon {horizon} to roll back")
        words = f"{name}@{gone.version} rolled back by hand"
        return await self._leave(horizon, Target(target), name, at=at, trigger=BY_HAND, words=words)

    async def review(self, review: Review) -> None:
        """Who is proven worse than its baseline goes back on trial: its whole record says so."""
        since = from_ms(to_ms(review.as_of) - RECORD_BLOCKS * self._block_ms(review.horizon))
        for target in BASELINES:
            trial = self.seats.trial(review.horizon, target)
            for name in sorted(self.seats.members(review.horizon, target)):
                dates = await beside_baseline(self.seats.store.readers, name, trial, since=since)
                decision = judge_rollback(dates, trial.horizon, name)
                if decision.verdict is Verdict.ROLLBACK:
                    await self._demote(review, target, name, decision)

    async def _leave(
        self, horizon: int, target: Target, name: str, *, at: datetime, trigger: str, words: str
    ) -> int | None:
        seats, gone = self.seats, self.seats.sitting(horizon, name)
        if gone is None:
            return None
        seat = seats.place(horizon, target, name)
        before: Model | None = None
        if name in seats.learners:
            row = _row(seat, gone, trigger, at, {"words": words})
            await self._store(
                lambda record: record.conclude([row], promoted=None, effective_from=at)
            )
        else:
            before = await seats.withdraw(seat, gone, trigger=trigger, words=words)
        if before is None:
            seats.leave(horizon, name, at)
        else:
            words += f"; version {before.version} takes its place"
            change = SeatChange(model=before, role=gone.role, horizon=horizon, effective_from=at)
            seats.schedule(change)
        seats.tell("rolled_back", seat, str(gone.version), at, words)
        return None if before is None else int(before.version)

    async def _demote(self, review: Review, target: Target, name: str, decision: Decision) -> None:
        seats, horizon, at = self.seats, review.horizon, review.as_of
        seat, gone, model = (
            seats.place(horizon, target, name),
            seats.sitting(horizon, name),
            seats.model(horizon, name),
        )
        if gone is None or model is None:
            return
        evidence = {**decision.evidence, "words": decision.words}
        row = _row(seat, gone, LOSSES, at, evidence)
        if name in seats.learners:
            await self._store(
                lambda record: record.conclude([row], promoted=None, effective_from=at)
            )
        else:
            await self._store(lambda record: record.demote(row))
        seats.schedule(
            SeatChange(model=model, role=Role.CHALLENGER, horizon=horizon, effective_from=at)
        )
        seats.tell("rolled_back", seat, str(gone.version), at, f"{decision.words}; on trial again")

    async def _store(self, work: Callable[[Registry], Awaitable[None]]) -> None:
        await self.seats.store.registry.together(work, self.seats.wall)

    def _block_ms(self, horizon: int) -> int:
        return block_ms(Horizon(self.seats.panel.key.timeframe, horizon))


def _row(
    seat: Seat, gone: Sitting, trigger: str, at: datetime, evidence: Mapping[str, Any]
) -> DecisionRow:
    return DecisionRow(
        seat=seat,
        champion_version=gone.version,
        challenger_version=None,
        verdict=Verdict.ROLLBACK.value,
        trigger=trigger,
        decided_at=at,
        evidence=evidence,
    )
