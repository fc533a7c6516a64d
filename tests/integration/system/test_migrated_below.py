"""A newer program migrates the database below a running system, which goes on, and starts again."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from backend.store.database import connect
from backend.store.migrate import heads
from tests.integration.system.test_replica import STREAM, Follower
from tests.processes import Exchange, alphapulse, running_run, running_system
from tests.releases import EXPANDED


async def migrated_by_a_newer_program(url: str) -> None:
    """To a schema with more columns everywhere, which serves ours."""
    connection = await connect(url)
    try:
        async with connection.transaction():
            await connection.execute(EXPANDED)
            await connection.execute("UPDATE alembic_version SET version_num = '9999'")
            await connection.execute(f"COMMENT ON TABLE alembic_version IS 'serves {heads()[0]}'")
    finally:
        await connection.close()


@pytest.mark.long
async def test_what_runs_goes_on_and_starts_again_on_the_schema_of_a_newer_program(
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
        system.wait_for_ticks(2)
        await migrated_by_a_newer_program(system.database_url())
        system.wait_for_ticks(3)
        await follower.follow(beside.url, follower.head() + 3)
        assert beside.stop() == 0
        assert system.stop() == 0
    said = (tmp_path / "errors.log").read_text()
    with running_run(tmp_path, exchange) as again:
        again.wait_until_ready()
        again.wait_for_ticks(2)
        await follower.follow(again.url, follower.head() + 2)
        doctor = alphapulse(tmp_path, "doctor", "--state", "state")
        verified = alphapulse(tmp_path, "verify", "--state", "state")
        assert again.stop() == 0

    assert "Traceback" not in said, said
    assert "ok   schema: 9999, it is a newer program's" in doctor.stdout, doctor.stdout
    assert (verified.returncode, verified.stderr) == (0, ""), verified.stdout
    offsets = [offset for offset, _ in follower.events[STREAM]]
    assert offsets == list(range(1, len(offsets) + 1))
