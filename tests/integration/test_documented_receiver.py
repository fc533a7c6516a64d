"""The receiver of docs/notifications.md does what the page says of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.notify.webhook import signature
from backend.setting_tables import webhook_key
from services.notifications.events import EVENTS
from tests import house
from tests.documented_receiver import PAGE, Listening, listening
from tests.processes import HTTP, alphapulse
from tests.receiver import SECRET


@pytest.fixture(scope="module")
def receiver() -> Iterator[Listening]:
    with listening() as found:
        yield found


def test_it_takes_what_we_send(receiver: Listening, tmp_path: Path) -> None:
    channel = f'[notify.channels.ops]\nurl = "{receiver.url}"\nsecret = "{SECRET}"\n'
    (tmp_path / "alphapulse.toml").write_text(channel)

    done = alphapulse(tmp_path, "notify", "test", "ops")

    assert (done.returncode, done.stderr) == (0, "")
    assert receiver.said[-1] == "test ops"


def test_it_passes_over_what_it_has_seen_and_refuses_what_is_not_ours(receiver: Listening) -> None:
    body, moment = b'{"event": "gap.opened", "subject": "x"}', int(time.time())

    def post(identity: str, at: int, *, signed: bytes = body) -> int:
        headers = {
            "webhook-id": identity,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(webhook_key(SECRET), identity, at, signed),
        }
        return HTTP.post(receiver.url, content=body, headers=headers).status_code

    before = len(receiver.said)
    assert [post("a", moment), post("a", moment + 1), post("b", moment)] == [204] * 3
    assert post("c", moment, signed=b"{}") == 401
    assert post("d", moment - 3_600) == 401
    assert receiver.said[before:] == ["gap.opened x"] * 2


def test_the_page_lists_every_event_with_what_it_means() -> None:
    assert dict(house.table(PAGE, "## Events")) == EVENTS
