"""Closed candles that come one by one become the batch of a tick."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from collectors.versions import rank, same_values
from domain.events import Candle, CandleBatch, Source
from domain.market import Instrument, Timeframe, from_ms

DEADLINE = timedelta(milliseconds=250)
PRESENCE_TICKS = 3  # an instrument is waited for when it was in time in each of so many
REMEMBERED_TICKS = 64  # drawn ticks whose candles can still be recognised as revised


@dataclass(slots=True)
class _Tick:
    first_arrival: datetime
    awaited: set[Instrument]
    candles: dict[Instrument, Candle] = field(default_factory=dict)
    revisions: dict[Instrument, int] = field(default_factory=dict)
    in_time: set[Instrument] = field(default_factory=set)
    live: bool = False  # one candle of its batch at least came from the stream


class CrossSection:
    """Assembles the ticks of one (exchange, timeframe); time is passed in.

    A batch is complete when every expected instrument has closed, or when `deadline` has
    passed since the tick's first candle. Expected are the instruments that were in time in
    each of the last three live ticks (before there are three: all watched). Batches come out
    in the order of their close times. A candle after its tick's batch makes a batch of its
    own with `late=True`; so does a version that outranks an emitted one with other values,
    with the next `revision`, counted since this object began.

    Args:
        exchange: The name on the batches.
        timeframe: Of every candle added.
        instruments: What is watched.
        deadline: On the clock that `arrived` and `now` are read from. None: a tick waits for
            all that is expected, or for `flush`.
    """

    def __init__(
        self,
        *,
        exchange: str,
        timeframe: Timeframe,
        instruments: Iterable[Instrument],
        deadline: timedelta | None = DEADLINE,
    ) -> None:
        self._exchange = exchange
        self._timeframe = timeframe
        self._step = timeframe.ms
        self._deadline = deadline
        self._watched = frozenset(instruments)
        self._expected = self._watched
        self._waiting: dict[int, _Tick] = {}  # by close time
        self._drawn: dict[int, _Tick] = {}
        self._last_drawn = -1

    @property
    def expected(self) -> frozenset[Instrument]:
        """The instruments that a tick waits for."""
        return self._expected

    def watch(self, instruments: Iterable[Instrument]) -> None:
        """From now on these are watched; one that is new is not waited for at once."""
        self._watched = frozenset(instruments)
        self._expect()

    def add(self, candle: Candle, *, arrived: datetime) -> list[CandleBatch]:
        """Take one closed candle; the batches that are now to be published, in order.

        A version that does not outrank one already taken changes nothing, nor does one that
        confirms its values.
        """
        close_ms = candle.open_ms + self._step
        if close_ms <= self._last_drawn:
            tick = self._drawn.setdefault(close_ms, _Tick(arrived, set()))
            news = self._take(tick, candle, arrived)
            self._expect()  # late for the batch may still be in time for the next one's wait
            return [self._late(tick, candle, arrived)] if news else []
        waiting = self._waiting.get(close_ms)
        if waiting is None:
            waiting = self._waiting[close_ms] = _Tick(arrived, set(self._expected))
        self._take(waiting, candle, arrived)
        waiting.live = waiting.live or candle.source is Source.LIVE
        return self.due(arrived)

    def due(self, now: datetime) -> list[CandleBatch]:
        """The batches that are complete or whose deadline has passed, in order."""
        batches = []
        while self._waiting:
            close_ms = min(self._waiting)
            tick = self._waiting[close_ms]
            if tick.awaited and not self._passed(tick, now):
                break
            batches.append(self._draw(close_ms, now))
        return batches

    def next_deadline(self) -> datetime | None:
        """When `due` is to be called next; None while nothing waits."""
        if not self._waiting or self._deadline is None:
            return None
        return self._waiting[min(self._waiting)].first_arrival + self._deadline

    def flush(self, now: datetime) -> list[CandleBatch]:
        """Every waiting tick as it stands, in order."""
        return [self._draw(close_ms, now) for close_ms in sorted(self._waiting)]

    def _take(self, tick: _Tick, candle: Candle, arrived: datetime) -> bool:
        """Whether `candle` tells the tick something new."""
        instrument = candle.instrument
        before = tick.candles.get(instrument)
        if before is not None and rank(candle) <= rank(before):
            return False
        tick.candles[instrument] = candle
        tick.awaited.discard(instrument)
        if arrived == tick.first_arrival or not self._passed(tick, arrived):
            tick.in_time.add(instrument)
        return before is None or not same_values(candle, before)

    def _passed(self, tick: _Tick, now: datetime) -> bool:
        return self._deadline is not None and now >= tick.first_arrival + self._deadline

    def _draw(self, close_ms: int, now: datetime) -> CandleBatch:
        tick = self._waiting.pop(close_ms)
        self._drawn[close_ms] = tick
        self._last_drawn = close_ms
        for forgotten in sorted(self._drawn)[:-REMEMBERED_TICKS]:
            del self._drawn[forgotten]
        self._expect()
        tick.revisions = dict.fromkeys(tick.candles, 1)
        return self._batch(tick, sorted(tick.candles), now)

    def _expect(self) -> None:
        recent = [self._drawn[ms] for ms in sorted(self._drawn) if self._drawn[ms].live]
        recent = recent[-PRESENCE_TICKS:]
        self._expected = self._watched
        if len(recent) == PRESENCE_TICKS:
            always = self._watched.intersection(*(tick.in_time for tick in recent))
            self._expected = always or self._watched
        for tick in self._waiting.values():
            tick.awaited = set(self._expected - tick.candles.keys())

    def _late(self, tick: _Tick, candle: Candle, now: datetime) -> CandleBatch:
        instrument = candle.instrument
        tick.revisions[instrument] = tick.revisions.get(instrument, 0) + 1
        return self._batch(tick, [instrument], now, late=True)

    def _batch(
        self, tick: _Tick, instruments: list[Instrument], now: datetime, *, late: bool = False
    ) -> CandleBatch:
        candles = [tick.candles[instrument] for instrument in instruments]
        values = np.array([(c.open, c.high, c.low, c.close, c.volume) for c in candles])
        open_, high, low, close, volume = np.ascontiguousarray(values.T)
        sources = {candle.source for candle in candles}
        return CandleBatch(
            exchange=self._exchange,
            timeframe=self._timeframe,
            as_of=from_ms(candles[0].close_ms),
            instruments=tuple(instruments),
            open=open_,
            high=high,
            low=low,
            close=close,
            volume=volume,
            known_at=now,
            revision=np.array([tick.revisions[name] for name in instruments], dtype=np.int64),
            source=Source.LIVE if Source.LIVE in sources else max(sources),
            late=late,
            told=tuple(candles),
        )
