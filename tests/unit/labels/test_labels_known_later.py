"""A candle over REST, or late, changes when labels are known, and nothing else of a labeller."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.events import CandleBatch, Source
from domain.market import Timeframe, to_ms
from services.labels.barriers import WARMUP_RETURNS
from services.labels.labeller import Labeller
from services.labels.state import Pending
from tests.factories import BTC, ETH, candle_batches
from tests.unlike import unlike

HORIZON = 4
WARM = WARMUP_RETURNS + 2  # ticks
TICKS = WARM + 10
CANDLES = candle_batches([BTC, ETH], TICKS, seed=1)
LAST_MS = float(to_ms(CANDLES[-1].as_of))
LATER_MS, SOONER_MS, UNTOLD = 1e13, 1.0, 0.0


def warm() -> bytes:
    found = Labeller("simulated", Timeframe.H1, HORIZON)
    for batch in CANDLES[:WARM]:
        found.on_candles(batch)
    return found.snapshot()


BEGINNING = warm()


def labeller(late: dict[int, int], *, until: int = TICKS) -> Labeller:
    """One that was told some ticks over REST, so many minutes after their close."""
    found = Labeller("simulated", Timeframe.H1, HORIZON)
    found.restore(BEGINNING)
    for number, batch in list(enumerate(CANDLES))[WARM:until]:
        known_at = batch.as_of + timedelta(minutes=late.get(number, 0))
        source = Source.REPAIR if number in late else Source.LIVE
        found.on_candles(replace(batch, known_at=known_at, source=source))
    return found


def without_eth(batch: CandleBatch) -> CandleBatch:
    names = ("open", "high", "low", "close", "volume", "revision")
    arrays = {name: getattr(batch, name)[:1] for name in names}
    return replace(batch, instruments=(BTC,), **arrays)


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


@given(late=st.dictionaries(st.integers(WARM, TICKS - 1), st.integers(1, 300), max_size=6))
def test_moments_alone_are_later(late: dict[int, int]) -> None:
    assert unlike(labeller(late).snapshot(), labeller({}).snapshot()) == []


@given(missed=st.integers(WARM, TICKS - 1), after=st.integers(0, 3))
def test_moments_alone_are_later_once_a_candle_that_was_missed_is_taken_in(
    missed: int, after: int
) -> None:
    found, told_at = labeller({}, until=missed), min(missed + after, TICKS - 1)
    for batch in (without_eth(CANDLES[missed]), *CANDLES[missed + 1 : told_at + 1]):
        found.on_candles(batch)

    heir, _ = found.corrected(labeller({}, until=told_at + 1), to_ms(CANDLES[told_at].as_of) + 5)

    for batch in CANDLES[told_at + 1 :]:
        heir.on_candles(batch)
    assert unlike(heir.snapshot(), labeller({}).snapshot()) == []


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


def test_a_revision_of_what_rests_on_no_late_candle_is_named() -> None:
    found = labeller({})
    found.agree({(BTC, int(LAST_MS)): (2, np.full(3, np.nan))}, int(LAST_MS))

    (named,) = unlike(found.snapshot(), labeller({}).snapshot())
    assert named.endswith("revision is 2, not None")
