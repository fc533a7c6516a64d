"""Candles of a longer timeframe, put together from all of a shorter one's that it spans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from collectors.gaps import floor_ms
from collectors.versions import rank
from domain.errors import UsageError
from domain.events import Candle, Source
from domain.market import Timeframe
from domain.trades import MadeOf


def rolled_up(children: Sequence[Candle], timeframe: Timeframe) -> Candle | None:
    """The candle that `children`, oldest first, make; None where they are not all of it.

    Volumes are added as decimals, as exchanges add them. It is confirmed when all of them are.
    """
    if not children or children[0].open_ms % timeframe.ms:
        return None
    step = children[0].timeframe.ms
    grid = range(children[0].open_ms, children[0].open_ms + timeframe.ms, step)
    if [one.open_ms for one in children] != list(grid):
        return None
    confirmed = all(one.confirmed for one in children)
    trades = [one.trades for one in children if one.trades is not None]
    return Candle(
        instrument=children[0].instrument,
        timeframe=timeframe,
        open_ms=children[0].open_ms,
        open=children[0].open,
        high=max(one.high for one in children),
        low=min(one.low for one in children),
        close=children[-1].close,
        volume=float(sum((Decimal(repr(one.volume)) for one in children), Decimal(0))),
        trades=sum(trades) if len(trades) == len(children) else None,
        confirmed=confirmed,
        event_ms=max(one.event_ms for one in children),
        source=Source.BACKFILL if confirmed else Source.LIVE,
        made_of=MadeOf.CANDLES,
    )


def all_rolled_up(children: Iterable[Candle], timeframe: Timeframe) -> list[Candle]:
    """The candles of one instrument that its `children`, oldest first, make without a gap."""
    groups: dict[int, list[Candle]] = {}
    for one in children:
        groups.setdefault(floor_ms(one.open_ms, timeframe), []).append(one)
    made = (rolled_up(group, timeframe) for group in groups.values())
    return [candle for candle in made if candle is not None]


def child_of(timeframe: Timeframe, known: Iterable[Timeframe]) -> Timeframe:
    """The longest of `known` that `timeframe` is a multiple of.

    Raises:
        UsageError: it is a multiple of none.
    """
    shorter = [one for one in known if one.ms < timeframe.ms and timeframe.ms % one.ms == 0]
    if not shorter:
        raise UsageError(
            f"no shorter candles are watched that {timeframe} could be put together of"
        )
    return max(shorter, key=lambda one: one.ms)


class Rolling:
    """One instrument's candles of a longer timeframe as those of a shorter one close.

    A child is over by the exchange's flag, or where its stream has none once a later one has
    begun. One that is corrected afterwards is not added again: what is rolled up is compared
    with REST.
    """

    def __init__(self, timeframe: Timeframe, *, flagged: bool = False) -> None:
        self._timeframe = timeframe
        self._flagged = flagged
        self._whole: list[Candle] = []  # the children that are over, from the first on
        self._open: Candle | None = None  # the newest that is not over
        self._over_ms = -1  # open time of the newest that is

    def add(self, child: Candle) -> list[Candle]:
        """What is complete with this version of a child."""
        if child.open_ms <= self._over_ms:
            return []
        made = []
        if self._open is not None and child.open_ms > self._open.open_ms:
            made = [] if self._flagged else self._end(self._open)
            self._open = None
        if child.closed:
            self._open = None
            return made + self._end(child)
        if self._open is None or rank(child) >= rank(self._open):
            self._open = child
        return made

    def _end(self, child: Candle) -> list[Candle]:
        self._over_ms = child.open_ms
        if child.open_ms % self._timeframe.ms == 0:
            self._whole = []
        self._whole.append(child)
        if child.close_ms % self._timeframe.ms:
            return []
        made = rolled_up(self._whole, self._timeframe)
        return [] if made is None else [made]
