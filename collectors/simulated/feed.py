"""The socket's side of the exchange: forming and closed candles sent when their time comes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from collectors.simulated.book import Book, Key
from collectors.simulated.dialect import kline_event, trade_event
from collectors.simulated.faults import FaultKind
from collectors.simulated.schedule import Moment, Schedule
from collectors.simulated.sent import Sent
from collectors.simulated.subscribers import Subscribers
from domain.market import Timeframe

_UNTOLD = {FaultKind.DROP, FaultKind.STALL, FaultKind.HOLE}  # no closed frame at all


class Feed:
    """Sends each candle's frames to its subscribers, with the faults that were commanded.

    Args:
        book: Where candles come from; it learns of holes and wrong versions.
        subscribers: Who is told.
        sent: Where it is written down.
        updates: Forming frames per candle; late ones are left out, closed ones never.
    """

    def __init__(self, book: Book, subscribers: Subscribers, sent: Sent, *, updates: int) -> None:
        self._book = book
        self._subscribers = subscribers
        self._sent = sent
        self._schedule = Schedule(book.tape.timeframes, book.clock.now_ms(), updates)
        book.unpublished_ms = self._schedule.next.at_ms
        self._streams = {
            timeframe: [f"{one.lower()}@kline_{timeframe}" for one in book.ids]
            for timeframe in book.tape.timeframes
        }
        self._prepared: dict[Moment, list[bytes]] = {}
        self._late: dict[tuple[Timeframe, int], list[tuple[Key, bytes]]] = {}
        self._lagging: dict[tuple[Timeframe, int], Key] = {}
        self._trades = _Trades(book, subscribers, sent)
        self._end: Callable[[], None] | None = None  # of all connections, once a moment is told

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            at_ms = self._schedule.next.at_ms
            await self._book.clock.sleep_until(at_ms)
            self._publish_due(at_ms)
            await asyncio.sleep(0)  # REST and sockets get their turn at any speed

    def _publish_due(self, at_ms: int) -> None:
        while self._schedule.next.at_ms == at_ms:
            moment = self._schedule.pop()
            if moment.timeframe is self._book.tape.timeframes[0]:
                self._trades.publish(at_ms)
            if moment.closes:
                self._publish_closed(moment)
            elif self._book.clock.now_ms() < self._schedule.following(moment).at_ms:
                self._publish_forming(moment)
        self._subscribers.flush()
        if self._end is not None:
            self._end()
            self._end = None
        self._book.unpublished_ms = self._schedule.next.at_ms
        following = self._schedule.next
        if following.closes and self._listened(following.timeframe):
            self._prepared[following] = self._closed_frames(following)

    def _listened(self, timeframe: Timeframe) -> bool:
        return any(map(self._subscribers.wants, self._streams[timeframe]))

    def _publish_forming(self, moment: Moment) -> None:
        if not self._listened(moment.timeframe):
            return
        rows = self._rows(moment)
        for column, stream in enumerate(self._streams[moment.timeframe]):
            if self._subscribers.wants(stream):
                if not self._book.faults.silent(self._book.ids[column], moment.timeframe):
                    self._send_forming(moment, column, rows[column])
                self._send_late(moment.timeframe, column)

    def _send_forming(self, moment: Moment, column: int, row: list[float]) -> None:
        if not math.isnan(row[3]):
            frame = self._frame(moment, column, row, x=False)
            self._subscribers.send(self._streams[moment.timeframe][column], frame)
            self._sent.counts["forming"] += 1

    def _publish_closed(self, moment: Moment) -> None:
        frames = self._prepared.pop(moment, None)
        if not self._book.faults.idle:
            self._publish_with_faults(moment)
        elif self._listened(moment.timeframe):
            for column, frame in enumerate(frames or self._closed_frames(moment)):
                if frame and self._subscribers.wants(self._streams[moment.timeframe][column]):
                    self._send_closed((column, moment.timeframe, moment.open_ms), frame, 1)
                    self._send_late(moment.timeframe, column)

    def _publish_with_faults(self, moment: Moment) -> None:
        timeframe = moment.timeframe
        for column, row in enumerate(self._rows(moment)):
            if math.isnan(row[3]):
                continue
            kinds = self._book.faults.of_candle(self._book.ids[column], timeframe)
            self._end_connections(kinds)
            late = self._late.pop((timeframe, column), [])
            if (timeframe, column) in self._lagging:
                self._book.missing.discard(self._lagging.pop((timeframe, column)))
            self._publish_one(moment, (column, timeframe, moment.open_ms), row, kinds)
            for late_key, frame in late:
                self._mend(late_key, frame)

    def _publish_one(
        self, moment: Moment, key: Key, row: list[float], kinds: frozenset[FaultKind]
    ) -> None:
        if FaultKind.HOLE in kinds:
            self._book.missing.add(key)
        elif FaultKind.LAG in kinds:
            self._book.missing.add(key)
            self._lagging[moment.timeframe, key[0]] = key
        elif FaultKind.MISTELL in kinds:
            self._send_closed(key, self._frame(moment, key[0], _wrong(row), x=True), 1)
        elif FaultKind.REVISE in kinds:
            self._send_wrong(moment, key, row)
        elif self._subscribers.wants(self._streams[moment.timeframe][key[0]]):
            self._send_right(moment, key, row, kinds)

    def _end_connections(self, kinds: frozenset[FaultKind]) -> None:
        if FaultKind.DISCONNECT in kinds:
            self._end = self._subscribers.cut_all
        elif FaultKind.CLOSE in kinds:
            self._end = self._subscribers.close_all

    def _send_right(
        self, moment: Moment, key: Key, row: list[float], kinds: frozenset[FaultKind]
    ) -> None:
        frame = self._frame(moment, key[0], row, x=True)
        if FaultKind.GIBBERISH in kinds:
            frame = frame[: len(frame) // 2]
        if FaultKind.REORDER in kinds:
            self._late.setdefault((moment.timeframe, key[0]), []).append((key, frame))
        times = 0 if kinds & (_UNTOLD | {FaultKind.REORDER}) else 1
        self._send_closed(key, frame, times * (2 if FaultKind.DUPLICATE in kinds else 1))

    def _send_wrong(self, moment: Moment, key: Key, row: list[float]) -> None:
        wrong = _wrong(row)
        self._book.wrong[key] = wrong
        self._send_closed(key, self._frame(moment, key[0], wrong, x=True), 1)
        following = self._schedule.following(moment)
        right = self._frame(moment, key[0], row, x=True, told_ms=following.at_ms)
        self._late.setdefault((moment.timeframe, key[0]), []).append((key, right))

    def _send_late(self, timeframe: Timeframe, column: int) -> None:
        for key, frame in self._late.pop((timeframe, column), []):
            self._mend(key, frame)

    def _mend(self, key: Key, frame: bytes) -> None:
        self._book.wrong.pop(key, None)
        self._send_closed(key, frame, 1)

    def _send_closed(self, key: Key, frame: bytes, times: int) -> None:
        column, timeframe, open_ms = key
        stream = self._streams[timeframe][column]
        if not self._subscribers.wants(stream):
            return
        for _ in range(times):
            self._subscribers.send(stream, frame)
        self._sent.candle(self._book.symbols[column], timeframe, open_ms, times)

    def _closed_frames(self, moment: Moment) -> list[bytes]:
        """Closed frames of all columns; empty where there is no candle."""
        whole = moment.open_ms + moment.size_ms
        rows = self._book.tape.panel(moment.timeframe, moment.open_ms, whole).tolist()
        return [
            b"" if math.isnan(row[3]) else self._frame(moment, column, row, x=True)
            for column, row in enumerate(rows)
        ]

    def _rows(self, moment: Moment) -> list[list[float]]:
        rows: list[list[float]] = self._book.tape.panel(
            moment.timeframe, moment.open_ms, moment.at_ms
        ).tolist()
        return rows

    def _frame(
        self, moment: Moment, column: int, row: list[float], *, x: bool, told_ms: int | None = None
    ) -> bytes:
        event_ms = (told_ms or moment.at_ms) + self._book.faults.skew_ms()
        symbol_id = self._book.ids[column]
        return kline_event(symbol_id, moment.timeframe, moment.open_ms, row, event_ms=event_ms, x=x)


def _wrong(row: list[float]) -> list[float]:
    """Half of the volume is not counted yet, nor is the candle's last price."""
    return [row[0], row[1], row[2], row[0], row[4] / 2]


class _Trades:
    """Trades on their way to those who listen, each when the next moment has come."""

    def __init__(self, book: Book, subscribers: Subscribers, sent: Sent) -> None:
        self._book = book
        self._subscribers = subscribers
        self._sent = sent
        self._streams = [f"{one.lower()}@aggTrade" for one in book.ids]
        self._told_ms = book.clock.now_ms()

    def publish(self, at_ms: int) -> None:
        """All since the last moment; nobody is told what came before he listened."""
        since_ms, self._told_ms = self._told_ms, at_ms
        for column, stream in enumerate(self._streams):
            if self._subscribers.wants(stream):
                self._tell(column, stream, since_ms, at_ms)

    def _tell(self, column: int, stream: str, since_ms: int, at_ms: int) -> None:
        symbol_id, faults = self._book.ids[column], self._book.faults
        for trade in self._book.trades.between(column, since_ms, at_ms):
            if not faults.of_trade(symbol_id):
                frame = trade_event(symbol_id, trade, event_ms=at_ms + faults.skew_ms())
                self._subscribers.send(stream, frame)
                self._sent.counts["trades"] += 1
