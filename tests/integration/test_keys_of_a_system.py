"""A system that other machines reach: no start without a key, and no secret in what it says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from domain.keys import ApiKey
from tests.processes import HTTP, alphapulse, one_line, running_system, until

OPEN = {"ALPHAPULSE_HOST": "0.0.0.0", "ALPHAPULSE_HISTORY_BARS": "200"}  # noqa: S104 - what is tested

# An order that comes before all is loaded (between two pieces of it nothing is loading), or after.
UNTAKEN = ("has not taken it yet", "no system runs", "unknown exchange", "unknown symbol")


def test_an_address_that_others_reach_needs_a_valid_key(tmp_path: Path) -> None:
    said = one_line(alphapulse(tmp_path, "demo", "--port", "0", **OPEN), 2)
    assert "alphapulse keys create NAME" in said
    assert not (tmp_path / ".alphapulse").exists()

    made = alphapulse(tmp_path, "keys", "create", "first")
    alphapulse(tmp_path, "keys", "revoke", made.stdout.strip())
    said = one_line(alphapulse(tmp_path, "demo", "--port", "0", **OPEN), 2)
    assert "no valid key" in said


def test_keys_are_asked_for_commands_need_none_and_no_log_tells_a_secret(tmp_path: Path) -> None:
    made = alphapulse(tmp_path, "keys", "create", "first", "--state", "state")
    key = ApiKey.parse(made.stdout.strip())
    assert key is not None
    wrong = ApiKey.fresh()

    with running_system(tmp_path, "demo", ALPHAPULSE_API__REQUIRE_KEYS="true", **OPEN) as system:
        url = system.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - where it listens
        status = f"{url}/v1/status"
        shown = {"Authorization": f"Bearer {key.spelt()}"}
        until(lambda: HTTP.get(status, headers=shown).status_code == httpx.codes.OK, "the store")
        assert HTTP.get(status).status_code == httpx.codes.UNAUTHORIZED
        for one in (key, wrong):
            mistaken = {"Authorization": f"Basic {one.spelt()}", "X-Api-Key": one.spelt()}
            assert HTTP.get(f"{status}?key={one.spelt()}", headers=mistaken).is_client_error
            assert HTTP.get(f"{url}/v1/{one.spelt()}", headers=shown).is_client_error
            asked = HTTP.get(f"{url}/v1/candles?symbol={one.spelt()}", headers=shown)
            assert one.secret not in asked.text
            with pytest.raises(ConnectionClosed), _socket(url, one.spelt()) as socket:
                socket.recv(60)

        told = alphapulse(tmp_path, "instruments", "add", "X/Y", "--state", "state")
        refused = HTTP.get(status, headers={"Authorization": f"Bearer {wrong.spelt()}"})
        alphapulse(tmp_path, "keys", "revoke", key.id, "--state", "state")
        until(lambda: HTTP.get(status, headers=shown).status_code == 401, "the end of the key")
        settings = alphapulse(tmp_path, "settings")
        system.stop()

    assert any(words in told.stdout + told.stderr for words in UNTAKEN), told.stderr
    assert refused.json()["code"] == "unauthorized"
    said = [system.errors.read_text(), *system.said, settings.stdout, told.stderr, refused.text]
    for one in (key, wrong):
        assert one.secret not in "".join(said)


@contextlib.contextmanager
def _socket(url: str, secret: str) -> Iterator[ClientConnection]:
    address = f"{url.replace('http', 'ws')}/ws?token={secret}"
    with connect(address, open_timeout=60) as socket:
        socket.send('{"method": "auth", "params": {"token": "wrong"}}')
        yield socket
