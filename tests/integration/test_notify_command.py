"""`alphapulse notify` as an operator uses it, and secrets that none of its words repeat."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.integration.notified import Notified, notified
from tests.integration.test_sender import enter
from tests.processes import alphapulse, one_line
from tests.receiver import SECRET, TOKEN, Receiver, receiver, says

SETTINGS = """
[notify.channels.ops]
url = "{url}"
secret = "{secret}"
[notify.channels.phone]
apprise = "json://{token}@127.0.0.1:{port}/{token}"
"""


@pytest.fixture
async def record(database_url: str) -> AsyncIterator[Notified]:
    async with notified(database_url) as found:
        yield found


@pytest.fixture
async def found(tmp_path: Path) -> AsyncIterator[Receiver]:
    async with receiver() as made:
        about = {"url": made.url, "secret": SECRET, "token": TOKEN, "port": made.port}
        (tmp_path / "alphapulse.toml").write_text(SETTINGS.format(**about))
        yield made


async def notify(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command: Any = partial(alphapulse, folder, "notify", *arguments, **more)
    done: subprocess.CompletedProcess[str] = await asyncio.to_thread(command)
    assert TOKEN not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    return done


async def test_a_trial_goes_out_at_once_and_says_what_it_is(
    tmp_path: Path, found: Receiver
) -> None:
    done = await notify(tmp_path, "test", "ops")

    (got,) = found.got
    assert (done.returncode, done.stdout) == (0, f"ops took {got.id}\n")
    assert got.signed
    assert (got.json()["event"], got.json()["data"]) == (
        "test",
        {"detail": "a test; nothing happened"},
    )


async def test_a_trial_reaches_people_by_their_service(tmp_path: Path, found: Receiver) -> None:
    done = await notify(tmp_path, "test", "phone")

    (got,) = found.got
    assert done.stdout.startswith("phone took ")
    assert "a test; nothing happened" in got.json()["message"]


@pytest.mark.parametrize("channel", ["ops", "phone"])
async def test_a_trial_that_is_not_taken_is_one_line(
    tmp_path: Path, found: Receiver, channel: str
) -> None:
    found.answers.append(says(500))

    done = await notify(tmp_path, "test", channel)

    assert f"{channel} did not take it: " in one_line(done, 1)
    assert "HTTP 500" in done.stderr


async def test_dead_letters_are_listed_and_raised(
    tmp_path: Path, found: Receiver, record: Notified, database_url: str
) -> None:
    of = {"ALPHAPULSE_DATABASE_URL": database_url}
    first, second, third = await enter(record, "BTC/USDT", "ETH/USDT", "ADA/USDT")
    for number in (1, 2):
        await record.outbox.failed(number, "HTTP 500", again=record.clock.now(), dead=True)
    await record.outbox.sent(3, at=record.clock.now())

    every = await notify(tmp_path, "list", **of)
    dead = await notify(tmp_path, "list", "dead", **of)
    raised = await notify(tmp_path, "retry", second, **of)
    others = await notify(tmp_path, "retry", "--channel", "ops", **of)
    again = await notify(tmp_path, "retry", first, **of)

    lines = every.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [third, second, first]
    assert "sent 2024-01-01T00:00:00.000Z" in lines[0]
    assert [line.split()[0] for line in dead.stdout.splitlines()] == [second, first]
    assert "tries: 1, HTTP 500" in lines[1]
    assert (raised.stdout, others.stdout) == ("1 to be tried again\n", "1 to be tried again\n")
    assert [row["state"] for row in await record.rows()] == ["pending", "pending", "sent"]
    assert f"no dead letter has the id {first}" in again.stderr
    assert again.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("test", "opps"), "unknown channel 'opps'; nearest: ops"),
        (("retry",), "name dead letters by their ids"),
        (("retry", "--channel", "opps"), "unknown channel 'opps'"),
        (("list", "dad"), "unknown state 'dad'; nearest: dead"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, found: Receiver, arguments: tuple[str, ...], said: str
) -> None:
    assert said in one_line(await notify(tmp_path, *arguments), 2)


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ('apprise = "nowhere://hunter2"', "is no address of one service"),
        ('apprise = "json://a,json://hunter2"', "is no address of one service"),
        (f'url = "http://"\nsecret = "{SECRET}"', "notify.channels.desk: the url of a webhook"),
        (
            f'url = "http://[hunter2/"\nsecret = "{SECRET}"',
            "notify.channels.desk: the url of a webhook",
        ),
    ],
)
async def test_an_address_that_nobody_understands_is_refused_and_not_repeated(
    tmp_path: Path, planted: str, said: str
) -> None:
    (tmp_path / "alphapulse.toml").write_text(f"[notify.channels.desk]\n{planted}\n")

    told = one_line(await notify(tmp_path, "test", "desk"), 2)

    assert said in told
    assert "hunter2" not in told
