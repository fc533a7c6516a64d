"""kill -9 at random moments while a market runs, and what must be true of the record afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from backend.settings import Settings
from tests.account import complaints
from tests.processes import SYMBOLS, WITHIN_S, Exchange, System, running_run
from tests.relearnt import unlearnt

LIFE_S = 12.0  # wall seconds between two kills, at most: a start and a few seconds of its work
LOOKS = 20  # for a victim in one round: what fits is there only from its first fit on
AFTER = 10  # closes that are predicted once nothing is killed any more
# Fits again and again, so that there is a worker to kill; and a loaded machine draws the same
# cross-sections, so that what learns is taught the same rows.
TRAINING = {
    "ALPHAPULSE_DEADLINE_MS": "10000",
    "ALPHAPULSE_TRAINING__MINIMUM_ROWS": "150",
    "ALPHAPULSE_TRAINING__EVERY_BARS": "4",
    "ALPHAPULSE_TRAINING__TREES": "10",
    "ALPHAPULSE_TRAINING__KINDS": '["logistic.direction", "lightgbm.volatility"]',
    "ALPHAPULSE_SNAPSHOT_BARS": "7",
}


@dataclass(frozen=True, slots=True)
class Victim:
    """What is killed together: all processes, or one of them by chance."""

    name: str
    find: Callable[[], list[int]]
    one: bool = False


class Shape(Protocol):
    """An AlphaPulse of one process or of several, on one state folder."""

    @property
    def victims(self) -> Sequence[Victim]: ...

    def mend(self) -> None:
        """Start again what has ended; it need not be ready when this returns."""
        ...

    def settle(self, closes: int) -> None:
        """Wait until it is ready and has predicted so many more closes."""
        ...

    def complaints(self) -> list[str]:
        """What its record does not account for."""
        ...

    def stop(self) -> list[str]:
        """End it in good order; what was wrong with that, or ended before and was not killed."""
        ...

    @property
    def settings(self) -> Settings:
        """That name its record."""
        ...


@dataclass(slots=True)
class OneProcess:
    """`alphapulse run` with its embedded database and its training worker."""

    folder: Path
    exchange: Exchange
    stack: ExitStack
    symbols: Sequence[str] = SYMBOLS
    _system: System | None = None
    _ended: list[str] = field(default_factory=list)

    @property
    def system(self) -> System:
        assert self._system is not None
        return self._system

    @property
    def victims(self) -> Sequence[Victim]:
        system = self.system
        return (
            Victim("system", lambda: [system.process.pid]),
            Victim("machine", lambda: [*system.server(), *family(system.process.pid)]),
            Victim("database", system.server),
            Victim("one process of the database", system.server, one=True),
            Victim("worker", lambda: family(system.process.pid)[1:]),
        )

    def mend(self) -> None:
        if self._system is not None:
            if (code := self._system.process.poll()) is None:
                return
            if code != -signal.SIGKILL:
                self._ended.append(f"it ended with {code}: {tail(self._system.errors)}")
        self._system = self.stack.enter_context(
            running_run(self.folder, self.exchange, self.symbols, **TRAINING)
        )

    def settle(self, closes: int) -> None:
        self.system.wait_until_ready()
        self.system.wait_for_ticks(closes)

    def complaints(self) -> list[str]:
        return complaints(self.system, self.exchange)

    def stop(self) -> list[str]:
        if (code := self.system.stop()) != 0:
            self._ended.append(f"it ended with {code}: {tail(self.system.errors)}")
        return self._ended

    @property
    def settings(self) -> Settings:
        return Settings(state=self.system.state)


def kill_at_random(shape: Shape, exchange: Exchange, *, seed: int, rounds: int) -> Counter[str]:
    """How often each victim was killed: once a round, in a drawn order, at drawn moments.

    Args:
        shape: runs when this ends.
        exchange: whose clock the moments are of.
        seed: of moments and orders.
        rounds: how many.
    """
    chance, done = np.random.default_rng(seed), Counter[str]()
    shape.mend()
    for _ in range(rounds):
        looks = Counter[str]()
        waiting = deque(str(name) for name in chance.permutation(names(shape)))
        while waiting:
            exchange.wait_until(exchange.now() + chance.uniform(0, LIFE_S) * exchange.second)
            name = waiting.popleft()
            if _killed(shape, name, chance):
                done[name] += 1
            else:
                looks[name] += 1
                assert looks[name] < LOOKS, f"«{name}» ran at none of {LOOKS} moments: {done}"
                waiting.append(name)
            shape.mend()
    return done


def names(shape: Shape) -> list[str]:
    """Of its victims."""
    return [one.name for one in shape.victims]


def _killed(shape: Shape, name: str, chance: np.random.Generator) -> bool:
    victim = next(one for one in shape.victims if one.name == name)
    found = victim.find()
    if victim.one and found:
        found = [found[chance.integers(len(found))]]
    return kill(found)


def found_after(shape: Shape) -> list[str]:
    """What is lost, doubled or wrong once the kills are over; it is ended in good order.

    Candles, features, predictions, signals, labels and scores of every close, each once; streams
    without a hole, in one chain, as their rows are; and what learns with each label knows what
    it knew if nothing had ever been killed.
    """
    shape.settle(AFTER)
    found = [*shape.complaints(), *shape.stop()]
    return [*found, *asyncio.run(unlearnt(shape.settings))]


def kill(processes: Sequence[int]) -> bool:
    """At once; it is over when the last thread of each has ended. Whether there was any."""
    ends: list[int] = []
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            ends.append(end := os.pidfd_open(process))
            signal.pidfd_send_signal(end, signal.SIGKILL)
    for end in ends:
        assert select.select([end], [], [], WITHIN_S)[0], f"{processes} do not end"
        os.close(end)
    return bool(ends)


def family(parent: int) -> list[int]:
    """A process and those that it has started, except what works for the database."""
    found = [parent]
    for one in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split()]
    return [one for one in found if not _is_postgres(one)]


def _is_postgres(process: int) -> bool:
    try:
        return "postgres" in Path(f"/proc/{process}/comm").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def hold_fits(system: System) -> None:
    """What it has begun in processes of its own ends no more; those of a kill end with it."""
    for process in family(system.process.pid)[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGSTOP)


def tail(errors: Path) -> str:
    return errors.read_text()[-2_000:]
