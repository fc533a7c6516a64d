"""Plant each pitfall in a copy of the repository, and see its tests fail.

Run as `python -m tests.pitfalls [WORD …]`; words choose by name.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.pitfalls.table import PITFALLS, Pitfall

ROOT = Path(__file__).parents[2]
FAILED = 1  # pytest: some tests failed; other codes say that none ran, or not as they should


def main(words: list[str]) -> int:
    """Print a line for each; 1 where a pitfall went unnoticed."""
    chosen = [one for one in PITFALLS if not words or any(word in one.name for word in words)]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        copied(copy)
        unnoticed = [one.name for one in chosen if not noticed(copy, one)]
    sys.stdout.write(f"{len(chosen) - len(unnoticed)} of {len(chosen)} pitfalls are noticed\n")
    return 1 if unnoticed else 0


def copied(to: Path) -> None:
    """The tracked files as they are now."""
    listed = subprocess.run(
        ["git", "ls-files"],  # noqa: S607 - whichever git this machine has
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        place = to / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place)


def noticed(copy: Path, pitfall: Pitfall) -> bool:
    """Whether its tests pass without it and fail with it."""
    file = copy / pitfall.file
    sound = file.read_text()
    began = time.monotonic()
    before = _tested(copy, pitfall)
    file.write_text(sound.replace(pitfall.sound, pitfall.planted))
    after = _tested(copy, pitfall)
    file.write_text(sound)
    red = before == 0 and after == FAILED
    said = "noticed" if red else f"NOT noticed (pytest ended with {before}, then {after})"
    sys.stdout.write(f"{pitfall.name}: {said}, {time.monotonic() - began:.0f} s\n")
    sys.stdout.flush()
    return red


def _tested(copy: Path, pitfall: Pitfall) -> int:
    command = [sys.executable, "-m", "pytest", "-x", "-q", *shlex.split(pitfall.tests)]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    ended = subprocess.run(command, cwd=copy, env=environment, capture_output=True, check=False)  # noqa: S603 - our own tests
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
