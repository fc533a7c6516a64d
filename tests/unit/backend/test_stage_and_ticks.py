"""The chain runs stages in their order; stored candles become ticks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backend.executor import ProcessExecutor
from backend.store.columns import CandlePanel, CandleSeries
from backend.ticks import ticks
from domain.market import Timeframe, to_ms
from domain.topics import Topic
from services.stage import Chain, Stage
from tests.doubles import START
from tests.factories import BTC, ETH


@dataclass(frozen=True)
class A:
    value: int


@dataclass(frozen=True)
class B:
    value: int


TOPIC_A = Topic("a", A, key="k", owner="k")
TOPIC_B = Topic("b", B, key="k", owner="k")


def test_a_later_stage_reads_what_an_earlier_one_wrote() -> None:
    double = Stage(
        name="double", reads=(TOPIC_A,), writes=(TOPIC_B,), step=lambda a: (B(2 * a.value),)
    )
    count = Stage(name="count", reads=(TOPIC_A, TOPIC_B), writes=(), step=lambda e: (e.value,))
    ticking = iter(range(100))

    made, microseconds = Chain((double, count), lambda: float(next(ticking))).run(A(3), A(4))

    assert made == [B(6), B(8), 3, 4, 6, 8]
    assert microseconds == {"double": 1_000_000, "count": 1_000_000}


def series(instrument: object, opens: list[int]) -> CandleSeries:
    n = len(opens)
    prices = np.arange(1.0, n + 1)
    return CandleSeries(
        instrument=instrument,  # type: ignore[arg-type]
        open_ms=to_ms(START) + np.array(opens) * Timeframe.H1.ms,
        open=prices,
        high=prices,
        low=prices,
        close=prices,
        volume=prices,
        revision=np.ones(n, dtype=np.int64),
    )


def test_a_tick_has_the_instruments_that_have_a_candle_and_a_hole_makes_none() -> None:
    panel = CandlePanel.of([series(BTC, [0, 1, 4]), series(ETH, [1, 4])], Timeframe.H1)

    found = list(ticks(panel, exchange="simulated"))

    assert [batch.instruments for batch in found] == [(BTC,), (BTC, ETH), (BTC, ETH)]
    assert [to_ms(batch.as_of) - to_ms(START) for batch in found] == [
        hours * Timeframe.H1.ms for hours in (1, 2, 5)
    ]
    assert found[1].close.tolist() == [2.0, 1.0]


def test_a_lost_worker_is_replaced() -> None:
    executor = ProcessExecutor()
    try:
        failed = executor.submit(_die)
        assert failed.exception(timeout=60) is not None

        assert executor.submit(abs, -3).result(timeout=60) == 3
    finally:
        executor.close()


def _die() -> None:
    import os  # noqa: PLC0415 - in the worker

    os._exit(1)
