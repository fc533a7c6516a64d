"""An event between processes: its record on a broker, and the event again, to the bit.

The value is JSON: numbers are spelt so that the same come out, times to the microsecond. The
headers are those of CloudEvents' binary mode, the version of the value (`schema`) and the trace
of the tick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from operator import index
from typing import Any, Final
from zlib import crc32

import numpy as np
import orjson

from backend.bus.records import ALWAYS, Record, spelled, trace_of
from domain.events import Candle, CandleBatch, Source
from domain.market import Hole, Instrument, Timeframe
from domain.topics import CANDLES, PREFIX, OfPanel, Topic, panel_of
from domain.trades import MadeOf

PARTITIONS: Final = 12  # shared evenly by 1, 2, 3, 4, 6 or 12 readers; never changed
SCHEMA: Final = b"1"
_PRICES: Final = ("open", "high", "low", "close", "volume")
_LOST_IN_JSON: Final = "a candle with a number that is not finite does not leave the process"


class UnreadableRecordError(ValueError):
    """What came from a broker is no event that this release knows."""


def partition_of(key: str) -> int:
    """The same for whoever sends and whoever reads, in every release.

    >>> partition_of("binance|1m")
    5
    """
    return crc32(key.encode()) % PARTITIONS


def record_of(topic: Topic, event: OfPanel, prefix: str = PREFIX) -> Record:
    """What is sent of an event.

    Raises:
        ValueError: it does not cross between processes, or a number of it is not finite.
    """
    if topic is not CANDLES or not isinstance(event, CandleBatch):
        raise ValueError(f"{topic.name}: only candles cross between processes")
    key, value = panel_of(event), _value(event)
    digest = sha256(value).hexdigest()
    trace = trace_of(key, event.as_of)
    headers = [
        *ALWAYS,
        ("ce_id", f"{key}@{digest[:32]}".encode()),
        ("ce_type", topic.wire_name().encode()),
        ("ce_subject", key.encode()),
        ("ce_time", spelled(event.known_at)),
        ("traceparent", b"00-%b-%b-01" % (trace, digest[:16].encode())),
    ]
    return Record(topic.wire_name(prefix), key.encode(), value, headers, partition_of(key))


def event_of(value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> CandleBatch:
    """The event of a record.

    Raises:
        UnreadableRecordError: it holds none, or of a version that is not known here.
    """
    schema = dict(headers).get("schema")
    if schema != SCHEMA:
        told = "none" if schema is None else schema[:16].decode(errors="replace")
        raise UnreadableRecordError(f"its schema is {told}, and 1 is what is known here")
    try:
        return _event(orjson.loads(value or b""))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableRecordError(f"{type(error).__name__}: {error}") from error


def _value(batch: CandleBatch) -> bytes:
    told = [_told(one) for one in batch.told]
    prices = [getattr(batch, name) for name in _PRICES]
    finite = np.isfinite([row[2:7] for row in told]).all() if told else True
    if not (finite and np.isfinite(prices).all()):
        raise ValueError(_LOST_IN_JSON)
    return orjson.dumps(
        {
            "exchange": batch.exchange,
            "timeframe": batch.timeframe.value,
            "as_of": batch.as_of.isoformat(),
            "known_at": batch.known_at.isoformat(),
            "source": batch.source.value,
            "late": batch.late,
            "opening": batch.opening,
            "symbols": [one.symbol for one in batch.instruments],
            **dict(zip(_PRICES, (one.tolist() for one in prices), strict=True)),
            "revision": batch.revision.tolist(),
            "told": told,
            "holes": [[one.symbol, *map(list, some)] for one, some in batch.holes.items()],
        }
    )


def _told(one: Candle) -> tuple[Any, ...]:
    """A version as the exchange told it; the panel says the rest."""
    return (
        *(one.instrument.symbol, one.open_ms, one.open, one.high, one.low, one.close, one.volume),
        *(one.trades, one.closed, one.confirmed, one.event_ms, one.source.value, one.made_of.value),
    )


def _event(value: Mapping[str, Any]) -> CandleBatch:
    exchange, timeframe = value["exchange"], Timeframe(value["timeframe"])
    instruments = tuple(Instrument(exchange, symbol) for symbol in value["symbols"])
    shape = (len(instruments),)
    arrays: dict[str, Any] = {
        name: np.array(value[name], dtype=np.float64).reshape(shape) for name in _PRICES
    }
    return CandleBatch(
        exchange=exchange,
        timeframe=timeframe,
        as_of=datetime.fromisoformat(value["as_of"]),
        instruments=instruments,
        **arrays,
        known_at=datetime.fromisoformat(value["known_at"]),
        revision=np.array([index(one) for one in value["revision"]], np.int64).reshape(shape),
        source=Source(value["source"]),
        late=value["late"] is True,
        opening=index(value["opening"]),
        told=tuple(_candle(exchange, timeframe, row) for row in value["told"]),
        holes={Instrument(exchange, symbol): _holes(some) for symbol, *some in value["holes"]},
    )


def _holes(told: Sequence[Sequence[int]]) -> tuple[Hole, ...]:
    return tuple((index(first), index(end)) for first, end in told)


def _candle(exchange: str, timeframe: Timeframe, row: Sequence[Any]) -> Candle:
    symbol, open_ms, *prices, trades, closed, confirmed, event_ms, source, made_of = row
    opened, high, low, close, volume = map(float, prices)
    return Candle(
        instrument=Instrument(exchange, symbol),
        timeframe=timeframe,
        open_ms=index(open_ms),
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume,
        trades=None if trades is None else index(trades),
        closed=closed is True,
        confirmed=confirmed is True,
        event_ms=index(event_ms),
        source=Source(source),
        made_of=MadeOf(made_of),
    )
