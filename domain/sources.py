"""What sources tell beside candles: texts, measurements, and how each source is doing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import nan
from typing import Final

from domain.market import Instrument

MARKET: Final = Instrument("market", "crypto")  # what is measured of no instrument alone


class TextKind(StrEnum):
    """Who wrote it."""

    NEWS = "news"
    SOCIAL = "social"


class Dating(StrEnum):
    """Where a time of publication comes from."""

    TOLD = "told"  # by the source
    CLAMPED = "clamped"  # the source told a time to come; it is `known_ms` instead
    MISSING = "missing"  # the source told none that can be; as above


@dataclass(frozen=True, slots=True, kw_only=True)
class TextItem:
    """An article or a post."""

    source: str
    item_id: str
    published_ms: int  # by the source's clock, which nobody vouches for; never after `known_ms`
    known_ms: int  # when it was fetched, by ours; nothing may use it before
    title: str
    body: str = ""
    url: str = ""
    kind: TextKind = TextKind.NEWS
    dating: Dating = Dating.TOLD
    engagement: float = nan  # votes, comments, shares; NaN where the source tells none


class Metric(StrEnum):
    """What is measured."""

    FEAR_GREED = "fear_greed"  # 0 … 100, of the market
    FUNDING_RATE = "funding_rate"  # per funding interval, of the notional; longs pay where positive
    OPEN_INTEREST = "open_interest"  # base currency
    LONG_SHORT_RATIO = "long_short_ratio"  # accounts that are long / accounts that are short
    LARGE_TRADE_IMBALANCE = "large_trade_imbalance"  # of an hour: −1 (sold) … 1 (bought)


SOCIAL_SOURCES: Final = frozenset({"reddit"})


def tells(source: str) -> Metric | TextKind:
    """What a source tells, by its name.

    >>> [tells(name).value for name in ("bybit.funding_rate", "fear_greed", "reddit", "coindesk")]
    ['funding_rate', 'fear_greed', 'social', 'news']
    """
    metric = source.rpartition(".")[2]
    if metric in set(Metric):
        return Metric(metric)
    return TextKind.SOCIAL if source in SOCIAL_SOURCES else TextKind.NEWS


def source_of(metric: Metric, exchange: str) -> str:
    """The source that tells `metric` of the instruments of an exchange.

    >>> source_of(Metric.FUNDING_RATE, "bybit")
    'bybit.funding_rate'
    """
    return metric.value if metric is Metric.FEAR_GREED else f"{exchange}.{metric}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One number of the market or of one instrument."""

    instrument: Instrument
    metric: Metric
    event_ms: int  # when it was so, by the source's clock; never after `known_ms`
    known_ms: int  # when it was fetched, by ours; nothing may use it before
    value: float  # finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What a source sent that cannot be read: a whole answer, or one row of it."""

    source: str
    reason: str
    raw: bytes  # its beginning, without secrets
    size: int  # bytes that it had


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one poll brought; nothing at all means that nothing changed."""

    items: tuple[TextItem, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    refused: tuple[Refused, ...] = ()


UNASKED: Final = "no answer yet"  # reason of one that is down because it was not asked before


class SourceState(StrEnum):
    """How a source is doing."""

    OK = "ok"
    STALE = "stale"  # it answers, and has told nothing new for too long
    DOWN = "down"
    OFF = "off"  # it is not asked


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """The state of one source, since when, and why it is not ok."""

    source: str
    state: SourceState
    since: datetime
    reason: str = ""
