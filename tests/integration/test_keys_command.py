"""`alphapulse keys` as an operator uses it, on a database of yours and on a state folder."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from backend.store.database import connect
from domain.keys import ApiKey
from tests.processes import alphapulse, one_line


def rows_of(url: str, statement: str) -> list[asyncpg.Record]:
    async def read() -> list[asyncpg.Record]:
        connection = await connect(url)
        try:
            found: list[asyncpg.Record] = await connection.fetch(statement)
        finally:
            await connection.close()
        return found

    return asyncio.run(read())


@pytest.fixture
def of(database_url: str) -> dict[str, str]:
    """The environment of commands on a database of the test's own."""
    return {"ALPHAPULSE_DATABASE_URL": database_url}


def test_the_key_alone_goes_to_stdout_and_its_secret_into_no_table(
    tmp_path: Path, of: dict[str, str]
) -> None:
    flags = ("--scope", "read", "--instruments", "binance:*", "--quota", "5", "--expires", "90d")
    made = alphapulse(tmp_path, "keys", "create", "grafana", *flags, **of)

    key = ApiKey.parse(made.stdout.rstrip("\n"))
    (row,) = rows_of(of["ALPHAPULSE_DATABASE_URL"], "SELECT * FROM api_keys")
    (act,) = rows_of(of["ALPHAPULSE_DATABASE_URL"], "SELECT * FROM audit_log")
    assert made.returncode == 0
    assert key is not None
    assert key.secret not in made.stderr
    assert f"{key.id} valid   grafana: read of binance:*; 5 requests a minute" in made.stderr
    assert (row["key_id"], row["digest"], row["quota"]) == (key.id, key.digest(), 5)
    assert key.secret not in f"{row}{act}"
    assert (row["expires_at"] - row["created_at"]).days == 90
    assert (act["action"], act["path"], act["outcome"]) == ("keys create", key.id, 200)


def test_a_key_is_listed_revoked_once_and_told_of(tmp_path: Path, of: dict[str, str]) -> None:
    key = ApiKey.parse(alphapulse(tmp_path, "keys", "create", "mine", **of).stdout.strip())
    assert key is not None

    ended = alphapulse(tmp_path, "keys", "revoke", key.id, **of)
    again = alphapulse(tmp_path, "keys", "revoke", key.spelt(), **of)
    listed = alphapulse(tmp_path, "keys", "list", **of)
    told = alphapulse(tmp_path, "keys", "audit", **of)

    assert f"{key.id} revoked mine: read,stream of all" in ended.stdout
    assert ended.stdout == again.stdout == listed.stdout
    assert [line.split(" command ")[1].split()[2:4] for line in told.stdout.splitlines()] == [
        ["keys", "create"], ["keys", "revoke"], ["keys", "revoke"],
    ]  # fmt: skip
    assert key.secret not in ended.stdout + listed.stdout + told.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("create", "x", "--scope", "reed"), "unknown scope 'reed'; nearest: read"),
        (("create", "x", "--scope", ","), "a key has a scope: read, stream, operate"),
        (("create", "x", "--instruments", "BTC/USDT"), "write EXCHANGE:SYMBOL"),
        (("create", "x", "--instruments", ","), "no instruments are named"),
        (("create", "x", "--scope", "operate", "--instruments", "a:*"), "the whole system"),
        (("create", "x", "--expires", "0d"), "longer than no time"),
        (("create", "x", "--expires", "soon"), "not a duration"),
        (("create", "x", "--expires", "9999999d"), "longer than 100 years"),
        (("create", " "), "a name of one line"),
        (("create", "x", "--quota", "0"), "--quota"),
        (("revoke", "0123456789ab"), "unknown key '0123456789ab'"),
    ],
)
def test_what_cannot_be_is_one_line_and_makes_no_key(
    tmp_path: Path, of: dict[str, str], arguments: tuple[str, ...], expected: str
) -> None:
    assert expected in one_line(alphapulse(tmp_path, "keys", *arguments, **of), 2)
    assert rows_of(of["ALPHAPULSE_DATABASE_URL"], "SELECT * FROM api_keys") == []


def test_an_error_does_not_repeat_a_secret_that_was_typed(
    tmp_path: Path, of: dict[str, str]
) -> None:
    key = ApiKey.fresh()

    said = one_line(alphapulse(tmp_path, "keys", "revoke", f"x{key.spelt()}", **of), 2)

    assert f"ap_{key.id}_***" in said


def test_the_first_key_makes_the_state_folder_and_who_looks_does_not(tmp_path: Path) -> None:
    assert "no system has run" in one_line(alphapulse(tmp_path, "keys", "list"), 1)
    assert not (tmp_path / ".alphapulse").exists()

    made = alphapulse(tmp_path, "keys", "create", "first")

    assert made.returncode == 0, made.stderr
    assert "first" in alphapulse(tmp_path, "keys", "list").stdout
