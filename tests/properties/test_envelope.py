"""A tick that goes by way of a broker is the same tick, and what is none is told apart."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backend.bus.envelope import UnreadableRecordError, event_of, record_of
from domain.events import Candle, CandleBatch, Source
from domain.market import Instrument, Timeframe
from domain.topics import CANDLES, FEATURES, panel_of
from domain.trades import MadeOf
from tests.factories import BTC, candle, candle_batches

FINITE = st.floats(allow_nan=False, allow_infinity=False)
INT64 = st.integers(-(2**63), 2**63 - 1)
MOMENTS = st.datetimes(timezones=st.just(UTC)).map(lambda one: one.replace(fold=0))
HOLES = st.lists(st.tuples(INT64, INT64), max_size=3).map(tuple)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
).map(orjson.dumps)
(TICK,) = candle_batches([BTC], 1)
SENT = record_of(CANDLES, TICK)


@st.composite
def ticks(draw: st.DrawFn) -> CandleBatch:
    exchange, timeframe = draw(st.text()), draw(st.sampled_from(Timeframe))
    names = draw(st.lists(st.text(), max_size=4))
    shape = (len(names),)
    prices = arrays(np.float64, shape, elements=FINITE)
    instruments = tuple(Instrument(exchange, name) for name in names)
    told = st.builds(
        Candle,
        instrument=st.builds(Instrument, st.just(exchange), st.text()),
        timeframe=st.just(timeframe),
        open_ms=INT64,
        **dict.fromkeys(("open", "high", "low", "close", "volume"), FINITE),
        trades=st.none() | INT64,
        closed=st.booleans(),
        confirmed=st.booleans(),
        event_ms=INT64,
        source=st.sampled_from(Source),
        made_of=st.sampled_from(MadeOf),
    )
    return CandleBatch(
        exchange=exchange,
        timeframe=timeframe,
        as_of=draw(MOMENTS),
        instruments=instruments,
        open=draw(prices),
        high=draw(prices),
        low=draw(prices),
        close=draw(prices),
        volume=draw(prices),
        known_at=draw(MOMENTS),
        revision=draw(arrays(np.int64, shape, elements=INT64)),
        source=draw(st.sampled_from(Source)),
        late=draw(st.booleans()),
        told=tuple(draw(st.lists(told, max_size=3))),
        holes=draw(st.dictionaries(st.builds(Instrument, st.just(exchange), st.text()), HOLES)),
    )


@given(tick=ticks())
def test_a_tick_comes_out_as_it_went_in_to_the_bit(tick: CandleBatch) -> None:
    record = record_of(CANDLES, tick)
    came = event_of(record.value, record.headers)

    for field in fields(CandleBatch):
        before, after = getattr(tick, field.name), getattr(came, field.name)
        if isinstance(before, np.ndarray):
            assert (before.dtype, before.tobytes()) == (after.dtype, after.tobytes())
        else:
            assert repr(before) == repr(after)  # of floats it tells −0.0 from 0.0


@given(value=st.binary() | DOCUMENTS)
def test_whatever_else_is_in_a_record_is_refused(value: bytes) -> None:
    with pytest.raises(UnreadableRecordError):
        event_of(value, SENT.headers)


@given(
    field=st.sampled_from(sorted(orjson.loads(SENT.value))),
    value=st.sampled_from([None, 1, "x", [[]], [1, 2], {}, [None]]),
)
def test_a_tick_with_a_field_that_cannot_be_is_refused_or_is_a_tick(
    field: str, value: object
) -> None:
    altered = orjson.dumps({**orjson.loads(SENT.value), field: value})
    try:
        came = event_of(altered, SENT.headers)
    except UnreadableRecordError:
        return
    assert isinstance(came, CandleBatch)
    assert len(came.open) == len(came.revision) == len(came)


def test_a_version_that_is_not_known_is_refused_by_name() -> None:
    headers = [(name, b"2" if name == "schema" else value) for name, value in SENT.headers]

    with pytest.raises(UnreadableRecordError, match="its schema is 2"):
        event_of(SENT.value, headers)
    with pytest.raises(UnreadableRecordError, match="its schema is none"):
        event_of(SENT.value, [])
    with pytest.raises(UnreadableRecordError):
        event_of(None, SENT.headers)


def test_a_record_says_what_it_is() -> None:
    headers = {name: value.decode() for name, value in SENT.headers}

    assert SENT.key == panel_of(TICK).encode()
    assert headers["ce_type"] == SENT.topic == "alphapulse.candles.closed.v1"
    assert (headers["ce_source"], headers["ce_specversion"]) == ("alphapulse", "1.0")
    assert (headers["content-type"], headers["schema"]) == ("application/json", "1")
    assert datetime.fromisoformat(headers["ce_time"]) == TICK.known_at
    assert len(headers["traceparent"].split("-")[1]) == 32
    assert record_of(CANDLES, TICK) == SENT  # also its id, whoever sends it again


def test_what_a_record_cannot_hold_is_not_sent() -> None:
    with pytest.raises(ValueError, match="not finite"):
        record_of(CANDLES, replace(TICK, open=np.array([np.nan])))
    with pytest.raises(ValueError, match="not finite"):
        record_of(CANDLES, replace(TICK, told=(candle(close=np.inf),)))
    with pytest.raises(ValueError, match="only candles"):
        record_of(FEATURES, TICK)
