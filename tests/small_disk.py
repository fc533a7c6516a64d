"""A disk of a few megabytes that a test may fill up."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

PIECE: Final = 65_536
LEFT: Final = 2 * PIECE


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A file system of its own at `path`."""

    path: Path

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self) -> None:
        """Leave no room; what is written meanwhile takes the rest."""
        with self._ballast.open("ab", buffering=0) as ballast:
            while shutil.disk_usage(self.path).free > LEFT:
                ballast.write(bytes(PIECE))

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """A disk in memory; the test is skipped where none can be mounted."""
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if mount is None or unmount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # the database's own user is to reach it
        place = Path(folder, "disk")
        place.mkdir()
        asked = [mount, "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(place)]
        done = subprocess.run(asked, check=False, capture_output=True, text=True)  # noqa: S603 - ours
        if done.returncode:
            pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")
        try:
            yield SmallDisk(place)
        finally:
            # Lazily: whatever still works there must not keep the test from ending.
            subprocess.run([unmount, "--lazy", str(place)], check=True)  # noqa: S603 - ours
