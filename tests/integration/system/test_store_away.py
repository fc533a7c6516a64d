"""A whole system whose database cannot be written: it says so, and comes back by itself."""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.store import database
from tests.account import complaints
from tests.processes import HTTP, Exchange, System, alphapulse, running_run, running_system, until
from tests.small_disk import small_disk
from tests.tcp_proxy import proxied

DISK_MB = 512
SINCE = re.compile(r"since (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z)")


def until_it_says(system: System, words: str) -> dict[str, Any]:
    """The answer of /readyz with which it calls the database unfit, and says why."""
    answers: list[dict[str, Any]] = []

    def said() -> bool:
        code, answer = system.ready()
        answers.append(answer)
        return code == httpx.codes.SERVICE_UNAVAILABLE and words in answer["detail"]

    until(said, f"{words!r} of /readyz")
    assert answers[-1]["code"] == "unavailable"
    assert SINCE.search(answers[-1]["detail"])
    return answers[-1]


def until_it_is_well(system: System, exchange: Exchange) -> None:
    """Ready again, and nothing lost or doubled meanwhile."""
    system.wait_until_ready()
    system.wait_for_ticks(8)
    until(lambda: troubles_of(system) == [], "that nothing troubles it")
    assert complaints(system, exchange) == []
    assert system.stop() == 0


def troubles_of(system: System) -> list[Any]:
    (status,) = HTTP.get(f"{system.url}/v1/status").json()["data"]
    return list(status["troubles"])


async def execute(url: str, *statements: str) -> None:
    connection = await database.connect(url)
    try:
        for one in statements:
            await connection.execute(one)
    finally:
        await connection.close()


@pytest.mark.long
def test_a_database_that_is_made_read_only(tmp_path: Path, exchange: Exchange) -> None:
    with running_run(tmp_path, exchange) as system:
        system.wait_until_ready()
        url = system.database_url()
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        others += "WHERE pid <> pg_backend_pid()"
        off = "ALTER DATABASE alphapulse SET default_transaction_read_only = on"
        asyncio.run(execute(url, off, others))
        until_it_says(system, "read only")
        told = alphapulse(tmp_path, "doctor", "--state", "state")
        served = HTTP.get(f"{system.url}/v1/predictions/latest")
        on = "ALTER DATABASE alphapulse RESET default_transaction_read_only"
        asyncio.run(execute(url, "SET default_transaction_read_only = off", on))

        assert (told.returncode, told.stderr) == (1, "")
        assert re.search(r"WARN database: .*read only", told.stdout)
        assert re.search(r"WARN running system: process \d+; database: .*read only", told.stdout)
        assert SINCE.search(told.stdout)
        assert served.status_code == httpx.codes.OK
        until_it_is_well(system, exchange)
        well = alphapulse(tmp_path, "doctor", "--state", "state")
        assert "ok   database: PostgreSQL" in well.stdout or system.process.poll() is not None


@pytest.mark.long
def test_a_disk_that_is_full(exchange: Exchange) -> None:
    with small_disk(DISK_MB) as disk, running_run(disk.path, exchange) as system:
        system.wait_until_ready()
        disk.fill()
        until_it_says(system, "No space left on device")
        exchange.wait_until(exchange.now() + 10 * exchange.second)
        until_it_says(system, "")
        disk.free()

        until_it_is_well(system, exchange)


@pytest.mark.long
def test_a_database_that_answers_slowly(
    tmp_path: Path, exchange: Exchange, server_url: str, template: str
) -> None:
    name = "test_slow"
    asyncio.run(database.create_database(server_url, name, template=template))
    try:
        with proxied(database.with_database(server_url, name)) as proxy:
            named = {"ALPHAPULSE_DATABASE_URL": proxy.url}
            beside = tmp_path / "beside"
            beside.mkdir()
            with ExitStack() as stack:
                system = stack.enter_context(running_run(tmp_path, exchange, **named))
                system.wait_until_ready()
                reads = running_system(beside, "run", "--rooms", "api", **named)
                server = stack.enter_context(reads)
                server.wait_until_ready()
                proxy.delay_s = 4.0
                until_it_says(system, "has taken")
                proxy.delay_s, proxy.held = 0.0, True
                until_it_says(system, "has taken")
                until_it_says(server, "TimeoutError")
                proxy.held = False
                server.wait_until_ready()

                until_it_is_well(system, exchange)
    finally:
        asyncio.run(database.drop_database(server_url, name))
