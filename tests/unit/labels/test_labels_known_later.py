"""A candle over REST changes when labels are known, and nothing else of what a labeller is."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.events import Source
from domain.market import Timeframe, to_ms
from services.labels.barriers import WARMUP_RETURNS
from services.labels.labeller import Labeller
from services.labels.state import Pending
from tests.factories import BTC, ETH, candle_batches
from tests.unlike import unlike

HORIZON = 4
TICKS = WARMUP_RETURNS + 12
CANDLES = candle_batches([BTC, ETH], TICKS, seed=1)
LATE = st.dictionaries(st.integers(TICKS - 10, TICKS - 1), st.integers(1, 300), max_size=6)
LATER_MS, SOONER_MS, UNTOLD = 1e13, 1.0, 0.0
LAST_MS = float(to_ms(CANDLES[-1].as_of))


def labeller(late: dict[int, int]) -> Labeller:
    """One that was told some ticks over REST, so many minutes after their close."""
    found = Labeller("simulated", Timeframe.H1, HORIZON)
    for number, batch in enumerate(CANDLES):
        known_at = batch.as_of + timedelta(minutes=late.get(number, 0))
        source = Source.REPAIR if number in late else Source.LIVE
        found.on_candles(replace(batch, known_at=known_at, source=source))
    return found


def altered(field: Pending, value: float, *, touched: bool = True) -> bytes:
    """Its snapshot, with something else in a field of its newest label that is touched, or not."""
    with np.load(io.BytesIO(labeller({TICKS - 1: 300}).snapshot())) as file:
        arrays = dict(file)
    cells = arrays["cells"]
    chosen = (cells[Pending.TOUCHED_MS] > 0) == touched
    newest = np.where(chosen, cells[Pending.AS_OF_MS], 0.0)
    position, column = np.unravel_index(newest.argmax(), newest.shape)
    cells[field, position, column] = value
    written = io.BytesIO()
    np.savez(written, **arrays)
    return written.getvalue()


@given(late=LATE)
def test_moments_alone_are_later(late: dict[int, int]) -> None:
    assert unlike(labeller(late).snapshot(), labeller({}).snapshot()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, LATER_MS) for field in Pending if field is not Pending.FILLED_MS),
        (Pending.TOUCHED_MS, SOONER_MS),
        (Pending.TOUCHED_MS, UNTOLD),
    ],
)
def test_a_value_that_differs_is_named(field: Pending, value: float) -> None:
    named = unlike(altered(field, value), labeller({}).snapshot())

    assert named
    assert all(field.name in one or field is Pending.AS_OF_MS for one in named)


def test_a_touch_that_was_not_there_is_named() -> None:
    (named,) = unlike(altered(Pending.TOUCHED_MS, LAST_MS, touched=False), labeller({}).snapshot())

    assert named.endswith(f"TOUCHED_MS is {LAST_MS}, not 0.0")


def test_nothing_is_known_sooner() -> None:
    assert unlike(labeller({}).snapshot(), labeller({TICKS - 1: 1}).snapshot())
