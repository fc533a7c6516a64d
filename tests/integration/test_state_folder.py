"""The state folder: one owner, one version, and what the commands beside it can read."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.store.state import Runtime, StateFolder, write_secret
from domain.errors import StateFolderError

ROOT = Path(__file__).parents[2]

OWNER = """
import sys
from pathlib import Path
from backend.store.state import Runtime, StateFolder

folder = StateFolder(Path(sys.argv[1]))
with folder.owned():
    folder.publish(Runtime(pid=1, database_url="postgresql://", api_host="h", api_port=8000))
    print("owned", flush=True)
    sys.stdin.read()
"""


@contextmanager
def owner_of(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the folder."""
    with subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", OWNER, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        yield process
        process.kill()


def runtime(port: int = 8000) -> Runtime:
    url = "postgresql://alphapulse:secret@127.0.0.1:5000/alphapulse"
    return Runtime(pid=os.getpid(), database_url=url, api_host="127.0.0.1", api_port=port)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_closed_to_others_and_says_its_version(tmp_path: Path) -> None:
    StateFolder(tmp_path / "new" / "state").open()

    assert (tmp_path / "new" / "state" / "version").read_text() == "1\n"
    assert mode(tmp_path / "new" / "state") == 0o700


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    StateFolder(tmp_path / "state").open()
    StateFolder(tmp_path / "state").open()

    assert [entry.name for entry in (tmp_path / "state").iterdir()] == ["version"]


def test_a_folder_of_another_version_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("2\n")

    with pytest.raises(
        StateFolderError, match="is of version '2', this program needs 1"
    ) as refused:
        StateFolder(tmp_path).open()

    assert "\n" not in str(refused.value)


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(StateFolderError, match="not empty and not a state folder"):
        StateFolder(tmp_path).open()

    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_empty_mounted_disk_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()

    StateFolder(tmp_path).open()

    assert (tmp_path / "version").exists()


def test_a_folder_may_hold_plugins_before_a_system_ran_on_it(tmp_path: Path) -> None:
    (tmp_path / "state/plugins").mkdir(parents=True)

    StateFolder(tmp_path / "state").open()

    assert (tmp_path / "state/version").exists()


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")

    with pytest.raises(StateFolderError, match="cannot be used"):
        StateFolder(tmp_path / "state").open()


def test_a_second_owner_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    with owner_of(tmp_path) as first:
        with pytest.raises(StateFolderError, match=f"in use by process {first.pid};") as refused:
            StateFolder(tmp_path).owned().__enter__()

        assert "\n" not in str(refused.value)


def test_a_second_owner_in_the_same_process_is_refused(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)

    with folder.owned(), pytest.raises(StateFolderError, match=f"process {os.getpid()}"):
        StateFolder(tmp_path).owned().__enter__()


def test_the_folder_is_free_after_its_owner_was_killed(tmp_path: Path) -> None:
    with owner_of(tmp_path) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()

        assert (tmp_path / "runtime.json").exists()
        assert StateFolder(tmp_path).attach() is None
        with StateFolder(tmp_path).owned():
            assert not (tmp_path / "runtime.json").exists()


def test_commands_beside_a_running_system_find_it(tmp_path: Path) -> None:
    with owner_of(tmp_path) as first:
        folder = StateFolder(tmp_path)
        found = folder.attach()

        assert found is not None
        assert found.api_port == 8000
        assert folder.owner() == first.pid


def test_what_is_published_is_read_back_and_closed_to_others(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    with folder.owned():
        folder.publish(runtime(8001))
        folder.publish(runtime(8002))

        assert folder.attach() == runtime(8002)
        assert mode(tmp_path / "runtime.json") == 0o600
    assert folder.attach() is None
    assert folder.owner() is None


def test_a_folder_that_does_not_exist_has_no_system(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "none")

    assert folder.attach() is None
    assert folder.owner() is None
    assert not (tmp_path / "none").exists()


def test_looking_for_the_owner_does_not_disturb_it(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    with folder.owned():
        assert folder.owner() == os.getpid()
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_secret_replaces_an_open_file_with_a_closed_one(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("old, and readable by all")
    (tmp_path / "secret").chmod(0o644)

    write_secret(tmp_path / "secret", "new")

    assert (tmp_path / "secret").read_text() == "new"
    assert mode(tmp_path / "secret") == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]
