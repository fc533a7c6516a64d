"""Servers beside the system that predicts: any of them serves any resume, whoever is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import websockets

from backend.store import migrate
from backend.store.database import connect
from tests.processes import (
    HTTP,
    WITHIN_S,
    Exchange,
    System,
    alphapulse,
    one_line,
    running_run,
    running_system,
    until,
)

PATTERNS = ["signals.*.*.*", "candles.*.*.*"]
STREAM = "signals.1m.binance.BTC/USDT"
ADDED = "XRP/USDT"


class Follower:
    """Takes every event of the patterns from one server after another."""

    def __init__(self) -> None:
        self.events: dict[str, list[tuple[int, str]]] = {}
        self.epochs: dict[str, str] = {}

    async def follow(self, url: str, upto: int) -> None:
        """Go on where it stands, until `STREAM` is at offset `upto` or beyond."""
        async with websockets.connect(url.replace("http", "ws") + "/ws") as socket:
            since = {"*": {"offset": 0}} | {
                stream: {"epoch": self.epochs[stream], "offset": told[-1][0]}
                for stream, told in self.events.items()
            }
            params: dict[str, Any] = {"streams": PATTERNS, "since": since}
            await socket.send(
                orjson.dumps({"id": 1, "method": "subscribe", "params": params}).decode()
            )
            while self.head() < upto:
                self._take(orjson.loads(await asyncio.wait_for(socket.recv(), WITHIN_S)))

    def head(self) -> int:
        return self.events.get(STREAM, [(0, "")])[-1][0]

    def _take(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "reply":
            assert frame["ok"], frame
            granted = {one["stream"]: one for one in frame["result"]["streams"]}
            assert all(granted[stream]["recovered"] for stream in self.events), frame
        if frame["type"] == "update":
            self.epochs[frame["stream"]] = frame["epoch"]
            self.events.setdefault(frame["stream"], []).append((frame["offset"], frame["hash"]))


@contextmanager
def replica(folder: Path, **settings: str) -> Iterator[System]:
    folder.mkdir()
    with running_system(folder, "run", "--rooms", "api", **settings) as started:
        started.wait_until_ready()
        yield started
        assert started.stop() == 0


@pytest.mark.long
async def test_any_server_goes_on_where_another_ended_and_a_kill_leaves_nothing_out(
    tmp_path: Path, exchange: Exchange, database_url: str
) -> None:
    settings = exchange.settings() | {"ALPHAPULSE_DATABASE_URL": database_url}
    follower, main = Follower(), tmp_path / "main"
    main.mkdir()
    with ExitStack() as stack:
        system = stack.enter_context(running_run(main, exchange, **settings))
        system.wait_until_ready()
        one, other = (
            stack.enter_context(replica(tmp_path / name, **settings)) for name in ("one", "other")
        )
        for server in (one, other, system, one):
            await follower.follow(server.url, follower.head() + 2)
        system.kill()
        ordered = HTTP.post(f"{one.url}/v1/instruments", json={"symbol": ADDED})
        until(lambda: "silent" in str(status(other)["notes"]), "that nobody predicts")
        again = stack.enter_context(running_run(main, exchange, **settings))
        again.wait_until_ready()
        for server in (other, one, again):
            await follower.follow(server.url, follower.head() + 2)
        until(lambda: not status(other)["notes"], "that somebody predicts again")
        until(lambda: ADDED in watched(other), "what was ordered while nobody took it")
        until(lambda: shown_by(one) == shown_by(again), "the same instruments everywhere")
        assert again.stop() == 0
    logged = await log_of(database_url)

    (row,) = ordered.json()["data"]
    assert (ordered.status_code, row["state"]) == (202, "ordered")
    for stream, told in follower.events.items():
        assert told == logged[stream][: len(told)], stream
    assert follower.events[STREAM]


@pytest.mark.long
async def test_it_follows_an_embedded_database_to_another_port(
    tmp_path: Path, exchange: Exchange
) -> None:
    follower = Follower()
    with ExitStack() as stack:
        system = stack.enter_context(running_run(tmp_path, exchange))
        system.wait_until_ready()
        beside = stack.enter_context(
            running_system(tmp_path, "run", "--rooms", "api", **exchange.settings())
        )
        beside.wait_until_ready()
        await follower.follow(beside.url, follower.head() + 1)
        system.kill()
        again = stack.enter_context(running_run(tmp_path, exchange))
        again.wait_until_ready()
        beside.wait_until_ready()
        await follower.follow(beside.url, follower.head() + 2)
        logged = await log_of(again.database_url())
        assert beside.stop() == 0
        assert again.stop() == 0

    for stream, told in follower.events.items():
        assert told == logged[stream][: len(told)], stream


def status(system: System) -> dict[str, Any]:
    told: dict[str, Any] = HTTP.get(f"{system.url}/v1/status").json()["data"][0]
    return told


def shown_by(system: System) -> list[dict[str, Any]]:
    instruments: list[dict[str, Any]] = status(system)["instruments"]
    return instruments


def watched(system: System) -> set[str]:
    rows = HTTP.get(f"{system.url}/v1/instruments").json()["data"]
    return {row["symbol"] for row in rows if row["state"] == "watched"}


async def log_of(database_url: str) -> dict[str, list[tuple[int, str]]]:
    """All events by stream: offset and hash."""
    connection = await connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT stream, \"offset\", encode(hash, 'hex') AS hash FROM stream_events"
            ' ORDER BY stream, "offset"'
        )
    finally:
        await connection.close()
    told: dict[str, list[tuple[int, str]]] = {}
    for row in rows:
        told.setdefault(row["stream"], []).append((row["offset"], row["hash"]))
    return told


@pytest.mark.long
async def test_it_waits_for_a_migration_and_ends_in_one_line_where_one_leaves_it_behind(
    tmp_path: Path, market_url: str
) -> None:
    await asyncio.to_thread(migrate.downgrade, market_url, "-1")
    settings = {"ALPHAPULSE_DATABASE_URL": market_url}
    with running_system(tmp_path, "run", "--rooms", "api", **settings) as server:
        until(lambda: "schema" in str(server.ready()[1]), "that it waits for the schema")
        waiting = answers(server)
        await asyncio.to_thread(migrate.upgrade, market_url)
        until(lambda: answers(server), "answers from the new schema")
        connection = await connect(market_url)
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
        await connection.execute("COMMENT ON TABLE alembic_version IS 'serves 9998'")
        await connection.close()
        said, _ = server.process.communicate(timeout=WITHIN_S)
    again = alphapulse(tmp_path, "run", "--rooms", "api", "--state", "state", **settings)

    assert not waiting
    assert said.count("waiting: the database has schema ") == 1
    assert server.process.returncode == 1
    for words in (server.errors.read_text(), one_line(again, 1)):
        assert words.startswith("alphapulse: the database has schema 9999, this program needs ")
        assert words.endswith(": use a newer program\n")


def answers(system: System) -> bool:
    return HTTP.get(f"{system.url}/v1/instruments").is_success


def test_without_a_system_there_is_nothing_to_serve(tmp_path: Path) -> None:
    said = one_line(alphapulse(tmp_path, "run", "--rooms", "api", "--state", "state"), 2)

    assert "no system runs on the state folder" in said
    assert "ALPHAPULSE_DATABASE_URL" in said
    assert not (tmp_path / "state").exists()


def test_a_database_of_another_schema_is_refused(tmp_path: Path, server_url: str) -> None:
    settings = {"ALPHAPULSE_DATABASE_URL": server_url}
    done = alphapulse(tmp_path, "run", "--rooms", "api", "--state", "state", **settings)

    assert "has schema None, this program needs" in one_line(done, 1)
