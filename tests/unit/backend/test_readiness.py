"""A start waits for all exchanges for a while, and for the first as long as its history comes."""

from __future__ import annotations

import pytest

from backend.api.status import Market, Status
from backend.readiness import WITHIN, NotReadyError, Start
from domain.market import Instrument, Timeframe
from tests.doubles import START
from tests.factories import BTC, ETH

M1 = Timeframe.M1
OTHER = Instrument("other", "BTC/USDT")
END = WITHIN.total_seconds()


def status(*instruments: Instrument) -> Status:
    return Status(market=Market.LIVE, instruments=instruments, timeframes=(M1,))


def test_a_start_is_over_when_all_is_predicted() -> None:
    watched = status(BTC, ETH)
    start = Start(watched, now=0.0)
    assert start.late(1.0) is None

    watched.predicted(M1, [BTC, ETH], START)

    assert start.late(2.0) == set()


def test_an_exchange_that_is_not_predicted_in_time_is_late_where_another_is() -> None:
    watched = status(BTC, OTHER)
    start = Start(watched, now=0.0)
    watched.predicted(M1, [BTC], START)

    assert start.late(END - 1) is None
    assert start.late(END) == {"other"}


def test_a_start_fails_where_nothing_is_predicted_and_nothing_comes() -> None:
    watched = status(BTC, ETH, OTHER)
    start = Start(watched, now=0.0)
    watched.predicted(M1, [BTC], START)  # of its exchange not all
    for now in range(0, 600, 10):
        watched.report("history simulated", now, 10_000)
        assert start.late(now) is None

    assert start.late(590 + END - 1) is None
    with pytest.raises(NotReadyError, match="within 180 s of simulated:ETH/USDT, other:BTC/USDT"):
        start.late(590 + END)
