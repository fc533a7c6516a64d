"""Rooms that cannot run apart say so at their start, in one line."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from pydantic import SecretStr

from backend import apart
from backend.api.status import Market
from backend.bus.memory import MemoryBus
from backend.clock import SystemClock
from backend.rooms import Room
from backend.settings import Settings
from backend.store.leases import open_leases
from backend.system_plan import SystemPlan
from backend.wiring import open_store
from domain.errors import UsageError
from tests.ports import free_port
from tests.processes import SERVED, alphapulse

if TYPE_CHECKING:
    from backend.api.state import ApiState

DATABASE = {"ALPHAPULSE_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"}
BUS = {"ALPHAPULSE_BUS_URL": "kafka://127.0.0.1:9"}
NO_SET = {"ALPHAPULSE_TRAINING__CANDIDATE": "forest"}


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({}, "set ALPHAPULSE_DATABASE_URL"),
        (DATABASE, "set ALPHAPULSE_BUS_URL"),
        (
            DATABASE | BUS | NO_SET,
            "setting training.candidate: plug-in forest: it is no candle feature set",
        ),
    ],
)
def test_what_they_lack_is_named(tmp_path: Path, about: dict[str, str], said: str) -> None:
    watched = {"ALPHAPULSE_WATCH__EXCHANGES": "kraken", "ALPHAPULSE_WATCH__SYMBOLS": "BTC/USD"}

    ended = alphapulse(tmp_path, "run", "--rooms", "panels", "--port", "0", **watched, **about)

    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


async def test_a_worker_of_another_clock_takes_nothing(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows would be of times of another clock, for ever; a server that only serves goes on."""

    async def runs(_: apart.Apart) -> None:
        raise UsageError("it runs")

    monkeypatch.setattr("backend.store.leases.ENTER_EVERY_S", 0.001)
    monkeypatch.setattr(apart.Apart, "run", runs)
    async with open_leases(database_url, "another") as another:
        await another.go_by("exchange")
        with pytest.raises(UsageError, match="goes by exchange: set ALPHAPULSE_CLOCK alike"):
            await working(database_url, tmp_path, Room.PANELS)
        with pytest.raises(UsageError, match="it runs"):
            await working(database_url, tmp_path, Room.API)


async def test_a_database_that_is_away_is_said_once_for_each_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries, enough = [0], asyncio.Event()

    def counted(*about: Any) -> Any:
        tries[0] += 1
        if tries[0] > 5:
            enough.set()
        return open_store(*about)

    monkeypatch.setattr(apart, "open_store", counted)
    monkeypatch.setattr(apart, "AGAIN_S", 0.001)
    work = asyncio.create_task(working(f"postgresql://127.0.0.1:{free_port()}/x", tmp_path))
    await enough.wait()
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)

    assert caplog.text.count("waiting for the database") == 1


async def working(url: str, folder: Path, room: Room = Room.PANELS) -> None:
    """What a process with a room does besides serving."""
    (folder / "state").mkdir(exist_ok=True)
    settings = Settings(database_url=SecretStr(url), state=folder / "state")
    plan = SystemPlan(
        market=Market.RECORDED, horizons=(3,), clock=SystemClock(), connect=nothing, ask=nothing
    )
    api = cast("ApiState", None)  # is for what is collected and predicted
    await apart._work(plan, settings, frozenset({room}), MemoryBus(), api)


async def nothing(*_: Any) -> Any:
    return []


def test_a_system_with_a_candidate_that_is_none_ends_before_it_serves(tmp_path: Path) -> None:
    ended = alphapulse(tmp_path, "demo", "--port", "0", **NO_SET)

    assert ended.returncode == 2
    assert SERVED not in ended.stdout
    assert "training.candidate: plug-in forest: it is no candle feature set" in ended.stderr
