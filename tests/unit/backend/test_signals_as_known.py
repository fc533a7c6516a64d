"""A signal as it was known at a moment: nothing that the market answered later."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from backend.api.rows import signal_as_known
from tests.doubles import START

HOUR = timedelta(hours=1)
MARKET = ("entry_price", "stop", "take", "exit_price", "realized_return")
ENTERED = dict(zip(MARKET, (100.0, 98.0, 102.0, 102.0, 0.018), strict=True))
NEVER = dict.fromkeys(MARKET)


def signal(status: str, closed_after: timedelta, answers: dict[str, Any]) -> dict[str, Any]:
    moments = {"as_of": START, "closed_at": START + closed_after}
    return {"side": "long", "timeframe": "1h", "status": status, **moments, **answers}


@pytest.mark.parametrize(
    ("row", "after", "status", "known"),
    [
        (signal("take_profit", 3 * HOUR, ENTERED), HOUR / 2, "pending", 0),
        (signal("take_profit", 3 * HOUR, ENTERED), 2 * HOUR, "active", 3),
        (signal("take_profit", 3 * HOUR, ENTERED), 3 * HOUR, "take_profit", 5),
        (signal("withdrawn", HOUR / 2, NEVER), HOUR / 4, "pending", 0),
        (signal("withdrawn", HOUR / 2, NEVER), HOUR * 3 / 4, "withdrawn", 0),
        (signal("expired", 5 * HOUR, NEVER), 2 * HOUR, "pending", 0),
    ],
)
def test_what_came_later_is_not_known(
    row: dict[str, Any], after: timedelta, status: str, known: int
) -> None:
    at = START + after

    told = signal_as_known(row, at)

    assert told["status"] == status
    assert sum(told[name] is not None for name in MARKET) == known
    assert (told["closed_at"] is None) == (row["closed_at"] > at)
