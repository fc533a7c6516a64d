"""AlphaPulse as a user runs it: its commands as processes, and the exchange that they watch."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from backend.cli import main
from backend.store.postmaster import working_in
from backend.store.state import StateFolder
from domain.market import from_ms

ROOT = Path(__file__).parent.parent
SPEED = 120  # market seconds per second: two candles of a minute
SYMBOLS = ("BTC/USDT", "ETH/USDT")
WITHIN_S = 120.0  # for whatever a loaded machine may need; a failure waits so long, nothing else
LOOK_EVERY_S = 0.05
SERVED = "page and API at "  # the line of a process that serves
HTTP = httpx.Client(timeout=WITHIN_S, limits=httpx.Limits(max_keepalive_connections=0))
# A command starts in 0.1 s where python and its imports would take three of CPU.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload([f"backend.{one}" for one in ("demo", "live", "replay", "upkeep")])


def until(holds: Callable[[], bool], what: str, within_s: float = WITHIN_S) -> None:
    """Wait for a condition; a failure says `what` did not come."""
    deadline = time.monotonic() + within_s
    look = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        look.wait(LOOK_EVERY_S)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "backend", *arguments]


def environment(**more: str) -> dict[str, str]:
    ours = {name: text for name, text in os.environ.items() if not name.startswith("ALPHAPULSE_")}
    return {**ours, "PYTHONPATH": str(ROOT), **more}


def alphapulse(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a fork of a process that has done the imports."""
    with tempfile.TemporaryDirectory() as place:
        said, errors = (Path(place, name) for name in ("said", "errors"))
        process = FORKED.Process(
            target=_obey, args=(folder, arguments, environment(**more), said, errors)
        )
        process.start()
        process.join(2 * WITHIN_S)
        if process.exitcode is None:
            process.kill()
        assert process.exitcode is not None, f"{arguments} does not end: {errors.read_text()}"
        return subprocess.CompletedProcess(
            arguments, process.exitcode, said.read_text(), errors.read_text()
        )


def _obey(
    folder: Path, arguments: Sequence[str], variables: dict[str, str], said: Path, errors: Path
) -> None:
    """Be the process of a command."""
    for number, path in ((1, said), (2, errors)):
        with path.open("w") as file:
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    main(arguments)


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """What a failed command said, which must be one line of ours."""
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("alphapulse: ")
    return done.stderr


@dataclass(slots=True, kw_only=True)
class Exchange:
    """`alphapulse exchange`, running."""

    process: subprocess.Popen[str]
    url: str
    second: timedelta  # of the wall, in its time

    def settings(self) -> dict[str, str]:
        """The environment of a system that takes it for Binance."""
        return {
            "ALPHAPULSE_EXCHANGE__BINANCE__REST_URL": self.url,
            "ALPHAPULSE_EXCHANGE__BINANCE__WS_URL": self.url.replace("http", "ws"),
            "ALPHAPULSE_CLOCK": "exchange",
            "ALPHAPULSE_HISTORY_BARS": "200",
        }

    def now(self) -> datetime:
        return from_ms(HTTP.get(f"{self.url}/_control/time").json()["now"])

    def wait_until(self, moment: datetime) -> None:
        until(lambda: self.now() >= moment, f"{moment} in the market")

    def fault(self, kind: str, **more: object) -> None:
        HTTP.post(f"{self.url}/_control/faults", json={"kind": kind, **more}).raise_for_status()

    def mend(self) -> None:
        """End every fault."""
        HTTP.delete(f"{self.url}/_control/faults").raise_for_status()

    def candles(self, symbol: str, since: datetime, until: datetime) -> list[list[Any]]:
        """Its rows that opened in [since, until)."""
        rows: list[list[Any]] = []
        first, last = (round(moment.timestamp() * 1000) for moment in (since, until))
        while first < last:
            query: dict[str, str | int] = {
                "symbol": symbol.replace("/", ""),
                "interval": "1m",
                "limit": 1000,
            }
            query |= {"startTime": first, "endTime": last - 1}
            page = HTTP.get(f"{self.url}/api/v3/klines", params=query).json()
            if not page:
                break
            rows += page
            first = page[-1][0] + 60_000
        return rows


