"""What a report's figures say in words."""

from __future__ import annotations

import pytest

from backend.remarks import of_direction, of_signals

SURE, UNSURE = [0.02, 0.05], [-0.01, 0.05]


@pytest.mark.parametrize(
    ("whole", "side", "expected"),
    [
        (SURE, SURE, "also of the side"),
        (SURE, UNSURE, "none is shown of which one: 0.0300, 95 % interval [-0.0100, 0.0500]"),
        (SURE, None, "none is shown of which one: 0.0300, too few days for an interval"),
        (UNSURE, SURE, "No skill of direction is shown"),
    ],
)
def test_a_remark_says_what_the_skill_of_direction_is_of(
    whole: list[float], side: list[float] | None, expected: str
) -> None:
    (remark,) = of_direction(
        {
            "skill": 0.03,
            "skill_interval95": whole,
            "side": {"skill": 0.03, "skill_interval95": side},
        }
    )

    assert expected in remark


@pytest.mark.parametrize(
    ("closed", "span", "expected"),
    [
        (0, None, "No signal with a side has ended"),
        (26, None, "too few days"),
        (26, [-0.1, 0.5], "net return 0.2140 of 26 signals that ended is no evidence"),
        (26, [0.1, 0.5], "lies above 0"),
        (26, [-0.5, -0.1], "lies below 0"),
    ],
)
def test_a_remark_says_how_far_a_return_is_evidence(
    closed: int, span: list[float] | None, expected: str
) -> None:
    (remark,) = of_signals({"closed": closed, "net_return": 0.214, "net_return_interval95": span})

    assert expected in remark
