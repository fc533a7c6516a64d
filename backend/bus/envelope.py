"""An event between processes: its record on a broker, and the event again, to the bit.

The value is JSON: numbers are spelt so that the same come out, times to the microsecond. The
headers are those of CloudEvents' binary mode, the version of the value (`schema`) and the trace
of the tick.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from operator import index
from typing import Any, Final
from zlib import crc32

import numpy as np
import orjson

from backend.bus.impossible import fault
from backend.bus.records import ALWAYS, Record, spelled, trace_of
from domain.events import Candle, CandleBatch, Floats, Source
from domain.market import LATEST_MS, Hole, Instrument, Timeframe, to_ms
from domain.topics import CANDLES, PREFIX, OfPanel, Topic, panel_of
from domain.trades import MadeOf

PARTITIONS: Final = 12  # shared evenly by 1, 2, 3, 4, 6 or 12 readers; never changed
SCHEMA: Final = b"1"
_PRICES: Final = ("open", "high", "low", "close", "volume")
_INT32: Final = 2**31 - 1
_INT64: Final = 2**63 - 1
_LAST_MS: Final = LATEST_MS + Timeframe.D1.ms
_LOST_IN_JSON: Final = "a candle with a number that is not finite does not leave the process"


class UnreadableRecordError(ValueError):
    """What came from a broker is no event that this release knows, or one that cannot be."""


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


def event_of(
    value: bytes | None,
    headers: Sequence[tuple[str, bytes]],
    *,
    key: bytes | None,
    latest: datetime,
) -> CandleBatch:
    """The event of a record.

    Args:
        value: what the record holds.
        headers: of the record.
        key: of the record.
        latest: what was sent by now was known by then.

    Raises:
        UnreadableRecordError: it holds none, of a version that is not known here, or one that
            cannot be: `fault`.
    """
    schema = dict(headers).get("schema")
    if schema != SCHEMA:
        told = "none" if schema is None else schema[:16].decode(errors="replace")
        raise UnreadableRecordError(f"its schema is {told}, and 1 is what is known here")
    try:
        event = _event(orjson.loads(value or b""))
        reason = fault(event, key=key, latest=latest)
    except UnreadableRecordError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UnreadableRecordError(f"{type(error).__name__}: {error}") from error
    if reason is not None:
        raise UnreadableRecordError(reason)
    return event


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
    holes = {Instrument(exchange, symbol): _holes(some) for symbol, *some in value["holes"]}
    instruments = tuple(Instrument(exchange, symbol) for symbol in value["symbols"])
    if "\0" in "".join([exchange, *value["symbols"], *(one.symbol for one in holes)]):
        raise UnreadableRecordError("a name holds a byte 0")
    prices = np.array([value[name] for name in _PRICES], dtype=np.float64)
    prices = prices.reshape(len(_PRICES), len(instruments))
    arrays: dict[str, Any] = dict(zip(_PRICES, prices, strict=True))
    revision = _whole("a revision", value["revision"], 1, _INT32)
    as_of = _moment(value["as_of"])
    return CandleBatch(
        exchange=exchange,
        timeframe=timeframe,
        as_of=as_of,
        instruments=instruments,
        **arrays,
        known_at=_moment(value["known_at"]),
        revision=np.array(revision, np.int64).reshape(len(instruments)),
        source=Source(value["source"]),
        late=value["late"] is True,
        opening=_whole("the opening", [value["opening"]], 0, _INT64)[0],
        holes=holes,
        told=_versions(value, instruments, timeframe, as_of, prices) if value["told"] else (),
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise UnreadableRecordError(f"a time without its zone: {text}")
    return moment.astimezone(UTC)


def _whole(what: str, numbers: Iterable[Any], least: int, most: int) -> list[int]:
    found = list(map(index, numbers))
    if found and not least <= min(found) <= max(found) <= most:
        raise UnreadableRecordError(f"{what} is out of range")
    return found


def _holes(told: Sequence[Sequence[int]]) -> tuple[Hole, ...]:
    holes = []
    for span in told:
        first, end = _whole("a hole", span, 0, _LAST_MS)
        if first >= end:
            raise UnreadableRecordError("a hole ends before it begins")
        holes.append((first, end))
    return tuple(holes)


def _versions(
    value: Mapping[str, Any],
    instruments: Sequence[Instrument],
    timeframe: Timeframe,
    as_of: datetime,
    prices: Floats,
) -> tuple[Candle, ...]:
    """The candles of the tick, with what the exchange said of them besides."""
    symbols, opened, *rest = zip(*value["told"], strict=True)
    *told, trades, closed, confirmed, event_ms, source, made_of = rest
    open_ms = to_ms(as_of) - timeframe.ms
    if list(symbols) != value["symbols"] or set(opened) != {open_ms} or set(closed) != {True}:
        raise UnreadableRecordError("its versions are not the closed candles of the tick")
    if list(map(list, told)) != [value[name] for name in _PRICES]:
        raise UnreadableRecordError("its versions have other values than its candles")
    _whole("a number of trades", (one for one in trades if one is not None), 0, _INT64)
    sources = {one: Source(one) for one in set(source)}
    makers = {one: MadeOf(one) for one in set(made_of)}
    return tuple(
        Candle(
            instrument=instrument,
            timeframe=timeframe,
            open_ms=open_ms,
            open=row[0],
            high=row[1],
            low=row[2],
            close=row[3],
            volume=row[4],
            trades=trades,
            confirmed=confirmed is True,
            event_ms=event_ms,
            source=sources[source],
            made_of=makers[made_of],
        )
        for instrument, row, trades, confirmed, event_ms, source, made_of in zip(
            instruments,
            prices.T.tolist(),
            trades,
            confirmed,
            _whole("the time of a version", event_ms, 0, LATEST_MS),
            source,
            made_of,
            strict=True,
        )
    )
