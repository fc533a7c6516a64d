"""A restore drill: a system is backed up while it runs, lost, and goes on from the backup."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from backend.store.database import connect
from tests.processes import Exchange, System, alphapulse, running_run, until

HEADS = 'SELECT stream, max("offset") AS last FROM stream_events GROUP BY stream'


async def heads(database_url: str) -> dict[str, int]:
    connection = await connect(database_url)
    try:
        return {row["stream"]: row["last"] for row in await connection.fetch(HEADS)}
    finally:
        await connection.close()


@pytest.mark.long
def test_a_system_that_was_lost_goes_on_from_its_backup(tmp_path: Path, exchange: Exchange) -> None:
    lost, again = tmp_path / "lost", tmp_path / "again"
    for folder in (lost, again):
        folder.mkdir()
    with running_run(lost, exchange) as system:
        system.wait_until_ready()
        system.wait_for_ticks(3)
        saved = alphapulse(lost, "backup", str(tmp_path / "backup"), "--state", "state")
        later = system.wait_for_ticks(3)
        system.kill()
    restored = alphapulse(
        again, "restore", str(tmp_path / "backup"), "--verify", "--state", "state"
    )
    with running_run(again, exchange) as system:
        system.wait_until_ready()
        system.wait_for_ticks(3)
        begun = asyncio.run(heads(system.database_url()))
        verified = alphapulse(again, "verify", "--heads", str(tmp_path / "backup" / "heads.jsonl"),
                              "--state", "state")  # fmt: skip
        until(lambda: not missing(closes_of(system)), "the candles of the time between")
        closes = closes_of(system)
        assert system.stop() == 0

    assert saved.returncode == 0, saved.stderr
    assert (restored.returncode, restored.stderr) == (0, "")
    assert "every row, event and head is as it was" in restored.stdout
    assert "go through all" in verified.stdout, verified.stdout
    assert begun
    assert len(closes) == len(set(closes))
    assert max(closes) > later.timestamp()


def missing(closes: list[float]) -> set[int]:
    """The minutes between the first and the last that are none of them."""
    minutes = {round(one / 60) for one in closes}
    return {*range(min(minutes), max(minutes))} - minutes


def closes_of(system: System) -> list[float]:
    """Of the candles of one instrument, in seconds."""
    return asyncio.run(_closes_of(system.database_url()))


async def _closes_of(database_url: str) -> list[float]:
    connection = await connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT extract(epoch FROM close_time)::float8 AS at FROM candles"
            " WHERE timeframe = '1m' AND instrument_id ="
            " (SELECT instrument_id FROM instruments WHERE symbol = 'BTC/USDT')"
        )
        return [row["at"] for row in rows]
    finally:
        await connection.close()
