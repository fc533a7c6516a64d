"""Two exchanges in one system: one comes late, goes away and comes back; the other goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.account import complaints
from tests.ports import free_port
from tests.processes import HTTP, SPEED, Exchange, System, environment, running_system, until

OURS, OTHER = "binance", "binanceus"
FLAGS = ("--exchange", f"{OURS},{OTHER}", "--timeframes", "1m")
SYMBOLS = ("--symbols", f"BTC/USDT,{OURS}:ETH/USDT")
AHEAD = timedelta(minutes=6)  # of market time, in which a process starts


@contextmanager
def playing(port: int, beside: Exchange) -> Iterator[None]:
    """A second exchange, which plays the same market on the same clock."""
    ahead = AHEAD
    with ExitStack() as stack:
        stack.enter_context(_held(port, began := beside.now() + ahead))
        while beside.now() >= began:  # it was to stand there before that moment came
            stack.close()
            ahead *= 2
            stack.enter_context(_held(port, began := beside.now() + ahead))
        beside.wait_until(began)
        clock = f"http://127.0.0.1:{port}/_control/clock"
        HTTP.post(clock, json={"held": False}).raise_for_status()
        yield


@contextmanager
def _held(port: int, began: datetime) -> Iterator[None]:
    """An exchange whose clock stands at `began`."""
    module = ("-m", "collectors.simulated", "--seed", "7", "--held", "--from", began.isoformat())
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, *module, "--speed", str(SPEED), "--port", str(port)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["port"] == port
            yield
        finally:
            process.send_signal(signal.SIGKILL)


def status(system: System) -> dict[str, Any]:
    (found,) = HTTP.get(f"{system.url}/v1/status").json()["data"]
    told: dict[str, Any] = found
    return told


def noted(system: System) -> list[str]:
    return [note for note in status(system)["notes"] if note.startswith(OTHER)]


def predicted(system: System) -> dict[tuple[str, str], str]:
    rows = HTTP.get(f"{system.url}/v1/predictions/latest").json()["data"]
    return {(row["exchange"], row["symbol"]): row["as_of"] for row in rows}


@pytest.mark.long
def test_an_exchange_that_goes_away_leaves_the_other_undisturbed(
    tmp_path: Path, exchange: Exchange
) -> None:
    port = free_port()
    places = {
        f"ALPHAPULSE_EXCHANGE__{OTHER.upper()}__REST_URL": f"http://127.0.0.1:{port}",
        f"ALPHAPULSE_EXCHANGE__{OTHER.upper()}__WS_URL": f"ws://127.0.0.1:{port}",
    }
    settings = {**exchange.settings(), **places}
    with running_system(tmp_path, "run", *FLAGS, *SYMBOLS, **settings) as system:
        system.wait_until_ready()
        assert {name for name, _ in predicted(system)} == {OURS}
        until(lambda: "asked again and again" in str(noted(system)), "that the other is awaited")

        with playing(port, exchange):
            until(lambda: (OTHER, "BTC/USDT") in predicted(system), "the other is predicted")
            until(lambda: noted(system) == [], "nothing to note")
            system.wait_for_ticks(4)
            system.wait_until_ready()
            assert len(status(system)["instruments"]) == 3
        until(lambda: system.ready()[0] == httpx.codes.SERVICE_UNAVAILABLE, "the other is stale")
        problem = system.ready()[1]

        assert {one["exchange"] for one in problem["stale"]} == {OTHER}
        assert f"{OTHER}:BTC/USDT 1m" in problem["detail"]
        assert f"; {OTHER}: no connection (" in problem["detail"]
        assert noted(system)[0].startswith(f"{OTHER}: no connection (")
        stale = {(one["exchange"], one["stale"]) for one in status(system)["freshness"]}
        assert stale == {(OURS, False), (OTHER, True)}

        with playing(port, exchange):
            system.wait_until_ready()
            system.wait_for_ticks(6)
            until(lambda: noted(system) == [], "nothing to note")
            found = complaints(system, exchange)
            assert not found, "\n".join(found)
            assert system.stop() == 0
