"""A system that is killed goes on over what is stored as columns, and accounts for every close."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from tests.account import complaints
from tests.integration.system.conftest import exchange  # noqa: F401 - by its name
from tests.processes import HTTP, Exchange, alphapulse, running_run, until
from tests.timescale.conftest import packed

pytestmark = pytest.mark.timescale
LEARNING = {
    "ALPHAPULSE_TRAINING__MINIMUM_ROWS": "150",
    "ALPHAPULSE_TRAINING__EVERY_BARS": "1000000",
    "ALPHAPULSE_TRAINING__KINDS": '["logistic.direction"]',
}


def test_a_killed_system_goes_on_over_packed_rows(
    tmp_path: Path,
    database_url: str,
    exchange: Exchange,  # noqa: F811
) -> None:
    settings = {**LEARNING, "ALPHAPULSE_DATABASE_URL": database_url}
    with running_run(tmp_path, exchange, **settings) as system:
        system.wait_until_ready()
        system.wait_for_ticks(3)
        asked = HTTP.post(f"{system.url}/v1/retrains", json={"horizon": 4})
        system.kill(server=False)
    later = exchange.now() + timedelta(days=60)
    asyncio.run(packed(database_url, later))
    with running_run(tmp_path, exchange, **settings) as system:
        system.wait_until_ready()
        system.wait_for_ticks(6)
        asyncio.run(packed(database_url, later))  # while it writes
        system.wait_for_ticks(3)
        place = f"{system.url}{asked.headers['location']}"
        until(lambda: HTTP.get(place).json()["data"][0]["state"] == "done", "the training")
        found = complaints(system, exchange)
        assert system.stop() == 0
    commands = (("doctor",), ("verify",), ("features", "audit"))
    said = [
        alphapulse(tmp_path, *one, "--state", "state", ALPHAPULSE_DATABASE_URL=database_url)
        for one in commands
    ]

    assert found == []
    assert [one.returncode for one in said] == [0, 0, 0], said
    assert "with its columnstore" in said[0].stdout
    assert "no differences" in said[2].stdout
