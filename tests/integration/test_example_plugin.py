"""The template of a plug-in, installed and run as its reader would."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from backend.models import Wanted, reproduce_model
from backend.plugins import catalogue_of
from backend.replay import Replay, ReplayPlan
from backend.settings import Settings
from backend.store import database
from backend.store.registry import Registry
from backend.wiring import open_store
from tests.processes import environment
from tests.scenarios.market import H1, HORIZON, planted

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/plugin"
MODEL = "naive_bayes.direction"
BESIDE = "plain.direction"  # the same without the feature set of the template


def run(folder: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@dataclass(frozen=True)
class Installed:
    """A copy of the template, and where its package was installed."""

    source: Path
    path: str  # as PYTHONPATH has it


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Without a network: nothing but the package itself is built and installed."""
    folder = tmp_path_factory.mktemp("example")
    source, target = folder / "plugin", folder / "packages"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    built = run(
        source, "pip", "install", "--no-deps", "--no-build-isolation", "--no-index",
        "--disable-pip-version-check", "--target", str(target), ".",
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return Installed(source, os.pathsep.join([str(target), str(ROOT)]))


def test_its_own_tests_pass(installed: Installed) -> None:
    (installed.source / "pytest.ini").write_text("[pytest]\n")

    tested = run(installed.source, "pytest", "-q", "tests", PYTHONPATH=installed.path)

    assert tested.returncode == 0, tested.stdout


@pytest.mark.parametrize(
    "name", ["naive_bayes", "tempo", "ohlcv2", "patience", "leader", "notices"]
)
def test_it_is_found_and_passes_its_check(installed: Installed, tmp_path: Path, name: str) -> None:
    checked = run(tmp_path, "backend", "plugins", "check", name, PYTHONPATH=installed.path)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{name} of alphapulse-example 0.1.0: " in checked.stdout.splitlines()[-1]


def test_what_fails_is_named_among_what_passes(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    text = (EXAMPLE / "alphapulse_example/naive_bayes.py").read_text()
    halved = text.replace(
        "where(known.any(axis=1, keepdims=True), chances,", "where(True, chances / 2,"
    )
    (tmp_path / "plugins/naive_bayes.py").write_text(f"{halved}\nPLUGIN = KIND\n")

    checked = run(tmp_path, "backend", "plugins", "check", "naive_bayes", "--state", ".")

    assert checked.returncode == 1
    first, *_, last = checked.stdout.splitlines()
    assert first == f"FAIL {MODEL}: a forecast is well formed: probabilities do not sum to 1"
    assert f"ok   {MODEL}: no rows give no forecasts" in checked.stdout
    checks = [line for line in checked.stdout.splitlines() if line[:4] in {"FAIL", "ok  "}]
    failed = sum(line.startswith("FAIL") for line in checks)
    assert 0 < failed < len(checks)
    assert last.endswith(f": {failed} of {len(checks)} checks failed")


@dataclass(frozen=True)
class Replayed:
    """Where a replay with the template's files as plug-ins has left its rows."""

    settings: Settings
    rows: dict[str, dict[str, Any]]  # of the models' newest versions, as registered
    said: dict[str, int]  # closes that each predicted live

    @property
    def row(self) -> dict[str, Any]:
        return self.rows[MODEL]


@pytest.fixture(scope="module")
def replayed(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayed]:
    """Its two files, as they are, in the state folder."""
    state = tmp_path_factory.mktemp("state")
    (state / "plugins").mkdir()
    for name, registered in (("naive_bayes", "KIND"), ("tempo", "TEMPO")):
        text = (EXAMPLE / "alphapulse_example" / f"{name}.py").read_text()
        (state / "plugins" / f"{name}.py").write_text(f"{text}\nPLUGIN = {registered}\n")
    url = asyncio.run(database.create_database(server_url, "test_example"))
    training = {
        "kinds": [MODEL, BESIDE],
        "features": ["tempo"],
        "variants": {
            "plain": {"kind": "naive_bayes", "trials": 1, "features": [], "direction": {}}
        },
        "minimum_rows": 300,
        "every_bars": 100,
    }
    settings = Settings(state=state, database_url=SecretStr(url), training=training)
    yield asyncio.run(_replayed(settings, url))
    asyncio.run(database.drop_database(server_url, "test_example"))


async def _replayed(settings: Settings, url: str) -> Replayed:
    plan = ReplayPlan(
        data=Path(),
        exchange=None,
        symbols=None,
        timeframe=H1.value,
        horizon=HORIZON,
        since=None,
        until=None,
        seed=11,
        report=Path(),
        out=None,
    )
    series = planted(550, symbols=("BTC/USDT", "ETH/USDT"))
    artifacts = settings.state / "artifacts"
    async with open_store(url, artifacts, catalogue_of(settings.plugins), durable=False) as store:
        await Replay(plan, settings, store, H1).run(series)
        rows = await Registry(store.writers).versions()
        said = await store.readers.fetch(
            "SELECT model, count(DISTINCT as_of) AS closes FROM ml_predictions"
            " WHERE model = ANY($1) AND origin = 'live' GROUP BY model",
            [MODEL, BESIDE],
        )
    newest = {row["name"]: row for row in rows}
    return Replayed(settings, newest, {row["model"]: row["closes"] for row in said})


def test_it_is_fitted_in_a_worker_process_and_says_where_it_came_from(replayed: Replayed) -> None:
    environment, params = replayed.row["environment"], replayed.row["params"]

    assert replayed.row["name"] == MODEL
    assert environment.keys() == {"numpy", "plugins/naive_bayes.py", "plugins/tempo.py"}
    assert params["features"] == ["tempo@1"]
    assert replayed.said[MODEL] > 50


def test_models_on_two_feature_sets_predict_side_by_side_with_a_seat_each(
    replayed: Replayed,
) -> None:
    beside = replayed.rows[BESIDE]

    assert "features" not in beside["params"]
    assert beside["environment"].keys() == {"numpy", "plugins/naive_bayes.py"}
    assert beside["artifact_sha256"] != replayed.row["artifact_sha256"]
    assert all(row["aliases"] for row in replayed.rows.values())
    assert replayed.said[BESIDE] == replayed.said[MODEL]


def test_it_is_fitted_again_to_the_bit(
    replayed: Replayed, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = Wanted.parse(MODEL, None, None, None)

    assert asyncio.run(reproduce_model(wanted, replayed.settings)) == 0
    assert "the same artifact" in capsys.readouterr().out
