"""What the running system says of itself: its market, its progress, its freshness."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from backend import VERSION
from backend.api import streams
from backend.api.callers import Caller
from backend.clock import SystemClock
from backend.store.payloads import GAPS_STREAM, MODELS_STREAM
from domain.market import Instrument, SeriesKey, Timeframe, rfc3339
from domain.sources import SourceStatus
from domain.troubles import Trouble, each_once

GRACE: Final = timedelta(seconds=30)  # wall time beyond a timeframe before a prediction is stale
SKEW: Final = timedelta(seconds=5)  # wall time that two clocks may differ by


class Market(StrEnum):
    """Where prices come from; shown on every screen."""

    SIMULATED = "simulated"  # the synthetic market
    RECORDED = "recorded"  # recorded candles, played
    LIVE = "live"


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far one piece of the start has come; `total` 0 = not known."""

    name: str
    done: int = 0
    total: int = 0


@dataclass(slots=True, kw_only=True)
class Status:
    """The one mutable object that wiring keeps up to date and the API reads.

    `progress` belongs to whoever loads; `predicted` is called after each publication.
    """

    market: Market
    version: str = VERSION
    speed: float = 1.0  # market seconds per wall second
    instruments: tuple[Instrument, ...] = ()
    timeframes: tuple[Timeframe, ...] = ()
    horizons: tuple[int, ...] = ()  # candles
    feature_sets: tuple[str, ...] = ()  # that candles are made into; the first is learnt from
    retired: frozenset[str] = frozenset()  # of them, those that end at the next start
    progress: dict[str, Progress] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what was left out, said once
    newest: dict[SeriesKey, datetime] = field(default_factory=dict)
    sources: Callable[[], Sequence[SourceStatus]] = list  # how each is doing now
    away: Callable[[], Mapping[str, str]] = dict  # exchange → why nothing comes from it, now
    troubles: list[Callable[[], Sequence[Trouble]]] = field(default_factory=list)  # who tells them
    lacking: Trouble | None = None  # tables that are not there

    def report(self, name: str, done: int, total: int) -> None:
        """Set how far the piece `name` has come."""
        self.progress[name] = Progress(name=name, done=done, total=total)

    def predicted(
        self, timeframe: Timeframe, instruments: Iterable[Instrument], as_of: datetime
    ) -> None:
        """Note that predictions of the close at `as_of` were published."""
        for instrument in instruments:
            key = (instrument, timeframe)
            self.newest[key] = max(as_of, self.newest.get(key, as_of))

    def forget(self, instrument: Instrument) -> None:
        """It is not watched any more."""
        self.instruments = tuple(one for one in self.instruments if one != instrument)
        for timeframe in self.timeframes:
            self.newest.pop((instrument, timeframe), None)

    def trouble(self) -> list[Trouble]:
        """What the system needs and does not have now, each once."""
        told = [one for tell in self.troubles for one in tell()]
        return each_once(told if self.lacking is None else [*told, self.lacking])

    def lacks(self, reason: str) -> None:
        """Note what the database does not have, in one line; empty: nothing."""
        if not reason:
            self.lacking = None
        elif self.lacking is None or self.lacking.reason != reason:
            since = SystemClock().now() if self.lacking is None else self.lacking.since
            self.lacking = Trouble(about="database", since=since, reason=reason)

    def remarks(self) -> list[str]:
        """What there is to say in words now, each line once; it may name any instrument."""
        said = (*self.notes, *self._beside(), *self.away().values(), *map(str, self.trouble()))
        return list(dict.fromkeys(said))

    def _beside(self) -> list[str]:
        """That candles are made into two sets, while they are."""
        first, *others = self.feature_sets or ("",)
        if first in self.retired:
            return [f"{first} ends at the next start: {one} takes its place" for one in others]
        return [f"{one} is made beside {first}, until a model on it has won" for one in others]

    def watched_on(self, exchange: str) -> list[Instrument]:
        """The instruments of one exchange."""
        return [one for one in self.instruments if one.exchange == exchange]

    @property
    def watched(self) -> list[SeriesKey]:
        return [(instrument, each) for instrument in self.instruments for each in self.timeframes]

    @property
    def ready(self) -> bool:
        """Whether every watched instrument has had a published prediction."""
        return bool(self.watched) and all(key in self.newest for key in self.watched)

    def streams(self) -> list[str]:
        """The streams of what is watched, published to or not."""
        return [*streams.names(self.instruments, self.timeframes), GAPS_STREAM, MODELS_STREAM]

    def ages(self, now: datetime) -> dict[SeriesKey, float]:
        """Wall seconds since the close that each watched newest prediction is of.

        `now` is the injected clock's: while it is held for a fit nothing ages.
        """
        return {
            key: (now - self.newest[key]).total_seconds() / self.speed
            for key in self.watched
            if key in self.newest
        }

    def stale(self, now: datetime) -> list[SeriesKey]:
        """What is older than its timeframe (by the speed) and the grace, or ahead of the clock."""
        ahead = self.ahead(now)
        return [
            key
            for key, age in self.ages(now).items()
            if key in ahead
            or age > key[1].duration.total_seconds() / self.speed + GRACE.total_seconds()
        ]

    def ahead(self, now: datetime) -> list[SeriesKey]:
        """What is of a close that the clock is to reach only after a timeframe (by the speed).

        The clock was set back: nothing moves until it has caught up. SKEW at least, where the
        speed makes a timeframe shorter than that.
        """
        return [
            key
            for key, age in self.ages(now).items()
            if age < -max(key[1].duration.total_seconds() / self.speed, SKEW.total_seconds())
        ]

    def loading(self) -> list[dict[str, Any]]:
        """How far each piece of the start has come, as REST answers it."""
        return [
            {"name": each.name, "done": each.done, "total": each.total}
            for each in self.progress.values()
        ]

    def public(self, now: datetime, caller: Caller) -> dict[str, Any]:
        """The status as REST answers it; notes may name any instrument."""
        ages = {key: age for key, age in self.ages(now).items() if caller.sees(key[0])}
        stale = set(self.stale(now))
        return {
            "version": self.version,
            "market": self.market.value,
            "speed": self.speed,
            "now": rfc3339(now),
            "ready": self.ready,
            "fresh": self.ready and not stale,
            "progress": self.loading(),
            "notes": self.remarks() if caller.sees_all else [],
            "troubles": [
                {
                    "about": each.about,
                    "since": rfc3339(each.since),
                    "reason": each.reason,
                    "grave": each.grave,
                }
                for each in self.trouble()
                if caller.sees_all
            ],
            "timeframes": [each.value for each in self.timeframes],
            "horizons": list(self.horizons),
            "feature_sets": list(self.feature_sets),
            "instruments": [
                {"exchange": each.exchange, "symbol": each.symbol}
                for each in self.instruments
                if caller.sees(each)
            ],
            "sources": [
                {
                    "source": each.source,
                    "state": each.state.value,
                    "since": rfc3339(each.since),
                    "reason": each.reason,
                }
                for each in self.sources()
            ],
            "freshness": [
                {
                    "exchange": instrument.exchange,
                    "symbol": instrument.symbol,
                    "timeframe": timeframe.value,
                    "as_of": rfc3339(self.newest[instrument, timeframe]),
                    "age_seconds": round(age, 3),
                    "stale": (instrument, timeframe) in stale,
                }
                for (instrument, timeframe), age in ages.items()
            ],
        }
