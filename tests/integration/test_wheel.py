"""What is installed from a wheel is what the repository has."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from tests.conftest import ROOT

PACKAGES = ("alphapulse_testing", "backend", "collectors", "domain", "migrations", "services")


def tracked(*paths: str) -> list[str]:
    told = subprocess.run(  # noqa: S603 - our own arguments
        ["git", "ls-files", "-z", *paths],  # noqa: S607 - whichever git there is
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in told.stdout.split("\0") if name]


def test_a_wheel_has_every_file_of_the_packages(tmp_path: Path) -> None:
    for name in tracked():
        place = tmp_path / "source" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copyfile(ROOT / name, place)
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    subprocess.run(  # noqa: S603 - pip of this environment
        [sys.executable, "-m", "pip", *build, "--wheel-dir", tmp_path, tmp_path / "source"],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as opened:
        packed = set(opened.namelist())

    assert set(tracked(*PACKAGES)) <= packed
