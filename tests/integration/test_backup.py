"""A backup is what the record was at one moment, and what is restored is that to the row."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from backend.backup import back_up, restore
from backend.settings import Settings
from backend.store import dump, migrate
from backend.store.database import connect, create_database, drop_database
from domain.errors import StoreError, UsageError
from tests.releases import RELEASES
from tests.served_market import TICKS, ServedMarket

FILE = "a" * 64


@pytest.fixture
def settings(market_url: str, tmp_path: Path) -> Settings:
    """Of the market's database, with a file of a model in the state folder."""
    artifacts = tmp_path / "state" / "artifacts"
    artifacts.mkdir(parents=True)
    (artifacts / FILE).write_bytes(b"a model")
    return Settings(state=tmp_path / "state", database_url=SecretStr(market_url))


@pytest.fixture
async def empty(server_url: str, tmp_path: Path) -> AsyncIterator[Settings]:
    """Of a database and a state folder with nothing in them."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    url = await create_database(server_url, name)
    yield Settings(state=tmp_path / "again", database_url=SecretStr(url))
    await drop_database(server_url, name)


async def test_what_is_restored_is_what_was_there_though_ticks_went_on(
    market: ServedMarket,
    settings: Settings,
    empty: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def ticks() -> None:
        for number in range(TICKS, TICKS + 10):
            await market.commit(number)

    await asyncio.gather(back_up(settings, tmp_path / "backup"), ticks())
    after = await market.commit(TICKS)
    found = await restore(empty, tmp_path / "backup", verify=True)

    assert (found, after) == (0, [])
    assert "every row, event and head is as it was" in capsys.readouterr().out
    assert (tmp_path / "again" / "artifacts" / FILE).read_bytes() == b"a model"


async def test_rows_that_are_missing_after_it_are_named(
    settings: Settings,
    empty: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await back_up(settings, tmp_path / "backup")

    async def lossy(url: str, file: Path, *, server: int) -> None:
        await dump.load(url, file, server=server)
        connection = await connect(url)
        await connection.execute(
            "DELETE FROM candles WHERE close_time = (SELECT max(close_time) FROM candles)"
        )
        await connection.execute(
            "UPDATE stream_blocks SET published_at = published_at - '1 s'::"
            "interval WHERE block = 3 AND log LIKE 'signals.%'"
        )
        await connection.close()

    monkeypatch.setattr("backend.backup.load", lossy)
    found = await restore(empty, tmp_path / "backup", verify=True)
    said = capsys.readouterr().out

    assert found == 1
    assert "table candles: 87 rows, the backup has 90" in said
    assert "offset 3: its content does not give its hash" in said


async def test_a_backup_of_a_past_release_is_migrated_and_verified(empty: Settings) -> None:
    assert await restore(empty, RELEASES[0].backup, verify=True) == 0


async def test_a_database_of_another_schema_is_left_to_its_program(
    settings: Settings, market_url: str, tmp_path: Path
) -> None:
    await asyncio.to_thread(migrate.downgrade, market_url, "-1")

    with pytest.raises(StoreError, match="back it up with the program that runs on it"):
        await back_up(settings, tmp_path / "backup")


@pytest.mark.parametrize("altered", ["database.dump", f"artifacts/{FILE}", "heads.jsonl"])
async def test_a_backup_that_is_not_as_it_was_written_is_refused(
    settings: Settings, empty: Settings, tmp_path: Path, altered: str
) -> None:
    await back_up(settings, tmp_path / "backup")
    with (tmp_path / "backup" / altered).open("ab") as file:
        file.write(b"\n")

    with pytest.raises(UsageError, match=f"{altered} is missing, or not as it was written"):
        await restore(empty, tmp_path / "backup", verify=False)

    assert not empty.state.exists()


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (b"\xff", "has no manifest.json to be read"),
        (b"[1]", "of layout None, not 1"),
        (b'{"layout": 1}', "manifest.json is not as it was written"),
        (b'{"layout": 1, "sha256": []}', "manifest.json is not as it was written"),
        (
            b'{"layout": 1, "version": "", "made_at": "", "newest": null, "schema": "",'
            b' "rows": {}, "sha256": {}}',
            "database.dump is missing",
        ),
    ],
)
async def test_a_manifest_that_is_none_is_one_line(
    empty: Settings, tmp_path: Path, manifest: bytes, said: str
) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest)

    with pytest.raises(UsageError, match=said):
        await restore(empty, tmp_path, verify=False)


async def test_nothing_is_written_over(settings: Settings, tmp_path: Path) -> None:
    await back_up(settings, tmp_path / "backup")

    with pytest.raises(UsageError, match="exists; name another folder"):
        await back_up(settings, tmp_path / "backup")
    used = settings.model_copy(update={"state": tmp_path / "again"})
    with pytest.raises(UsageError, match="has tables; restore into an empty one"):
        await restore(used, tmp_path / "backup", verify=False)
    with pytest.raises(UsageError, match="is no backup"):
        await restore(settings, tmp_path, verify=False)


async def test_a_database_that_no_system_has_used_has_no_backup(
    empty: Settings, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="no system has used it"):
        await back_up(empty, tmp_path / "backup")

    assert not (tmp_path / "backup").exists()


async def test_a_dump_that_fails_says_why_without_the_password(
    settings: Settings, tmp_path: Path
) -> None:
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    with pytest.raises(StoreError, match=r"pg_dump failed: .*invalid snapshot identifier") as error:
        await dump.dump(url, "none", tmp_path / "dump", server=18)

    assert (dump.without_password(url)[1] or "") not in str(error.value)


async def test_the_password_of_a_key_is_on_no_command_line(tmp_path: Path) -> None:
    url = "postgresql://localhost/one?sslkey=a.key&sslpassword=hunter2"
    with pytest.raises(UsageError, match="name a key without a password") as error:
        await dump.dump(url, "none", tmp_path / "dump", server=15)

    assert "hunter2" not in str(error.value)


def test_a_server_that_is_newer_than_all_programs_is_refused() -> None:
    with pytest.raises(StoreError, match="no pg_dump of PostgreSQL 99 or newer"):
        dump.find_programs(99)


def test_the_oldest_programs_that_know_the_server_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for major in (16, 18, 20):
        for program in dump.PROGRAMS:
            file = tmp_path / str(major) / program
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {major}.1'\n")
            file.chmod(0o755)
    folders = [tmp_path / "20", tmp_path / "16", tmp_path / "18"]
    monkeypatch.setattr(dump, "_folders", lambda: iter(folders))

    assert [dump.find_programs(one).name for one in (15, 16, 17, 18, 19)] == [
        "16", "16", "18", "18", "20",
    ]  # fmt: skip
