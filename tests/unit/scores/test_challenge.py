"""A challenge looks at blocks that were fixed in advance, and the budget counts its attempts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.events import Target
from domain.market import Horizon, Timeframe, from_ms, rfc3339
from services.scores.blocks import Dates
from services.scores.challenge import Challenge, next_attempt
from services.scores.promotion import LOOKS, Verdict, attempt_alpha

HOUR = Timeframe.H1.ms
H2 = Horizon(Timeframe.H1, 2)  # blocks of four hours
BLOCK = 4 * HOUR
BEGUN = Challenge(
    target=Target.DIRECTION, horizon=H2, challengers=("kind",), attempt=1, begun_ms=BLOCK + 1
)


def lived(blocks: int, *gains: float, first_ms: int = BEGUN.first_ms) -> Dates:
    """The champion's loss is 1; the gains alternate by 0.02 between blocks."""
    n = 4 * blocks
    wave = 0.02 * (-1.0) ** (np.arange(n) // 4)
    columns = [np.ones(n), *(1 - gain + wave for gain in gains)]
    return Dates(
        as_of_ms=first_ms + np.arange(n) * HOUR,
        losses=np.column_stack(columns),
        counts=np.ones(n, dtype=np.int64),
    )


def without(dates: Dates, rows: slice) -> Dates:
    keep = np.ones(len(dates.as_of_ms), dtype=np.bool_)
    keep[rows] = False
    return Dates(
        as_of_ms=dates.as_of_ms[keep], losses=dates.losses[keep], counts=dates.counts[keep]
    )


def test_only_whole_blocks_after_its_beginning_count() -> None:
    assert BEGUN.first_ms == 2 * BLOCK
    assert replace(BEGUN, begun_ms=BLOCK).first_ms == BLOCK
    earlier = lived(LOOKS[0] + 5, 0.0, first_ms=0)

    assert BEGUN.missing(earlier, 1_000 * BLOCK) == 0
    assert BEGUN.missing(without(earlier, slice(-16, None)), 1_000 * BLOCK) == 1


def test_a_look_is_due_when_the_labels_of_its_blocks_can_be_known() -> None:
    due = [replace(BEGUN, looks=looks).due_ms for looks in range(3)]

    assert due == [(2 + blocks) * BLOCK + 2 * HOUR for blocks in LOOKS]
    assert BEGUN.missing(lived(LOOKS[0], 0.0), due[0]) == 0
    assert BEGUN.missing(lived(LOOKS[0], 0.0), due[0] - 1) == 1


def test_a_look_waits_for_blocks_that_nobody_lived() -> None:
    away = without(lived(LOOKS[0], 0.05), slice(8, 20))  # three blocks

    assert BEGUN.missing(away, BEGUN.due_ms) == 3
    with pytest.raises(ValueError, match="3 blocks are missing"):
        BEGUN.look(away, BEGUN.due_ms)


@given(extra=st.integers(0, 40), gain=st.sampled_from([-0.2, 0.2]))
def test_what_came_after_its_blocks_does_not_change_a_look(extra: int, gain: float) -> None:
    """However late one looks: the number of blocks was fixed in advance."""
    table = lived(LOOKS[0] + extra, 0.01)
    table.losses[4 * LOOKS[0] :, 1] -= gain
    late = BEGUN.due_ms + extra * BLOCK

    assert BEGUN.look(table, late) == BEGUN.look(lived(LOOKS[0], 0.01), BEGUN.due_ms)


def test_a_look_says_what_it_looked_at() -> None:
    decision = BEGUN.look(lived(LOOKS[0] + 3, 0.0), BEGUN.due_ms + 5 * BLOCK)

    names = ("first_as_of", "last_as_of", "block_candles")
    assert {name: decision.evidence[name] for name in names} == {
        "first_as_of": rfc3339(from_ms(2 * BLOCK)),
        "last_as_of": rfc3339(from_ms((2 + LOOKS[0]) * BLOCK - HOUR)),
        "block_candles": 4,
    }


def test_it_goes_on_until_somebody_is_promoted_or_its_last_look() -> None:
    challenges = [replace(BEGUN, looks=looks) for looks in range(3)]
    decisions = [one.look(lived(LOOKS[one.looks], 0.0), one.due_ms) for one in challenges]
    after = [one.after(decision) for one, decision in zip(challenges, decisions, strict=True)]

    better = BEGUN.look(lived(LOOKS[0], 0.05), BEGUN.due_ms)
    assert [one.verdict for one in decisions] == [Verdict.KEEP, Verdict.KEEP, Verdict.REJECT]
    assert after == [*challenges[1:], None]
    assert (better.verdict, better.models) == (Verdict.PROMOTE, ("kind",))
    assert BEGUN.after(better) is None


def test_a_challenger_that_was_mostly_silent_is_not_promoted() -> None:
    table = lived(LOOKS[0], 0.05)
    table.losses[:16, 1] = np.nan  # four blocks of thirty
    present = lived(LOOKS[0], 0.05)
    present.losses[:12, 1] = np.nan

    assert BEGUN.look(table, BEGUN.due_ms).verdict is Verdict.KEEP
    assert BEGUN.look(present, BEGUN.due_ms).verdict is Verdict.PROMOTE


def test_a_guardrail_keeps_a_better_challenger_from_its_seat() -> None:
    decision = BEGUN.look(lived(LOOKS[0], 0.05), BEGUN.due_ms, {"kind": ["coverage 0.20"]})

    assert decision.verdict is Verdict.KEEP
    assert decision.evidence["kind.failed"] == "coverage 0.20"


def test_a_later_attempt_spends_less() -> None:
    decisions = [
        replace(BEGUN, attempt=attempt).look(lived(LOOKS[0], 0.02), BEGUN.due_ms)
        for attempt in (1, 50)
    ]

    assert [one.evidence["attempt"] for one in decisions] == [1, 50]
    alphas = [one.evidence["alpha"] for one in decisions]
    assert alphas == pytest.approx([attempt_alpha(n) * 0.0005 / 0.05 for n in (1, 50)])
    assert [one.verdict for one in decisions] == [Verdict.PROMOTE, Verdict.KEEP]


@given(
    begun=st.lists(st.integers(1, 100), unique=True),
    promoted=st.lists(st.integers(1, 100)),
)
def test_attempts_are_counted_since_the_last_promotion(
    begun: list[int], promoted: list[int]
) -> None:
    attempt = next_attempt(begun, promoted)

    assert next_attempt([*begun, 101], promoted) == attempt + 1
    assert next_attempt([*begun, *begun], promoted) == attempt
    assert next_attempt(begun, [*promoted, 101]) == 1
