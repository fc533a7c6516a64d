"""A folder of recorded texts and measurements, with the moments at which they count as known.

A recording says when something was so, and not when it could be had. Each kind is given a delay
that a live system would not have needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, StrictStr, ValidationError

from collectors.sources.payloads import Milliseconds, Number, fault
from domain.errors import DataFolderError
from domain.market import MILLISECOND, Instrument
from domain.sources import MARKET, Measurement, Metric, TextItem, source_of

Row = TypeVar("Row", bound=BaseModel)

FEAR_GREED_DELAY: Final = timedelta(hours=6)  # after the day that it is of has begun
NEWS_DELAY: Final = timedelta(minutes=15)  # after publication
FUNDING_DELAY: Final = timedelta(minutes=1)  # after settlement


class _Article(BaseModel):
    timestamp: Milliseconds
    headline: StrictStr | None = None
    title: StrictStr | None = None
    source: StrictStr | None = None
    description: StrictStr | None = None
    text: StrictStr | None = None


class _Index(BaseModel):
    timestamp: Milliseconds
    value: Number


class _Funding(BaseModel):
    timestamp: Milliseconds
    symbol: StrictStr
    funding_rate: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSources:
    """What was recorded, in the order of knowledge."""

    items: tuple[TextItem, ...]
    measurements: tuple[Measurement, ...]

    def spans(self) -> dict[str, tuple[int, int]]:
        """Source → when its first and its last fact were known (ms)."""
        known: dict[str, list[int]] = {}
        for item in self.items:
            known.setdefault(item.source, []).append(item.known_ms)
        for one in self.measurements:
            source = source_of(one.metric, one.instrument.exchange)
            known.setdefault(source, []).append(one.known_ms)
        return {source: (min(times), max(times)) for source, times in sorted(known.items())}


def read_sources(folder: Path) -> RecordedSources:
    """Read `news_*.parquet`, `fear_greed_*.parquet` and `funding_rates_EXCHANGE.parquet`.

    Raises:
        DataFolderError: no such folder, none of these files in it, or one that cannot be read.
    """
    items: dict[tuple[str, str], TextItem] = {}
    measurements: list[Measurement] = []
    for path in sorted(folder.glob("*.parquet")):
        name = path.stem
        if name.startswith("news_"):
            for item in sorted(_news(path), key=lambda item: item.known_ms):
                items.setdefault((item.source, item.item_id), item)
        elif name.startswith("fear_greed_"):
            measurements += _fear_greed(path)
        elif name.startswith("funding_rates_"):
            measurements += _funding(path, name.removeprefix("funding_rates_"))
    if not items and not measurements:
        raise DataFolderError(f"{folder}: no news_*, fear_greed_* or funding_rates_*.parquet in it")
    return RecordedSources(
        items=tuple(sorted(items.values(), key=lambda item: (item.known_ms, item.item_id))),
        measurements=tuple(sorted(measurements, key=lambda one: (one.known_ms, one.instrument))),
    )


def _news(path: Path) -> Iterator[TextItem]:
    """Articles; one told twice counts from its first telling."""
    for row in _rows(path, _Article, "timestamp"):
        title = row.headline or row.title
        if not title:
            continue
        yield TextItem(
            source=(row.source or path.stem).lower(),
            item_id=hashlib.sha256(title.encode()).hexdigest()[:16],
            published_ms=row.timestamp,
            known_ms=row.timestamp + NEWS_DELAY // MILLISECOND,
            title=title,
            body=row.description or row.text or "",
        )


def _fear_greed(path: Path) -> Iterator[Measurement]:
    for row in _rows(path, _Index, "timestamp", "value"):
        yield Measurement(
            instrument=MARKET,
            metric=Metric.FEAR_GREED,
            event_ms=row.timestamp,
            known_ms=row.timestamp + FEAR_GREED_DELAY // MILLISECOND,
            value=row.value,
        )


def _funding(path: Path, exchange: str) -> Iterator[Measurement]:
    for row in _rows(path, _Funding, "timestamp", "symbol", "funding_rate"):
        base, _, quote = row.symbol.partition("-")
        yield Measurement(
            instrument=Instrument(exchange, f"{base}/{quote}:{quote}"),
            metric=Metric.FUNDING_RATE,
            event_ms=row.timestamp,
            known_ms=row.timestamp + FUNDING_DELAY // MILLISECOND,
            value=row.funding_rate,
        )


def _rows(path: Path, schema: type[Row], *needed: str) -> Iterator[Row]:
    """Those that have what is needed."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataFolderError(f"{path}: cannot be read: {error}") from error
    if missing := set(needed) - set(table.schema.names):
        raise DataFolderError(f"{path}: no column {', '.join(sorted(missing))}")
    columns = [name for name in schema.model_fields if name in table.schema.names]
    for number, row in enumerate(table.select(columns).to_pylist(), start=1):
        if any(row[name] is None for name in needed):
            continue
        try:
            yield schema.model_validate(row)
        except ValidationError as error:
            raise DataFolderError(f"{path}: row {number}: {fault(error)}") from error
