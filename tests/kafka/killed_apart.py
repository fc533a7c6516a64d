"""A system of several processes over a broker and a database of its own, each of which may die."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from backend.settings import Settings
from backend.store import migrate
from backend.store.embedded import EmbeddedPostgres
from backend.store.postmaster import working_in
from tests.apart import Apart
from tests.kafka.broker import Broker
from tests.killing import TRAINING, Victim, family, kill, tail
from tests.processes import Exchange, System, until

ROOMS = {"collectors": "collectors", "one": "panels", "two": "panels", "server": "api"}


@dataclass(slots=True)
class SeveralProcesses:
    """Collectors, two workers and a server beside each other.

    Args:
        folder: of their state, and of the database.
        exchange: plays the market.
        broker: runs, and is started again.
        stack: ends what is started.
    """

    folder: Path
    exchange: Exchange
    broker: Broker
    stack: ExitStack
    apart: Apart = field(init=False)
    _database: EmbeddedPostgres = field(init=False)
    _processes: dict[str, System] = field(default_factory=dict)
    _ended: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._database = EmbeddedPostgres(self.folder / "database")
        url = self.stack.enter_context(self._database)
        migrate.upgrade(url)  # the server may be the first to look at it
        self.apart = Apart(
            folder=self.folder,
            exchange=self.exchange,
            database_url=url,
            broker=self.broker.address,
            settings=TRAINING,
        )

    @property
    def victims(self) -> Sequence[Victim]:
        def process(name: str) -> Victim:
            return Victim(name, lambda: [self._processes[name].process.pid])

        def workers() -> list[int]:
            pids = [self._processes[name].process.pid for name in ("one", "two")]
            return [child for pid in pids for child in family(pid)[1:]]

        return (
            *map(process, ROOMS),
            Victim("fits", workers),
            Victim("database", self._database_processes),
            Victim("one process of the database", self._database_processes, one=True),
            Victim("broker", self.broker.processes),
        )

    def _database_processes(self) -> list[int]:
        return working_in((self.folder / "database" / "postgres").resolve())

    def end_database(self) -> None:
        """kill -9 of all of it; `mend` starts it again."""
        kill(self._database_processes())

    def mend(self) -> None:
        self._database.keep_up()
        if not self.broker.processes():
            self.broker.start()
        for name, rooms in ROOMS.items():
            self._start(name, rooms)

    def _start(self, name: str, rooms: str) -> None:
        if (before := self._processes.get(name)) is not None:
            if (code := before.process.poll()) is None:
                return
            if code != -signal.SIGKILL:
                self._ended.append(f"{name} ended with {code}: {tail(before.errors)}")
        self._processes[name] = self.stack.enter_context(self.apart.process(name, rooms))

    def settle(self, closes: int) -> None:
        self._processes["server"].wait_until_ready()
        until(lambda: len(self.apart.holders()) == 1, "a worker that has the panel")
        self.apart.wait_for_closes(closes)

    def complaints(self) -> list[str]:
        return self.apart.complaints()

    def stop(self) -> list[str]:
        for name, system in self._processes.items():
            if (code := system.stop()) != 0:
                self._ended.append(f"{name} ended with {code}: {tail(system.errors)}")
        return self._ended

    @property
    def settings(self) -> Settings:
        url = SecretStr(self.apart.database_url)
        return Settings(state=self.folder / "state", database_url=url)
