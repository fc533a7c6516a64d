"""A challenge: kinds on trial in the shadow of what serves, looked at three times.

The rule of `semantics.md` (Learning policy) as a value: what was fixed when it began and how often
it was looked at. The losses are the caller's to read, so that nothing else must be remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from domain.events import Ints, Target
from domain.market import Horizon, from_ms, rfc3339
from services.scores.blocks import HORIZONS_PER_BLOCK, Dates, block_means, block_ms
from services.scores.promotion import (
    LOOKS,
    NO_SEARCH,
    Decision,
    Number,
    Verdict,
    judge_look,
    measure,
)


def next_attempt(begun: Iterable[int], promoted: Iterable[int]) -> int:
    """The number of the attempt that comes next: 1 after each promotion.

    Args:
        begun: when the attempts so far began, in ms; those that promoted may be left out.
        promoted: when somebody was promoted.

    >>> next_attempt([10, 20, 30], [15]), next_attempt([10, 20], [25])
    (3, 1)
    """
    last = max(promoted, default=0)
    return 1 + sum(moment >= last for moment in set(begun))


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """Challengers of one target, tested together as one attempt.

    Args:
        target: decides the margin.
        horizon: of the predictions; a block is twice as long.
        challengers: names of those on trial; refits of them continue the shadow.
        attempt: since the last promotion, from 1.
        begun_ms: only blocks that begin here or later count.
        looks: taken so far.
    """

    target: Target
    horizon: Horizon
    challengers: tuple[str, ...]
    attempt: int
    begun_ms: int
    looks: int = 0

    @property
    def first_ms(self) -> int:
        """Where its first block begins."""
        size = block_ms(self.horizon)
        return -(-self.begun_ms // size) * size

    @property
    def due_ms(self) -> int:
        """The first close at which the next look's blocks and their labels can be complete."""
        return self._end_ms(LOOKS[self.looks]) + self._horizon_ms

    def missing(self, dates: Dates, at_ms: int) -> int:
        """Blocks that the champion has not lived yet, of those that the next look asks for.

        Args:
            dates: column 0 the champion's live losses, from `first_ms` on.
            at_ms: the close at which is asked.
        """
        return max(LOOKS[self.looks] - len(self._lived(dates, at_ms)), 0)

    def look(
        self,
        dates: Dates,
        at_ms: int,
        failed: Mapping[str, Sequence[str]] | None = None,
        trials: Mapping[str, int] = NO_SEARCH,
    ) -> Decision:
        """The decision of the next look, over the number of blocks that was fixed in advance.

        Its evidence says which closes were looked at, the first and the last, and how many
        candles a block has.

        Args:
            dates: column 0 the champion, then the challengers, from `first_ms` on.
            at_ms: the close at which is looked.
            failed: guardrails that each challenger failed, in words.
            trials: of those that were searched for: each counts as so many kinds.

        Raises:
            ValueError: blocks are missing.
        """
        if missing := self.missing(dates, at_ms):
            raise ValueError(f"no look is due: {missing} blocks are missing")
        last = int(self._lived(dates, at_ms)[LOOKS[self.looks] - 1])
        rows = dates.as_of_ms < (last + 1) * block_ms(self.horizon)
        looked_at = Dates(
            as_of_ms=dates.as_of_ms[rows], losses=dates.losses[rows], counts=dates.counts[rows]
        )
        gains = measure(looked_at, self.horizon, self.challengers, trials)
        decision = judge_look(gains, self.target, self.looks, self.attempt, failed)
        seen: dict[str, Number] = {
            "first_as_of": rfc3339(from_ms(looked_at.as_of_ms.min())),
            "last_as_of": rfc3339(from_ms(looked_at.as_of_ms.max())),
            "block_candles": HORIZONS_PER_BLOCK * self.horizon.steps,
        }
        return replace(decision, evidence={**decision.evidence, **seen})

    def after(self, decision: Decision) -> Challenge | None:
        """It goes on after a look that keeps it; None: it is over."""
        if decision.verdict is not Verdict.KEEP:
            return None
        return replace(self, looks=self.looks + 1)

    def _lived(self, dates: Dates, at_ms: int) -> Ints:
        """Numbers of the champion's blocks whose labels are known."""
        alone = Dates(as_of_ms=dates.as_of_ms, losses=dates.losses[:, :1], counts=dates.counts)
        numbers = block_means(alone, self.horizon).numbers
        size = block_ms(self.horizon)
        known = (numbers + 1) * size + self._horizon_ms <= at_ms
        return numbers[known & (numbers * size >= self.first_ms)]

    def _end_ms(self, blocks: int) -> int:
        return self.first_ms + blocks * block_ms(self.horizon)

    @property
    def _horizon_ms(self) -> int:
        return self.horizon.steps * self.horizon.timeframe.ms
