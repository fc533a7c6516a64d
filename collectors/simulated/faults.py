"""Faults that the simulated exchange commits on command."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class FaultKind(StrEnum):
    """What goes wrong."""

    DROP = "drop"  # a closed frame is not sent
    DUPLICATE = "duplicate"  # it is sent twice
    REORDER = "reorder"  # it is sent after the next frame of its stream
    REVISE = "revise"  # it is sent, and answered by REST, wrong at first and mended later
    MISTELL = "mistell"  # it is sent wrong and never mended, REST alone answers right
    STALL = "stall"  # the stream says nothing for a candle, the connection lives
    GIBBERISH = "gibberish"  # half of a closed frame is sent in its place
    DISCONNECT = "disconnect"  # connections are cut when a candle closes
    CLOSE = "close"  # they are closed in good order, as Binance does after 24 hours
    REFUSE = "refuse"  # a new connection is answered with 503
    STATUS_418 = "status_418"
    STATUS_429 = "status_429"
    STATUS_503 = "status_503"
    GARBLE = "garble"  # a request is answered with a page of HTML, and status 200
    SKEW = "skew"  # the exchange's own clock is told wrong by `ms` for a candle
    HOLE = "hole"  # maintenance: the candle never exists, on REST neither
    LAG = "lag"  # it is not sent, and REST has it only once the next one closes
    LOSE_TRADE = "lose_trade"  # a trade is not sent


_STATUSES = {
    FaultKind.STATUS_418: 418,
    FaultKind.STATUS_429: 429,
    FaultKind.STATUS_503: 503,
    FaultKind.GARBLE: 200,
}
_NOT_OF_CANDLES = {*_STATUSES, FaultKind.LOSE_TRADE, FaultKind.REFUSE}


@dataclass(slots=True, kw_only=True)
class Fault:
    """One command: after `after` candles (requests, connections, trades) `count` go wrong."""

    kind: FaultKind
    instrument: str | None = None  # Binance id; None: every one, each counted for itself
    after: int = 0
    count: int = 1
    ms: int = 1500  # of skew, simulated time
    seen: dict[str, int] = field(default_factory=dict)  # series → candles or requests so far
    acted: int = 0

    def concerns(self, symbol_id: str | None) -> bool:
        return self.instrument is None or self.instrument == symbol_id

    def next(self, series: str) -> bool:
        """Count one more of `series`; whether it goes wrong."""
        seen = self.seen[series] = self.seen.get(series, 0) + 1
        hit = self.after < seen <= self.after + self.count
        self.acted += hit
        return hit

    def active(self, series: str) -> bool:
        """Whether the next of `series` will go wrong."""
        return self.after <= self.seen.get(series, 0) < self.after + self.count


class Faults:
    """The commands given so far and what they do to the next candle or request."""

    def __init__(self) -> None:
        self.commands: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self.commands.append(fault)

    def end(self) -> None:
        """From now on all goes well; what is held back comes with the next candle."""
        for fault in self.commands:
            fault.count = 0

    def of_candle(self, symbol_id: str, timeframe: str) -> frozenset[FaultKind]:
        """Count a candle that closes; the faults that befall it."""
        series = f"{symbol_id}@{timeframe}"
        return frozenset(
            fault.kind
            for fault in self._of_frames()
            if fault.concerns(symbol_id) and fault.next(series)
        )

    def silent(self, symbol_id: str, timeframe: str) -> bool:
        """Whether the candle that is forming is one that a stall or a hole swallows."""
        series = f"{symbol_id}@{timeframe}"
        return any(
            fault.kind in {FaultKind.STALL, FaultKind.HOLE}
            and fault.concerns(symbol_id)
            and fault.active(series)
            for fault in self._of_frames()
        )

    def skew_ms(self) -> int:
        """How wrong the exchange's clock is now."""
        return sum(
            fault.ms
            for fault in self.commands
            if fault.kind is FaultKind.SKEW and _running(fault, fault.seen)
        )

    def of_request(self, symbol_id: str | None) -> int | None:
        """Count a request; the HTTP status that it fails with, if it does."""
        for fault in self.commands:
            status = _STATUSES.get(fault.kind)
            if status is not None and fault.concerns(symbol_id) and fault.next("requests"):
                return status
        return None

    def of_connection(self) -> bool:
        """Count a connection that is asked for; whether it is refused."""
        refused = [
            fault.next("connections") for fault in self.commands if fault.kind is FaultKind.REFUSE
        ]
        return any(refused)

    def of_trade(self, symbol_id: str) -> bool:
        """Count a trade that is to be sent; whether it is lost."""
        lost = [
            fault.next(symbol_id)
            for fault in self.commands
            if fault.kind is FaultKind.LOSE_TRADE and fault.concerns(symbol_id)
        ]
        return any(lost)

    @property
    def idle(self) -> bool:
        return not self.commands

    def _of_frames(self) -> Iterable[Fault]:
        return (fault for fault in self.commands if fault.kind not in _NOT_OF_CANDLES)


def _running(fault: Fault, seen: dict[str, int]) -> bool:
    most = max(seen.values(), default=0)
    return fault.after <= most < fault.after + fault.count
