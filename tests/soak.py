"""What a soak keeps account of: every row and hole that a collector told, and what may not grow."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from collectors import ledger
from collectors.backfill import Rejected
from collectors.gaps import Gap, GapState, Range
from collectors.ledger import EntryState, Missing
from collectors.versions import prices
from domain.events import Candle
from domain.market import Instrument, Timeframe, to_ms

M1 = Timeframe.M1
Values = tuple[float, ...]


class Account:
    """The newest version of each candle and the gap ledger, as a store has them.

    Args:
        names: Whose candles of a minute.
        start_ms: The first open time that counts.
        minutes: How many there is room for; it is taken at once, so that nothing grows later.
    """

    def __init__(self, names: Sequence[Instrument], start_ms: int, minutes: int) -> None:
        self._places = {name: place for place, name in enumerate(names)}
        self._start_ms = start_ms
        self._values = np.full((len(names), minutes, 5), np.nan)
        self.ledgers: dict[Instrument, Missing] = dict.fromkeys(names, ())
        self.counts: Counter[str] = Counter()
        self.wrongs: list[str] = []  # what must never be told

    async def take(self, event: Candle | Gap | Rejected) -> None:
        """The `out` of a collector."""
        if isinstance(event, Candle):
            self._candle(event)
        elif isinstance(event, Gap):
            self._gap(event)
        else:
            self.counts["rejected"] += 1

    async def open_times(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> list[int]:
        return [ms for ms in self.rows(instrument) if to_ms(since) <= ms < to_ms(until)]

    async def newest(
        self, instrument: Instrument, timeframe: Timeframe, *, count: int
    ) -> list[Candle]:
        rows = self.rows(instrument)
        return [
            Candle(
                instrument=instrument,
                timeframe=timeframe,
                open_ms=ms,
                open=rows[ms][0],
                high=rows[ms][1],
                low=rows[ms][2],
                close=rows[ms][3],
                volume=rows[ms][4],
            )
            for ms in sorted(rows)[-count:]
        ]

    def rows(self, name: Instrument) -> dict[int, Values]:
        """Open times and values."""
        table = self._values[self._places[name]]
        there = np.flatnonzero(~np.isnan(table[:, 0]))
        return {self._start_ms + at * M1.ms: tuple(table[at].tolist()) for at in map(int, there)}

    def missing(self, name: Instrument) -> list[tuple[int, EntryState]]:
        """Open times that the ledger lists."""
        return [
            (ms, entry.state)
            for entry in self.ledgers[name]
            for ms in range(entry.span.from_ms, entry.span.to_ms, M1.ms)
        ]

    def _candle(self, candle: Candle) -> None:
        at, off = divmod(candle.open_ms - self._start_ms, M1.ms)
        if off or at < 0:
            self.wrongs.append(f"off the grid: {candle}")
            return
        row = self._values[self._places[candle.instrument], at]
        values = values_of(candle)
        if tuple(row.tolist()) == values:
            self.wrongs.append(f"told twice: {candle}")
        self.counts["revised" if not np.isnan(row[0]) else candle.source.value] += 1
        row[:] = values
        span = Range(candle.open_ms, candle.close_ms)
        listed = self.ledgers[candle.instrument]
        if any(ledger.overlap(entry.span, span) for entry in listed):
            self.ledgers[candle.instrument], _ = ledger.filled(listed, [span], candle.close_ms)

    def _gap(self, gap: Gap) -> None:
        span, entries = Range(gap.from_ms, gap.to_ms), self.ledgers[gap.instrument]
        self.counts[f"gaps {gap.state}"] += 1
        match gap.state:
            case GapState.FOUND:
                entries = ledger.found(entries, [span], gap.cause, gap.from_ms)
            case GapState.ASKED:
                entries = ledger.attempted(entries, span)
            case GapState.ABSENT:
                entries = ledger.given_up(entries, span)
            case GapState.FILLED:
                there = self.rows(gap.instrument).keys()
                if not set(range(gap.from_ms, gap.to_ms, M1.ms)) <= there:
                    self.wrongs.append(f"not filled: {gap}")
        self.ledgers[gap.instrument] = entries


def values_of(candle: Candle) -> Values:
    return (*prices(candle), candle.volume)


def complaints(
    account: Account, name: Instrument, history: Iterable[Candle], *, since_ms: int, until_ms: int
) -> list[str]:
    """Where the account of `name` differs from the exchange's `history` of the same time."""
    rows = {ms: row for ms, row in account.rows(name).items() if since_ms <= ms < until_ms}
    right = {one.open_ms: values_of(one) for one in history}
    lacking = set(range(since_ms, until_ms, M1.ms)) - right.keys()
    given_up = {ms for ms, state in account.missing(name) if state is EntryState.UNFILLABLE}
    listed = {ms for ms, _ in account.missing(name) if since_ms <= ms < until_ms}
    found = {
        "missing": right.keys() - rows.keys(),
        "made up": rows.keys() - right.keys(),
        "wrong": {ms for ms in rows.keys() & right.keys() if rows[ms] != right[ms]},
        "listed, and the exchange has it": listed - lacking,
        "not listed, and the exchange lacks it": lacking - given_up,
    }
    return [
        f"{name.symbol} {what} at minutes {[(ms - since_ms) // M1.ms for ms in sorted(those)]}"
        for what, those in found.items()
        if those
    ]


@contextmanager
def unheard() -> Iterator[None]:
    """What collectors log goes nowhere meanwhile: pytest keeps each record until the test ends.

    That is 21 blocks of memory for a warning, which a leak would be hard to tell from.
    """
    logger = logging.getLogger("collectors")
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a leak makes grow."""

    tasks: int
    futures: int  # that are not done, those of tasks included
    blocks: int  # of memory that python has given out
    resident_kb: int = field(compare=False)

    @classmethod
    def now(cls) -> Footprint:
        gc.collect()
        futures = [one for one in gc.get_objects() if isinstance(one, asyncio.Future)]
        return cls(
            tasks=len(asyncio.all_tasks()),
            futures=sum(not one.done() for one in futures),
            blocks=sys.getallocatedblocks(),
            resident_kb=_resident_kb(),
        )


def _resident_kb() -> int:
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)