@contextmanager
def running_exchange(folder: Path, *, speed: float = SPEED) -> Iterator[Exchange]:
    with subprocess.Popen(  # noqa: S603 - our own program
        command("exchange", "--port", "0", "--speed", str(speed)),
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            yield Exchange(
                process=process, url=f"http://127.0.0.1:{port}", second=timedelta(seconds=speed)
            )
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()


@dataclass(slots=True, kw_only=True)
class System:
    """`alphapulse run` or `demo`, running in a session of its own."""

    process: subprocess.Popen[str]
    state: Path
    url: str
    errors: Path
    said: list[str] = field(default_factory=list)

    def ready(self) -> tuple[int, dict[str, Any]]:
        answer = HTTP.get(f"{self.url}/readyz")
        return answer.status_code, answer.json()

    def wait_until_ready(self) -> None:
        until(lambda: self.ready()[0] == httpx.codes.OK, f"ready; it is {self.ready()[1]}")

    def metric(self, name: str) -> float:
        """The first series of a metric."""
        lines = HTTP.get(f"{self.url}/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(name)).rsplit(" ", 1)[1])

    def newest(self) -> datetime:
        """The close that the oldest of the newest served predictions is of."""
        answers: list[httpx.Response] = []

        def answered() -> bool:
            answers.append(HTTP.get(f"{self.url}/v1/predictions/latest"))
            return answers[-1].status_code == httpx.codes.OK

        until(answered, "predictions over REST")
        return min(datetime.fromisoformat(row["as_of"]) for row in answers[-1].json()["data"])

    def wait_for_ticks(self, count: int) -> datetime:
        """Until `count` more closes have been predicted; the newest of them."""
        wanted = self.newest() + count * timedelta(minutes=1)
        until(lambda: self.newest() >= wanted, f"a prediction of the close at {wanted}")
        return self.newest()

    def server(self) -> list[int]:
        """The processes of its embedded PostgreSQL."""
        return working_in(self.state.resolve() / "postgres")

    def postmaster(self) -> int:
        """The one of them that started the others; numbers of processes begin anew at times."""
        return int((self.state / "postgres/postmaster.pid").read_text().split()[0])

    def database_url(self) -> str:
        runtime = StateFolder(self.state).attach()
        assert runtime is not None
        return runtime.database_url

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it in good order; its exit code."""
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=WITHIN_S)
        self.said += said.splitlines()
        return self.process.returncode

    def kill(self, *, server: bool = True) -> None:
        """End it as a lost machine does: at once, with its workers and, if so, its server."""
        for process in self.server() if server else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=WITHIN_S)


@contextmanager
def running_system(folder: Path, *arguments: str, **settings: str) -> Iterator[System]:
    """Start the command in `folder`, whose state is there; it is up, and ready a little later."""
    errors = folder / "errors.log"
    with (
        errors.open("a") as output,
        subprocess.Popen(  # noqa: S603 - our own program
            command(*arguments, "--port", "0", "--state", "state"),
            cwd=folder,
            env=environment(**settings),
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            said = _said(process)
            assert "".join(said[-1:]).startswith(SERVED), "".join(said) + errors.read_text()
            url = said[-1].removeprefix(SERVED).rstrip("/\n")
            yield System(process=process, state=folder / "state", url=url, errors=errors, said=said)
        finally:
            if process.poll() is None:
                process.kill()


def running_run(
    folder: Path, exchange: Exchange, symbols: Sequence[str] = SYMBOLS, **settings: str
) -> AbstractContextManager[System]:
    """`alphapulse run` on candles of a minute of `exchange`."""
    flags = ("--exchange", "binance", "--symbols", ",".join(symbols), "--timeframes", "1m")
    return running_system(folder, "run", *flags, **exchange.settings() | settings)


def _said(process: subprocess.Popen[str]) -> list[str]:
    """Its lines up to the one that it serves, or to its end."""
    said: list[str] = []
    late = threading.Timer(WITHIN_S, process.kill)
    late.start()
    assert process.stdout is not None
    while line := process.stdout.readline():
        said.append(line)
        if line.startswith(SERVED):
            break
    late.cancel()
    return said
