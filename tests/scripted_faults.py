"""What may go wrong with an exchange, played on the scripted one minute by minute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum

import numpy as np

from collectors.simulated.faults import FaultKind
from domain.errors import ExchangeUnavailableError, RateLimitedError
from domain.events import Candle
from domain.market import Instrument, Timeframe
from tests.scripted_exchange import ScriptedExchange
from tests.virtual_time import LoopClock

M1 = Timeframe.M1
FORMING_S, SOON_S = 30, (2.0, 50.0)  # seconds of a minute


class More(StrEnum):
    """What the simulated exchange does not do."""

    LATE = "late"  # a closed candle is told seconds after it closed
    POISON = "poison"  # impossible ones are told in its place
    FLAP = "flap"  # the connection is cut again and again
    OUTAGE = "outage"  # no connection and no answers
    BANNED = "banned"  # a new connection is asked to wait
    CLOCK = "clock"  # ours jumps
    LEAVE = "leave"  # we stop to watch for minutes


Fault = FaultKind | More
Plan = Mapping[int, Mapping[Instrument, Fault]]  # by minute
FAULTS: tuple[Fault, ...] = (*(one for one in FaultKind if one is not FaultKind.LOSE_TRADE), *More)


def _down() -> Exception:  # a new one each time: what was raised keeps what it passed through
    return ExchangeUnavailableError("the script says no")


def _busy() -> Exception:
    return RateLimitedError("busy", timedelta(seconds=30))


def _banned() -> Exception:
    return RateLimitedError("banned", timedelta(minutes=2))


_ANSWERS: dict[Fault, Callable[[], Exception]] = {  # of requests
    More.OUTAGE: _down,
    FaultKind.STATUS_503: _down,
    FaultKind.GARBLE: _down,
    FaultKind.STATUS_429: _busy,
    FaultKind.STATUS_418: _banned,
}
_REFUSALS: dict[Fault, Callable[[], Exception]] = {  # of connections
    More.OUTAGE: _down,
    FaultKind.REFUSE: _down,
    More.BANNED: _busy,
}
_CUTS = {FaultKind.DISCONNECT, FaultKind.CLOSE, *_REFUSALS}
# The closed candle is not told, so that something is asked for where answers are at fault.
_UNTOLD = {FaultKind.DROP, FaultKind.GIBBERISH, FaultKind.HOLE, FaultKind.LAG, *_ANSWERS}


def drawn(
    names: Sequence[Instrument], first: int, last: int, random: np.random.Generator
) -> dict[int, dict[Instrument, Fault]]:
    """A fault every two to five minutes, of up to three of `names`, or of all."""
    plan: dict[int, dict[Instrument, Fault]] = {}
    minute = first
    while minute < last:
        fault = FAULTS[random.integers(len(FAULTS))]
        many = len(names) if random.random() < 0.2 else min(int(random.integers(1, 4)), len(names))
        chosen = random.choice(len(names), size=many, replace=False)
        plan[minute] = {names[place]: fault for place in chosen}
        minute += int(random.integers(2, 6))
    return plan


class Script:
    """Plays candles of a minute, each told as forming and as closed, with faults.

    Args:
        exchange: Whose.
        ours, theirs: Clocks, its own and the collector's.
        watch: What the collector is told to follow.
        random: Of delays and of how often.
    """

    def __init__(
        self,
        exchange: ScriptedExchange,
        *,
        ours: LoopClock,
        theirs: LoopClock,
        watch: Callable[[Sequence[Instrument]], None],
        random: np.random.Generator,
    ) -> None:
        self._exchange, self._ours, self._theirs = exchange, ours, theirs
        self._watch = watch
        self._random = random
        self._held_back: list[Candle] = []
        self._behind: dict[Instrument, list[Candle]] = {}  # what REST does not tell yet
        self._silent_until: dict[Instrument, int] = {}  # minutes

    async def play(
        self, history: Mapping[Instrument, Sequence[Candle]], minutes: Iterable[int], plan: Plan
    ) -> None:
        for minute in minutes:
            struck = plan.get(minute, {})
            await until(60 * minute + FORMING_S)
            for name, walk in history.items():
                if not self._silent(name, minute) and struck.get(name) not in {
                    FaultKind.HOLE,
                    FaultKind.STALL,
                }:
                    part = replace(walk[minute], close=walk[minute].open, closed=False, event_ms=1)
                    self._exchange.send(part)
            await until(60 * (minute + 1))
            for fault in sorted(set(struck.values())):
                self._beset(fault, [name for name in history if name in struck], [*history], minute)
            late, self._held_back = self._held_back, []
            for name, walk in history.items():
                self._close(walk[minute], struck.get(name), silent=self._silent(name, minute))
            self._exchange.send(*late)

    def _silent(self, name: Instrument, minute: int) -> bool:
        return self._silent_until.get(name, 0) > minute

    def _beset(
        self, fault: Fault, names: list[Instrument], every: list[Instrument], minute: int
    ) -> None:
        """What befalls more than one candle."""
        times = int(self._random.integers(2, 9))
        match fault:
            case FaultKind.STALL:
                self._silent_until |= dict.fromkeys(names, minute + times)
            case More.CLOCK:
                self._ours.wrong_by = self._some_seconds()
            case FaultKind.SKEW:
                self._theirs.wrong_by = self._some_seconds()
                self._later(60.0, self._theirs.set_right)
            case More.LEAVE if len(names) < len(every):
                self._watch([name for name in every if name not in names])
                self._later(45.0 * times, lambda: self._watch(every))
            case More.FLAP:
                for number in range(times):
                    self._later(2.0 * number, self._exchange.disconnect)
        self._break(fault, times)

    def _break(self, fault: Fault, times: int) -> None:
        """The next requests and connections fail."""
        if fault in _ANSWERS:
            self._exchange.fail(*(_ANSWERS[fault]() for _ in range(times)))
        if fault in _REFUSALS:
            self._exchange.refuse(*(_REFUSALS[fault]() for _ in range(times)))
        if fault in _CUTS:
            self._exchange.disconnect()

    def _some_seconds(self) -> timedelta:
        return timedelta(seconds=float(self._random.uniform(-5, 5)))

    def _close(self, candle: Candle, fault: Fault | None, *, silent: bool) -> None:
        """REST and the socket say so, or not."""
        told = replace(candle, event_ms=candle.close_ms)
        soon = float(self._random.uniform(*SOON_S))
        self._record(candle, fault, soon)
        if silent or fault in _UNTOLD:
            return
        if fault is More.LATE:
            self._later(soon, lambda: self._exchange.send(told))
        elif fault is FaultKind.REORDER:
            self._held_back.append(told)
        elif fault is FaultKind.REVISE:
            self._exchange.send(_wrong(told))
            right = replace(told, event_ms=told.event_ms + 1)
            self._later(soon, lambda: self._exchange.send(right))
        elif fault is FaultKind.MISTELL:
            self._exchange.send(_wrong(told))
        elif fault is More.POISON:
            future = replace(told, open_ms=told.open_ms + 10 * Timeframe.D1.ms)
            self._exchange.send(replace(told, high=told.low / 2), future)
        else:
            self._exchange.send(*[told] * (2 if fault is FaultKind.DUPLICATE else 1))

    def _record(self, candle: Candle, fault: Fault | None, soon: float) -> None:
        name = candle.instrument
        if fault is FaultKind.HOLE:
            return
        if fault is FaultKind.LAG and name not in self._behind:
            self._behind[name] = []
            self._later(4 * soon, lambda: self._exchange.record(self._behind.pop(name)))
        if name in self._behind:
            self._behind[name].append(candle)
        elif fault is FaultKind.REVISE:
            self._exchange.record([_wrong(candle)])
            self._later(soon, lambda: self._exchange.record([candle]))
        else:
            self._exchange.record([candle])

    def _later(self, seconds: float, deed: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, deed)


def _wrong(candle: Candle) -> Candle:
    return replace(candle, close=candle.open, volume=candle.volume / 2)


async def until(second: float) -> None:
    """Sleep until the loop's time is `second`."""
    await asyncio.sleep(second - asyncio.get_running_loop().time())
