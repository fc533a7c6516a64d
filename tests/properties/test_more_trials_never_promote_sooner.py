"""Whatever was tried, whoever tries more is promoted with no less proof."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domain.events import Target
from services.scores.blocks import BlockTest
from services.scores.promotion import LOOKS, Gain, Verdict, holm, judge_look

GAINS = st.tuples(st.floats(-0.05, 0.1), st.floats(1e-4, 0.05))
TRIALS = st.integers(1, 200)


def gains(drawn: list[tuple[tuple[float, float], int, int]], *, more: bool) -> list[Gain]:
    return [
        Gain(
            model=f"kind{number}",
            test=BlockTest(mean, error, LOOKS[0]),
            reference_loss=1.0,
            blocks=LOOKS[0],
            trials=trials + (further if more else 0),
        )
        for number, ((mean, error), trials, further) in enumerate(drawn)
    ]


@given(
    st.lists(st.tuples(GAINS, TRIALS, st.integers(0, 200)), min_size=1, max_size=6),
    st.floats(1e-4, 0.2),
    st.integers(1, 4),
)
def test_more_trials_never_promote_sooner(
    drawn: list[tuple[tuple[float, float], int, int]], alpha: float, attempt: int
) -> None:
    fewer, more = gains(drawn, more=False), gains(drawn, more=True)

    assert {one.model for one in holm(more, alpha)} <= {one.model for one in holm(fewer, alpha)}
    if judge_look(more, Target.DIRECTION, 0, attempt).verdict is Verdict.PROMOTE:
        assert judge_look(fewer, Target.DIRECTION, 0, attempt).verdict is Verdict.PROMOTE


@given(st.lists(st.tuples(GAINS, TRIALS, st.just(0)), min_size=1, max_size=6), st.floats(1e-4, 0.2))
def test_the_best_of_a_search_needs_what_the_best_of_so_many_equal_kinds_needs(
    drawn: list[tuple[tuple[float, float], int, int]], alpha: float
) -> None:
    """Holm's first step over n equal kinds is Bonferroni's over n trials."""
    for one in gains(drawn, more=False):
        copies = [
            Gain(model=f"{n}", test=one.test, reference_loss=1.0, blocks=one.blocks)
            for n in range(one.trials)
        ]
        assert bool(holm([one], alpha)) <= bool(holm(copies, alpha))
