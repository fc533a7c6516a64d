"""An MLflow server has what the registry has, or is told of once and left alone."""

from __future__ import annotations

import logging
import sqlite3
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.mirror import EVERY_S, Mirror, MirrorError, MirrorOrder, mirror
from backend.store.registry import Decision
from backend.wiring import Store, open_store
from tests.integration.store_samples import at
from tests.integration.test_altered_artifacts import logistic
from tests.integration.test_store_registry import version
from tests.processes import alphapulse

NOBODY = "http://127.0.0.1:1"
ID = "binance.1hx4.logistic.direction"


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    """Two versions of a kind; the second is on trial."""
    async with open_store(database_url, tmp_path / ".alphapulse" / "artifacts") as store:
        for strength in (0.1, 0.2):
            sha256 = store.artifacts.save(logistic(strength))
            seat = replace(version().seat, name="logistic.direction")
            await store.registry.register(
                replace(version(), seat=seat, artifact_sha256=sha256, n_trials=30)
            )
        await store.registry.challenge(decision(2))
        yield store


def decision(number: int) -> Decision:
    return Decision(
        seat=replace(version().seat, name="logistic.direction"),
        champion_version=None,
        challenger_version=number,
        verdict="promote",
        trigger="challenge",
        decided_at=at(7),
    )


def copied(folder: Path, url: str) -> str:
    done = alphapulse(
        folder, "models", "mirror", "--to", "sqlite:///mlflow.db", ALPHAPULSE_DATABASE_URL=url
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def there(folder: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(folder / "mlflow.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


ALIASES = "SELECT alias, version FROM registered_model_aliases ORDER BY alias"
VERSIONS = "SELECT name, version FROM model_versions ORDER BY version"
RUNS = "SELECT count(*) FROM runs WHERE status = 'FINISHED'"


@pytest.mark.long
async def test_what_is_registered_is_there_once_with_its_aliases(
    store: Store, tmp_path: Path
) -> None:
    first = copied(tmp_path, store.url)
    again = copied(tmp_path, store.url)
    on_trial = there(tmp_path, ALIASES)
    await store.registry.promote(decision(2), effective_from=at(8))
    promoted = copied(tmp_path, store.url)

    assert first.startswith("2 versions were copied")
    assert again.startswith("0 versions were copied")
    assert promoted.startswith("0 versions were copied")
    assert there(tmp_path, VERSIONS) == [(ID, 1), (ID, 2)]
    assert there(tmp_path, RUNS) == [(2,)]
    assert on_trial == [("challenger", 2)]
    assert there(tmp_path, ALIASES) == [("champion", 2)]
    params = dict(there(tmp_path, "SELECT DISTINCT key, value FROM params"))
    assert params["n_trials"] == "30"
    metrics = {name for (name,) in there(tmp_path, "SELECT DISTINCT key FROM metrics")}
    assert {"train_seconds", "n_effective"} <= metrics
    kept = {path.name for path in (tmp_path / "mlruns").rglob("*") if path.is_file()}
    rows = await store.registry.versions()
    assert {row["artifact_sha256"] for row in rows} <= kept


@pytest.mark.long
async def test_a_copying_that_was_cut_short_is_gone_on_with(store: Store, tmp_path: Path) -> None:
    copied(tmp_path, store.url)
    connection = sqlite3.connect(tmp_path / "mlflow.db")
    for table in ("registered_model_aliases", "model_version_tags", "model_versions"):
        connection.execute(f"DELETE FROM {table} WHERE version = 2")  # noqa: S608 - words of ours
    connection.commit()
    connection.close()

    assert copied(tmp_path, store.url).startswith("1 versions were copied")
    assert there(tmp_path, VERSIONS) == [(ID, 1), (ID, 2)]
    assert there(tmp_path, RUNS) == [(2,)]
    assert there(tmp_path, ALIASES) == [("challenger", 2)]


@pytest.mark.long
async def test_a_server_that_is_gone_is_told_of_once_and_asked_ever_more_rarely(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    order = MirrorOrder(database_url=store.url, artifacts=tmp_path, uri=NOBODY)
    beside = Mirror(order=order, pool=store.readers)

    with caplog.at_level(logging.WARNING):
        await beside.look()
        await beside.look()

    (told,) = [one for one in caplog.records if one.name == "backend.mirror"]
    assert told.message == "the registry is mirrored later"
    assert "\n" not in told.__dict__["reason"]
    assert beside._pause_s == 4 * EVERY_S


async def test_whatever_goes_wrong_with_it_ends_nothing_else(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    order = MirrorOrder(database_url="postgresql://127.0.0.1:1/x", artifacts=tmp_path, uri=NOBODY)
    beside = Mirror(order=order, pool=store.readers)

    with caplog.at_level(logging.WARNING):
        await beside.look()

    assert "the registry is mirrored later" in caplog.text


def test_without_the_library_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    order = MirrorOrder(database_url="", artifacts=tmp_path, uri=NOBODY)

    with pytest.raises(MirrorError, match=r"install alphapulse\[mlflow\]"):
        mirror(order)
