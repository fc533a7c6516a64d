"""A tick that goes by way of a broker is the same tick, and what is none is told apart."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backend.bus.envelope import UnreadableRecordError, event_of, record_of
from backend.store.candles import batch_rows, version_rows
from collectors.checks import reason
from domain.events import Candle, CandleBatch, Source
from domain.market import LATEST_MS, Instrument, Timeframe, from_ms, to_ms
from domain.topics import CANDLES, FEATURES, panel_of
from domain.trades import MadeOf
from services.features.engine import FeatureEngine
from services.features.feature_set import OHLCV
from tests.factories import BTC, ETH, candle, candle_batches

INT64 = st.integers(0, 2**63 - 1)
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
TIMES = st.integers(0, LATEST_MS)
HOLES = st.lists(st.tuples(TIMES, TIMES).filter(lambda one: one[0] < one[1]), max_size=3).map(tuple)
PRICES = st.tuples(*[st.floats(1e-99, 1e99)] * 4).map(sorted)
NEVER = datetime.max.replace(tzinfo=UTC)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
).map(orjson.dumps)
(TICK,) = candle_batches([BTC, ETH], 1)
VALUES = np.stack([TICK.open, TICK.high, TICK.low, TICK.close, TICK.volume], axis=1).tolist()
OPEN_MS = to_ms(TICK.as_of) - TICK.timeframe.ms
TOLD = tuple(
    candle(instrument=one, open_ms=OPEN_MS, open=o, high=h, low=low, close=c, volume=v, trades=3)
    for one, (o, h, low, c, v) in zip(TICK.instruments, VALUES, strict=True)
)
SENT = record_of(CANDLES, replace(TICK, told=TOLD, holes={BTC: ((0, 1),)}))
CHANGED = orjson.loads(SENT.value)
FAR = from_ms(to_ms(TICK.as_of) + 3 * 24 * TICK.timeframe.ms).isoformat()


def decoded(value: bytes | None, headers: Any = SENT.headers, **about: Any) -> CandleBatch:
    return event_of(value, headers, **{"key": SENT.key, "latest": TICK.as_of} | about)


@st.composite
def ticks(draw: st.DrawFn) -> CandleBatch:
    exchange, timeframe = draw(NAMES), draw(st.sampled_from(Timeframe))
    names = sorted(draw(st.sets(NAMES, min_size=1, max_size=4)))
    prices = [draw(PRICES) for _ in names]
    low, opened, close, high = np.array(prices, dtype=np.float64).T
    volume = draw(arrays(np.float64, len(names), elements=st.floats(0.0, 1e99)))
    open_ms = draw(st.integers(0, LATEST_MS // timeframe.ms - 1)) * timeframe.ms
    instruments = tuple(Instrument(exchange, name) for name in names)
    as_of = from_ms(open_ms + timeframe.ms)
    told = tuple(
        Candle(
            instrument=one,
            timeframe=timeframe,
            open_ms=open_ms,
            open=float(opened[at]),
            high=float(high[at]),
            low=float(low[at]),
            close=float(close[at]),
            volume=float(volume[at]),
            trades=draw(st.none() | INT64),
            confirmed=draw(st.booleans()),
            event_ms=draw(TIMES),
            source=draw(st.sampled_from(Source)),
            made_of=draw(st.sampled_from(MadeOf)),
        )
        for at, one in enumerate(instruments)
    )
    return CandleBatch(
        exchange=exchange,
        timeframe=timeframe,
        as_of=as_of,
        instruments=instruments,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume,
        known_at=draw(st.datetimes(as_of.replace(tzinfo=None))).replace(fold=0, tzinfo=UTC),
        revision=draw(arrays(np.int64, len(names), elements=st.integers(1, 2**31 - 1))),
        source=draw(st.sampled_from(Source)),
        late=draw(st.booleans()),
        told=draw(st.sampled_from([told, ()])),
        holes=draw(st.dictionaries(st.builds(Instrument, st.just(exchange), NAMES), HOLES)),
        opening=draw(INT64),
    )


@given(tick=ticks())
def test_a_tick_comes_out_as_it_went_in_to_the_bit(tick: CandleBatch) -> None:
    record = record_of(CANDLES, tick)
    came = decoded(record.value, record.headers, key=record.key, latest=NEVER)

    for field in fields(CandleBatch):
        before, after = getattr(tick, field.name), getattr(came, field.name)
        if isinstance(before, np.ndarray):
            assert (before.dtype, before.tobytes()) == (after.dtype, after.tobytes())
        else:
            assert repr(before) == repr(after)  # of floats it tells −0.0 from 0.0


@given(value=st.binary() | DOCUMENTS)
def test_whatever_else_is_in_a_record_is_refused(value: bytes) -> None:
    with pytest.raises(UnreadableRecordError):
        decoded(value)


WRONG: tuple[object, ...] = (
    *(None, True, 0, 1, -1, 2**31, 10**18, 2**64, 1e300, -0.0, 1.5),
    *(
        "",
        "x",
        "1h",
        "kraken",
        "a\0b",
        FAR,
        "9999-12-31T23:59:59+00:00",
        "0001-01-01T00:00:00+14:00",
    ),
    *("2024-01-01T00:00:00", TICK.as_of.isoformat()[:-6], TICK.as_of.isoformat()[:-6] + "+05:30"),
    *([], {}, [[]], [1, 2], ["1", "2"], [None, None], [BTC.symbol] * 2, [[BTC.symbol, [2, 1]]]),
)


@given(field=st.sampled_from(sorted(CHANGED)), value=st.sampled_from(WRONG))
def test_a_tick_with_a_field_that_cannot_be_is_refused_or_is_a_tick(
    field: str, value: object
) -> None:
    _refused_or_taken_in({**CHANGED, field: value})


@given(
    field=st.sampled_from([name for name, one in CHANGED.items() if isinstance(one, list)]),
    value=st.sampled_from(WRONG),
    data=st.data(),
)
def test_so_is_one_with_a_part_of_a_field_that_cannot_be(
    field: str, value: object, data: st.DataObject
) -> None:
    document = orjson.loads(SENT.value)
    place = document[field]
    if isinstance(place[0], list):
        place = place[0]
    place[data.draw(st.integers(0, len(place) - 1))] = value
    _refused_or_taken_in(document)


def _refused_or_taken_in(document: object) -> None:
    try:
        altered = orjson.dumps(document)
    except TypeError:  # no JSON: a number of more than 64 bits
        return
    try:
        came = decoded(altered)
    except UnreadableRecordError:
        return
    assert panel_of(came) == panel_of(TICK)
    assert (TICK.timeframe.open_of(came.as_of), came.as_of.tzinfo) == (came.as_of, UTC)
    assert came.as_of <= came.known_at <= TICK.as_of
    assert all(reason(one) is None for one in came.told)
    FeatureEngine(OHLCV, came.exchange, came.timeframe).on_candles(came)
    rows = version_rows(came.told, np.arange(len(came.told)), came.known_at)
    batch_rows(came, np.arange(len(came))).encode(), rows.encode()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"as_of": FAR, "known_at": FAR, "told": []}, "far ahead of the clock"),
        ({"as_of": FAR, "told": []}, "before its close"),
        ({"as_of": "9999-12-31T23:59:59+00:00", "told": []}, "before its close"),
        ({"as_of": "2000-01-01T00:00:01+00:00", "told": []}, "off the grid of 1h"),
        ({"known_at": "2000-01-01T00:00:00"}, "a time without its zone: 2000-01-01T00:00:00"),
        ({"close": [None, 1.0], "told": []}, "BTC/USDT: close is not a finite number"),
        ({"low": [1e9, 1e9], "told": []}, "BTC/USDT: low is above open, close or high"),
        ({"high": [1e101, 1e101], "told": []}, "too large or too small to compute with"),
        ({"as_of": FAR, "known_at": FAR}, "its versions are not the closed candles"),
        ({"close": [None, 1.0]}, "its versions have other values"),
        ({"exchange": "kraken"}, "a tick of kraken|1h came under the key simulated|1h"),
        ({"symbols": ["BTC/USDT", "BTC/USDT"], "told": []}, "names an instrument twice"),
        ({"symbols": ["ETH/USDT", "BTC/USDT"], "told": []}, "are not sorted"),
        ({"symbols": ["BTC\0", "ETH/USDT"]}, "a name holds a byte 0"),
        ({"revision": [0, 1]}, "a revision is out of range"),
        ({"told": [[*CHANGED["told"][0][:1], 10**18, *CHANGED["told"][0][2:]]]}, "its versions"),
        ({"holes": [["BTC/USDT", [2, 1]]]}, "ends before it begins"),
    ],
)
def test_a_tick_that_cannot_be_is_refused_by_name(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnreadableRecordError, match=re.escape(reason)):
        decoded(orjson.dumps(CHANGED | change))


def test_a_version_that_is_not_known_is_refused_by_name() -> None:
    headers = [(name, b"2" if name == "schema" else value) for name, value in SENT.headers]

    with pytest.raises(UnreadableRecordError, match="its schema is 2"):
        decoded(SENT.value, headers)
    with pytest.raises(UnreadableRecordError, match="its schema is none"):
        decoded(SENT.value, [])
    with pytest.raises(UnreadableRecordError):
        decoded(None)


def test_a_record_says_what_it_is() -> None:
    headers = {name: value.decode() for name, value in SENT.headers}

    assert SENT.key == panel_of(TICK).encode()
    assert headers["ce_type"] == SENT.topic == "alphapulse.candles.closed.v1"
    assert (headers["ce_source"], headers["ce_specversion"]) == ("alphapulse", "1.0")
    assert (headers["content-type"], headers["schema"]) == ("application/json", "1")
    assert datetime.fromisoformat(headers["ce_time"]) == TICK.known_at
    assert len(headers["traceparent"].split("-")[1]) == 32
    assert record_of(CANDLES, decoded(SENT.value)) == SENT  # also its id, whoever sends it again


def test_what_a_record_cannot_hold_is_not_sent() -> None:
    with pytest.raises(ValueError, match="not finite"):
        record_of(CANDLES, replace(TICK, open=np.array([np.nan, 1.0])))
    with pytest.raises(ValueError, match="not finite"):
        record_of(CANDLES, replace(TICK, told=(candle(close=np.inf),)))
    with pytest.raises(ValueError, match="only candles"):
        record_of(FEATURES, TICK)
