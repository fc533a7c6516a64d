"""The challenges of one panel: begun, looked at when due, and gone on with after a restart.

A challenge is remembered by its decisions alone. Those about the whole of it stand on the seat of
the pool that it is laid against; a kind that it lifts has one on its own seat beside them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from backend.learning.attempts import CHALLENGE, begun_at, next_challenge
from backend.learning.evidence import in_the_shadow
from backend.learning.plan import Look
from backend.learning.seats import Seats
from backend.panel import SeatChange
from backend.store.registry import Decision as DecisionRow
from domain.events import Role, Target
from domain.losses import BASELINES
from domain.market import from_ms, rfc3339, to_ms
from services.scores.blocks import block_ms
from services.scores.challenge import Challenge
from services.scores.gate import pool_name
from services.scores.promotion import Decision, Verdict

log = logging.getLogger(__name__)

BESIDE_THE_BEST = 1.0  # pool weight of a kind that has proven better than the pool

Place = tuple[int, Target]


@dataclass(slots=True, kw_only=True)
class Challenges:
    """At most one for each target and horizon; its champion is the target's pool."""

    seats: Seats
    _open: dict[Place, Challenge] = field(default_factory=dict)
    _wait_ms: dict[Place, int] = field(default_factory=dict)  # for blocks that are missing

    async def restore(self) -> None:
        """Go on with those that the registry has; for a panel that starts."""
        for horizon in self.seats.panel.rooms:
            for target in BASELINES:
                pool = self.seats.place(horizon, target, pool_name(target))
                decisions = await self.seats.store.registry.decisions(pool)
                if decisions and decisions[-1]["verdict"] == Verdict.KEEP:
                    self._open[horizon, target] = self._read(horizon, target, decisions[-1])

    def due(self, as_of: datetime) -> tuple[Look, ...]:
        """The looks that are due at a close, until they have been taken.

        None while models wait for their seats: whom a look lifts is who predicts in the shadow.
        """
        now = to_ms(as_of)
        return tuple(
            Look(horizon=horizon, target=target, as_of=as_of)
            for (horizon, target), challenge in self._open.items()
            if now >= max(challenge.due_ms, self._wait_ms.get((horizon, target), 0))
            and not self.seats.panel.changes(horizon)
        )

    async def begin(
        self, horizon: int, target: Target, *, at: datetime, effective_from: datetime
    ) -> None:
        """Put the kinds on trial into the shadow of a pool with a seated kind in it.

        Nothing begins where a challenge is in the shadow already.
        """
        names = self.seats.on_trial(horizon, target)
        if (horizon, target) in self._open or not names:
            return
        if not self.seats.members(horizon, target):
            return
        pool = self.seats.place(horizon, target, pool_name(target))
        decisions = await self.seats.store.registry.record(pool)
        begun = self._new(horizon, target, names, next_challenge(decisions), effective_from)
        row = self._row(horizon, begun, Verdict.KEEP, at, _beginning(begun))
        await self._store([row], None, effective_from)
        self._open[horizon, target] = begun
        log.info("challenge begins", extra={"model": pool.name, "challengers": names})

    async def look(self, look: Look) -> None:
        """Take the look, or wait for the blocks that it lacks."""
        place, at_ms = (look.horizon, look.target), to_ms(look.as_of)
        challenge = self._still_on_trial(place)
        if not challenge.challengers:
            await self._close(look, challenge)
            return
        dates = await in_the_shadow(
            self.seats.store.readers,
            pool_name(look.target),
            challenge.challengers,
            self.seats.trial(*place),
            since=from_ms(challenge.first_ms),
        )
        if missing := challenge.missing(dates, at_ms):
            self._wait_ms[place] = at_ms + missing * block_ms(challenge.horizon)
            return
        tried = {name: await self._on_trial(place, name) for name in challenge.challengers}
        failed = {name: row["metrics"].get("failed", ()) for name, row in tried.items() if row}
        trials = {name: row["n_trials"] for name, row in tried.items() if row}
        decision = challenge.look(dates, at_ms, failed, trials)
        await self._conclude(look, challenge, decision)

    async def _conclude(self, look: Look, challenge: Challenge, decision: Decision) -> None:
        """Store the look with all that follows from it, then let it follow."""
        place = (look.horizon, look.target)
        effective_from = look.as_of + challenge.horizon.timeframe.duration
        looked = {**decision.evidence, **_fixed(challenge), "words": decision.words}
        rows = [self._row(look.horizon, challenge, decision.verdict, look.as_of, looked)]
        lifted = [self._lifted(look, name, looked) for name in decision.models]
        stored = [row for row in lifted if row.seat.name not in self.seats.learners]
        rows += [row for row in lifted if row.seat.name in self.seats.learners]
        following = challenge.after(decision)
        if following is None:
            following = await self._next(look, decision, effective_from)
            if following is not None:
                begins = _beginning(following)
                rows.append(self._row(look.horizon, following, Verdict.KEEP, look.as_of, begins))
        await self._store(rows, next(iter(stored), None), effective_from)
        self._follow(look, decision, effective_from)
        self._wait_ms.pop(place, None)
        del self._open[place]
        if following is not None:
            self._open[place] = following
        self._tell(look, challenge, decision)

    async def _next(
        self, look: Look, decision: Decision, effective_from: datetime
    ) -> Challenge | None:
        """The attempt after this one, of all who are then on trial."""
        place = (look.horizon, look.target)
        names = [name for name in self.seats.on_trial(*place) if name not in decision.models]
        if not names:
            return None
        attempt = 1
        if decision.verdict is not Verdict.PROMOTE:
            pool = self.seats.place(*place, pool_name(look.target))
            attempt = next_challenge(await self.seats.store.registry.record(pool))
        return self._new(*place, names, attempt, effective_from)

    def _follow(self, look: Look, decision: Decision, effective_from: datetime) -> None:
        for name in decision.models:
            model = self.seats.model(look.horizon, name)
            if model is None:  # it broke while this was looked at, and is withdrawn next
                self.seats.enter(look.horizon, name, Role.MEMBER)
                continue
            self.seats.schedule(
                SeatChange(
                    model=model,
                    role=Role.MEMBER,
                    horizon=look.horizon,
                    effective_from=effective_from,
                    weights={name: BESIDE_THE_BEST},
                )
            )

    def _tell(self, look: Look, challenge: Challenge, decision: Decision) -> None:
        told = {Verdict.PROMOTE: "promoted", Verdict.REJECT: "rejected"}.get(decision.verdict)
        if told is None:
            log.info("challenge goes on", extra={"reason": decision.words})
            return
        for name in decision.models or challenge.challengers:
            version = str(self.seats.version(look.horizon, name))
            seat = self.seats.place(look.horizon, look.target, name)
            self.seats.tell(told, seat, version, look.as_of, decision.words)

    async def _close(self, look: Look, challenge: Challenge) -> None:
        """Those that were tried have their seats by now: there is nothing to look at."""
        words = {**_fixed(challenge), "look": challenge.looks, "words": "nobody is on trial"}
        row = self._row(look.horizon, challenge, Verdict.REJECT, look.as_of, words)
        await self._store([row], None, look.as_of)
        del self._open[look.horizon, look.target]

    async def _store(
        self, rows: Sequence[DecisionRow], promoted: DecisionRow | None, effective_from: datetime
    ) -> None:
        await self.seats.store.registry.together(
            lambda record: record.conclude(rows, promoted=promoted, effective_from=effective_from),
            self.seats.wall,
        )

    def _still_on_trial(self, place: Place) -> Challenge:
        challenge, on_trial = self._open[place], self.seats.on_trial(*place)
        left = tuple(name for name in challenge.challengers if name in on_trial)
        return replace(challenge, challengers=left)

    async def _on_trial(self, place: Place, name: str) -> Mapping[str, Any] | None:
        """What the registry has of the version in the shadow; None of one that learns on."""
        version = self.seats.version(place[0], name)
        return await self.seats.store.registry.show(self.seats.place(*place, name), version)

    def _new(
        self,
        horizon: int,
        target: Target,
        names: Sequence[str],
        attempt: int,
        effective_from: datetime,
    ) -> Challenge:
        return Challenge(
            target=target,
            horizon=self.seats.trial(horizon, target).horizon,
            challengers=tuple(names),
            attempt=attempt,
            begun_ms=to_ms(effective_from),
        )

    def _read(self, horizon: int, target: Target, row: Mapping[str, Any]) -> Challenge:
        fixed = row["evidence"]
        begun = self._new(horizon, target, fixed["challengers"], fixed["attempt"], begun_at(row))
        return replace(begun, looks=fixed["look"])

    def _row(
        self,
        horizon: int,
        challenge: Challenge,
        verdict: Verdict,
        at: datetime,
        evidence: Mapping[str, Any],
    ) -> DecisionRow:
        """A decision about the whole of a challenge."""
        return DecisionRow(
            seat=self.seats.place(horizon, challenge.target, pool_name(challenge.target)),
            champion_version=None,
            challenger_version=None,
            verdict=verdict.value,
            trigger=CHALLENGE,
            decided_at=at,
            evidence=evidence,
        )

    def _lifted(self, look: Look, name: str, evidence: Mapping[str, Any]) -> DecisionRow:
        """The decision that gives a kind its seat."""
        return DecisionRow(
            seat=self.seats.place(look.horizon, look.target, name),
            champion_version=None,
            challenger_version=self.seats.version(look.horizon, name),
            verdict=Verdict.PROMOTE.value,
            trigger=CHALLENGE,
            decided_at=look.as_of,
            evidence=evidence,
        )


def _fixed(challenge: Challenge) -> dict[str, Any]:
    """What was fixed when it began, for the record."""
    return {
        "champion": pool_name(challenge.target),
        "challengers": list(challenge.challengers),
        "attempt": challenge.attempt,
        "begun": rfc3339(from_ms(challenge.begun_ms)),
    }


def _beginning(challenge: Challenge) -> dict[str, Any]:
    names = ", ".join(challenge.challengers)
    words = f"{names} in the shadow of {pool_name(challenge.target)} (attempt {challenge.attempt})"
    return {**_fixed(challenge), "look": 0, "words": words}
