"""What sources told, kept in memory as it became known, and what it says at a close."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from threading import Lock
from typing import Final

import numpy as np

from domain.events import FeatureBatch, Floats, Ints, SentimentBatch
from domain.market import MILLISECOND, Instrument, Timeframe, to_ms
from domain.sources import (
    MARKET,
    Measurement,
    Metric,
    SourceState,
    SourceStatus,
    TextKind,
    source_of,
    tells,
)
from services.sentiment.aggregate import aggregate, market_polarity
from services.sentiment.coded import CodedItems, codes
from services.sentiment.feature_set import LOOK_BACK, MAX_AGE, REMEMBERED, SENTIMENT
from services.sentiment.items import ScoredItems
from services.sentiment.series import Series

Values = dict[str, Floats | float]  # column → one value for all, or one for each

_KNOWN: Final = itemgetter(0)
_LOOK_BACK_MS: Final = LOOK_BACK // MILLISECOND
_REMEMBERED_MS: Final = REMEMBERED // MILLISECOND
_KEPT: Final = REMEMBERED + timedelta(days=1)  # late candles are answered too
_OF_TEXTS: Final = (
    *(f"{kind}_{what}" for kind in TextKind for what in ("score", "count", "age_s")),
    *("market_score", "divergence", "momentum"),
)
_UP: Final = frozenset({SourceState.OK, SourceState.STALE})
_NAMES: Final = {metric: metric.value for metric in Metric} | {
    Metric.OPEN_INTEREST: "open_interest_change"
}


class SentimentFeatures:
    """Facts go in as they become known; the features of a close come out.

    What comes out depends on the facts with `known_ms` ≤ the close alone. So that a close that is
    computed again says the same, a fact enters here with the very `known_ms` under which it is
    stored, and no earlier than that moment.

    Args:
        since: nothing known before is here; of earlier closes this says nothing.
    """

    def __init__(self, *, since: datetime) -> None:
        self.since_ms = to_ms(since)
        self._items = CodedItems.none()
        self._series = {metric: Series() for metric in Metric}
        self._states: list[tuple[int, dict[str, SourceState]]] = []  # by knowledge, each whole
        self._kept_ms: int | None = None
        self._asked: dict[tuple[str, Timeframe], SentimentBatch] = {}  # the newest close
        self._prepared: dict[tuple[str, Timeframe], SentimentBatch] = {}
        self._lock = Lock()  # closes are prepared in a thread

    @property
    def collects(self) -> bool:
        """Whether any source is asked, as of the newest close."""
        if self._asked:
            states = self._states_at(max(to_ms(one.as_of) for one in self._asked.values()))
        else:
            states = self._states[-1][1] if self._states else {}
        return any(state is not SourceState.OFF for state in states.values())

    def on_scored(self, scored: ScoredItems) -> None:
        """Texts that became known."""
        if not len(scored):
            return
        coded = CodedItems.of(scored)
        with self._lock:
            self._items = CodedItems.joined([self._items, coded])
            self._heard(int(scored.known_ms.min()), int(scored.known_ms.max()))

    def on_measurements(self, measurements: Iterable[Measurement]) -> None:
        """Measurements that became known."""
        told = list(measurements)
        if not told:
            return
        with self._lock:
            for metric in {one.metric for one in told}:
                self._series[metric].add(one for one in told if one.metric is metric)
            moments = [one.known_ms for one in told]
            self._heard(min(moments), max(moments))

    def on_statuses(self, statuses: Iterable[SourceStatus], known_at: datetime) -> None:
        """How sources were seen to do; in the order of knowledge. Those not named stay as they are.

        A source counts from the first status on.
        """
        before = self._states[-1][1] if self._states else {}
        now = before | {one.source: one.state for one in statuses}
        if now == before:
            return
        with self._lock:
            self._states.append((to_ms(known_at), now))
            self._heard(to_ms(known_at), to_ms(known_at))

    def settle(self, *, keep: timedelta = _KEPT) -> None:
        """From now on closes follow the facts: what is older than `keep` may be forgotten."""
        self._kept_ms = keep // MILLISECOND

    def beside(self, features: FeatureBatch) -> FeatureBatch:
        """The same rows with what was told of their instruments; fast where it is prepared.

        Nothing has a status, and no value, where nothing is remembered of the close.
        """
        panel = (features.exchange, features.timeframe)
        with self._lock:
            told = self._at(features)
            last = self._asked.get(panel)
            if last is None or last.as_of < told.as_of:
                self._asked[panel] = told
        return replace(features, told=told)

    def again(self, said: SentimentBatch) -> SentimentBatch:
        """The same rows by what is known here."""
        with self._lock:
            return self._computed(said)

    def prepare(self) -> None:
        """Compute the next close of every panel from what is known by now.

        To be called beside the ticks: after one, and after facts came.
        """
        for panel, last in tuple(self._asked.items()):
            step = last.timeframe.duration
            with self._lock:
                if panel not in self._prepared:
                    following = replace(last, as_of=last.as_of + step, known_at=last.as_of + step)
                    self._prepared[panel] = self._computed(following)

    def _at(self, tick: FeatureBatch) -> SentimentBatch:
        panel = (tick.exchange, tick.timeframe)
        ready = self._prepared.get(panel)
        if ready is None or tick.as_of < ready.as_of:
            return self._computed(tick)
        del self._prepared[panel]
        if (ready.as_of, ready.instruments) != (tick.as_of, tick.instruments):
            return self._computed(tick)
        return replace(ready, known_at=tick.known_at)

    def _computed(self, tick: FeatureBatch | SentimentBatch) -> SentimentBatch:
        instruments = tick.instruments
        close = _Close(as_of_ms=to_ms(tick.as_of), states=self._states_at(to_ms(tick.as_of)))
        values = np.full((len(instruments), len(SENTIMENT.columns)), np.nan)
        if close.states:
            assets, places = _assets_of(instruments)
            texts, metrics = self._texts(close, assets), self._metrics(close, instruments)
            for position, column in enumerate(SENTIMENT.columns):
                if column in metrics:
                    values[:, position] = metrics[column]
                else:
                    values[:, position] = np.broadcast_to(texts[column], len(assets))[places]
        return SentimentBatch(
            exchange=tick.exchange,
            timeframe=tick.timeframe,
            as_of=tick.as_of,
            instruments=instruments,
            feature_set=SENTIMENT,
            values=values,
            revision=np.ones(len(instruments), dtype=np.int64),
            known_at=tick.known_at,
            status={source: close.states[source].value for source in sorted(close.states)},
        )

    def _states_at(self, as_of_ms: int) -> Mapping[str, SourceState]:
        position = bisect_right(self._states, as_of_ms, key=_KNOWN)
        if not position or as_of_ms - _REMEMBERED_MS < self.since_ms:
            return {}
        return self._states[position - 1][1]

    def _texts(self, close: _Close, assets: tuple[str, ...]) -> Values:
        known = self._items.known_ms
        young = (known <= close.as_of_ms) & (known > close.as_of_ms - _REMEMBERED_MS)
        items = self._items.take(young)
        values: Values = dict.fromkeys(_OF_TEXTS, np.nan)
        both = None
        for kind in filter(close.hears, TextKind):
            ours = np.isin(items.source, codes(close.telling(kind)))
            said = aggregate(items.take(ours), assets, close.as_of_ms)
            values[f"{kind}_score"] = said.value
            values[f"{kind}_count"] = said.count.astype(np.float64)
            values[f"{kind}_age_s"] = said.age_s
            both = said if ours.all() else both  # mostly all that is heard is of one kind
        if not any(map(close.hears, TextKind)):
            return values
        both = both or aggregate(items, assets, close.as_of_ms)
        before = market_polarity(items, close.as_of_ms - _LOOK_BACK_MS)
        return values | {
            "market_score": both.market,
            "divergence": both.value - both.market,
            "momentum": both.market - before,
        }

    def _metrics(self, close: _Close, instruments: tuple[Instrument, ...]) -> Values:
        values: Values = {}
        for metric, name in _NAMES.items():
            of = (MARKET,) if metric is Metric.FEAR_GREED else instruments
            value, age_s = self._measured(metric, close)
            table = self._series[metric].beside(of)
            values[name], values[f"{metric}_age_s"] = _first_known(table, value, age_s)
        return values

    def _measured(self, metric: Metric, close: _Close) -> tuple[Floats, Floats]:
        """Of each measured instrument its value and the age of it in seconds."""
        series = self._series[metric]
        value, age_ms = _fresh(series, metric, close.as_of_ms)
        if metric is Metric.OPEN_INTEREST:
            before, _ = _fresh(series, metric, close.as_of_ms - _LOOK_BACK_MS)
            with np.errstate(divide="ignore", invalid="ignore"):
                value = np.log(value / before)
        exchanges = [one.exchange for one in series.instruments]
        up = {exchange: close.is_up(source_of(metric, exchange)) for exchange in set(exchanges)}
        counts = np.isfinite(value) & np.array([up[one] for one in exchanges], dtype=bool)
        return np.where(counts, value, np.nan), age_ms / 1000

    def _heard(self, first_ms: int, last_ms: int) -> None:
        """Facts came that were known from `first_ms` to `last_ms`.

        What is forgotten is of no close after them, nor of one of the days before.
        """
        kept = self._prepared.items()
        self._prepared = {panel: one for panel, one in kept if to_ms(one.as_of) < first_ms}
        if self._kept_ms is None or (kept_ms := last_ms - self._kept_ms) <= self.since_ms:
            return
        self.since_ms = kept_ms
        self._items = self._items.take(self._items.known_ms > kept_ms)
        for series in self._series.values():
            series.forget(kept_ms)
        del self._states[: max(0, bisect_right(self._states, kept_ms, key=_KNOWN) - 1)]


@lru_cache(maxsize=64)
def _assets_of(instruments: tuple[Instrument, ...]) -> tuple[tuple[str, ...], Ints]:
    """The assets of instruments, each once, and the place of each one's among them."""
    assets = tuple(dict.fromkeys(one.base for one in instruments))
    where = {asset: place for place, asset in enumerate(assets)}
    return assets, np.array([where[one.base] for one in instruments], dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Close:
    """A close, and how the sources were doing."""

    as_of_ms: int
    states: Mapping[str, SourceState]

    def telling(self, kind: TextKind) -> list[str]:
        return [source for source in self.states if tells(source) is kind]

    def hears(self, kind: TextKind) -> bool:
        """Whether any source of such texts is up."""
        return any(map(self.is_up, self.telling(kind)))

    def is_up(self, source: str) -> bool:
        return self.states.get(source) in _UP


def _fresh(series: Series, metric: Metric, as_of_ms: int) -> tuple[Floats, Floats]:
    """Values and ages (ms), as known then; NaN beyond the greatest age."""
    events, values = series.at(as_of_ms)
    age_ms = (as_of_ms - events).astype(np.float64)
    return np.where(age_ms <= MAX_AGE[metric] // MILLISECOND, values, np.nan), age_ms


def _first_known(table: Ints, value: Floats, age_s: Floats) -> tuple[Floats, Floats]:
    """Of each row of instruments the first that has a value: value and age."""
    if not table.size:
        unknown = np.full(len(table), np.nan)
        return unknown, unknown
    values = np.append(value, np.nan)[table]
    ages = np.append(age_s, np.nan)[table]
    first = np.isfinite(values).argmax(axis=1)
    rows = np.arange(len(table))
    found = values[rows, first]
    return found, np.where(np.isfinite(found), ages[rows, first], np.nan)
