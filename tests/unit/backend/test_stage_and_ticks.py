"""The chain runs stages in their order; stored candles become ticks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pytest

from backend.executor import ProcessExecutor
from backend.store.columns import CandlePanel, CandleSeries
from backend.store.instruments import NOT_YET
from backend.ticks import labels_once, ticks
from domain.events import LabelBatch
from domain.market import Instrument, Timeframe, to_ms
from domain.topics import Topic
from services.stage import Chain, Stage
from tests.doubles import START
from tests.factories import BTC, ETH, SOL


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


def test_an_instrument_that_joined_later_comes_after_the_tick_it_was_no_part_of() -> None:
    panel = CandlePanel.of([series(one, [0, 1, 2]) for one in (BTC, ETH, SOL)], Timeframe.H1)
    first_close = START + Timeframe.H1.duration
    joined = {BTC: None, ETH: first_close + Timeframe.H1.duration, SOL: first_close}

    found = list(ticks(panel, exchange="simulated", joined=joined))

    said = [(batch.instruments, batch.late) for batch in found]
    assert said == [
        ((BTC,), False), ((ETH,), True), ((SOL,), True),
        ((BTC, SOL), False), ((ETH,), True),
        ((BTC, ETH, SOL), False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("joined_at", "found"),
    [(START + timedelta(days=1), [(ETH, SOL)]), (NOT_YET, [(ETH,), (SOL,)])],
)
def test_who_joined_at_one_moment_comes_together_and_who_has_not_yet_alone(
    joined_at: datetime, found: list[tuple[Instrument, ...]]
) -> None:
    panel = CandlePanel.of([series(one, [0]) for one in (BTC, ETH, SOL)], Timeframe.H1)

    batches = ticks(panel, exchange="simulated", joined={ETH: joined_at, SOL: joined_at})

    assert [batch.instruments for batch in batches if batch.late] == found


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


def test_labels_of_several_ticks_are_written_once_as_they_were_told_last() -> None:
    touched = labels([BTC, ETH], [1, 1], known=[0, 0])
    ended = labels([ETH, BTC, BTC], [1, 2, 1], known=[5, 6, 5])

    first, between, once = labels_once([A(1), touched, A(2), ended])

    assert (first, between) == (A(1), A(2))
    assert isinstance(once, LabelBatch)
    found = zip(once.instruments, once.as_of_ms.tolist(), once.known_ms.tolist(), strict=True)
    assert set(found) == {(BTC, 1, 5), (ETH, 1, 5), (BTC, 2, 6)}
    assert len(once) == 3
    assert labels_once([A(1)]) == [A(1)]


def labels(instruments: list[Instrument], as_of: list[int], *, known: list[int]) -> LabelBatch:
    n = len(instruments)
    known_ms = np.array(known, dtype=np.int64)
    return LabelBatch(
        exchange="simulated",
        timeframe=Timeframe.H1,
        horizon=4,
        instruments=tuple(instruments),
        as_of_ms=np.array(as_of, dtype=np.int64),
        revision=np.ones(n, dtype=np.int64),
        direction_known_ms=known_ms,
        known_ms=known_ms,
        outcome=np.ones(n),
        weight=np.ones(n),
        log_return=np.zeros(n),
        realized_volatility=np.ones(n),
        uniqueness=np.ones(n),
    )
