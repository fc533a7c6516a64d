"""Feature rows are derived again from the candles that were there when they were made.

The newest revision of every row follows from the candles that count now (decision 13), an earlier
one from a past state of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg
import numpy as np

from backend.past_candles import NEVER_MS, NOW, Candle, Cell, Past
from backend.store import served_rows
from backend.store.columns import CandlePanel
from backend.store.served_rows import Members, ServedRow
from backend.ticks import ticks
from domain.events import CandleBatch, Floats, Source
from domain.market import Instrument, from_ms, to_ms
from services.features.engine import OutOfOrderError
from services.features.extended import begin
from services.features.kinds import CandleSet

PIECE: Final = 5_000  # closes that are read at once
ABSENT: Final = (np.nan,) * 5
PRICES: Final = ("open", "high", "low", "close", "volume")


class Derived(NamedTuple):
    """A row made again; values (columns,)."""

    values: Floats
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rederivation:
    """Derives rows of one panel again.

    Args:
        connection: sees one state of the record.
        members: of the panel.
        beginning: the close of the oldest row.
        of: the set that they are of.
        past: how its candles were corrected.
    """

    connection: asyncpg.Connection
    members: Members
    beginning: datetime
    past: Past
    of: CandleSet

    def judges(self, row: ServedRow) -> bool:
        """Whether the record tells of which candles a row was made."""
        return row.superseded_at is None or self.past.tells(
            to_ms(row.as_of), to_ms(row.superseded_at)
        )

    def states(self, row: ServedRow) -> list[int]:
        """The moments whose candles a row may be made of."""
        if row.superseded_at is None:
            return [NOW]
        moments = map(to_ms, (row.as_of, row.known_at, row.superseded_at))
        return self.past.between(*moments)

    async def derive(self, wanted: Mapping[int, Sequence[ServedRow]]) -> dict[int, list[Derived]]:
        """Each of `wanted` again, from the candles of the moment that it is asked of.

        Returns:
            Of each moment the rows in their order; NaN where there is no candle.
        """
        length = self.members.timeframe.duration
        walks = {
            state: _Walk(self.of, self.members, self.past.candles(state), rows)
            for state, rows in wanted.items()
        }
        last = max(row.as_of for rows in wanted.values() for row in rows)
        at = self.beginning - length
        while at < last:
            until = min(at + PIECE * length, last)
            panel = await served_rows.candles(self.connection, self.members, since=at, until=until)
            for walk in walks.values():
                await asyncio.to_thread(walk.take, panel)
            at = until
        return {state: walk.end() for state, walk in walks.items()}


class _Walk:
    """One state of the candles goes through an engine.

    Args:
        of: the set that is made.
        members: of the panel.
        cells: what is not as it is now.
        wanted: the rows that are kept.
    """

    def __init__(
        self,
        of: CandleSet,
        members: Members,
        cells: Mapping[Cell, Candle],
        wanted: Sequence[ServedRow],
    ) -> None:
        self._members, self._cells, self._wanted = members, cells, wanted
        self._engine = begin(of, members.exchange, members.timeframe)
        self._needed = {(row.as_of, row.instrument) for row in wanted}
        self._closes = {row.as_of for row in wanted}
        self._found: dict[tuple[datetime, Instrument], Derived] = {}
        late = [(one.since_ms, cell) for cell, one in cells.items() if one.late]
        self._late = sorted(late, key=lambda one: one[1])  # not taken yet, oldest close first

    def take(self, panel: CandlePanel) -> None:
        """The candles of some closes, after those before them."""
        candles = self._as_then(panel)
        joined, exchange = self._members.joined, self._members.exchange
        for batch in ticks(candles, exchange=exchange, joined=joined):
            self._catch_up(to_ms(batch.as_of), batch.instruments)
            self._on_candles(batch)

    def end(self) -> list[Derived]:
        """The rows that are wanted, in their order."""
        self._catch_up(NEVER_MS, ())
        unknown = Derived(np.full(len(self._engine.feature_set.columns), np.nan), np.nan)
        return [self._found.get((row.as_of, row.instrument), unknown) for row in self._wanted]

    def _as_then(self, panel: CandlePanel) -> CandlePanel:
        """Without candles that were late, or came later still."""
        if not self._cells:
            return panel
        prices = {name: getattr(panel, name).copy() for name in PRICES}
        for (as_of_ms, place), candle in self._cells.items():
            row = (as_of_ms - int(panel.open_ms[0])) // panel.timeframe.ms - 1
            if 0 <= row < len(panel.open_ms):
                then = ABSENT if candle.late or candle.prices is None else candle.prices
                for name, price in zip(PRICES, then, strict=True):
                    prices[name][row, place] = price
        return replace(panel, **prices)

    def _catch_up(self, as_of_ms: int, instruments: Sequence[Instrument]) -> None:
        """Take the late candles that came before a tick, or before its candle of the same one."""
        waiting = []
        for since_ms, (close_ms, place) in self._late:
            one = self._members.instruments[place]
            if close_ms < as_of_ms and (since_ms <= as_of_ms or one in instruments):
                with suppress(OutOfOrderError):  # nor does a panel answer it after a newer one
                    self._on_candles(self._late_batch(close_ms, place))
            else:
                waiting.append((since_ms, (close_ms, place)))
        self._late = waiting

    def _late_batch(self, close_ms: int, place: int) -> CandleBatch:
        prices = np.array(self._cells[close_ms, place].prices).reshape(5, 1)
        opened, high, low, close, volume = prices
        return CandleBatch(
            exchange=self._members.exchange,
            timeframe=self._members.timeframe,
            as_of=from_ms(close_ms),
            instruments=(self._members.instruments[place],),
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=volume,
            known_at=from_ms(close_ms),
            revision=np.ones(1, dtype=np.int64),
            source=Source.BACKFILL,
            late=True,
        )

    def _on_candles(self, batch: CandleBatch) -> None:
        made = self._engine.on_candles(batch)
        if made.as_of in self._closes:
            for place, one in enumerate(made.instruments):
                if (made.as_of, one) in self._needed:
                    row = Derived(made.values[place].copy(), float(made.coverage[place]))
                    self._found[made.as_of, one] = row
