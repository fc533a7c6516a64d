"""Copies the registry to an MLflow server: runs, versions and aliases, for those who look there."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import asyncpg

from backend.background import Rounds
from backend.executor import ProcessExecutor
from backend.store.database import CONNECTION_ERRORS, connect_pool
from backend.store.registry import Registry
from domain.errors import AlphaPulseError, ArtifactError, in_one_line
from domain.market import rfc3339, to_ms
from services.models.artifacts import ArtifactStore

log = logging.getLogger(__name__)

EXPERIMENT: Final = "alphapulse"
ID: Final = "alphapulse.id"  # the tag by which a version is found again
ALIASES: Final = ("champion", "challenger", "previous")
AT_MOST_S: Final = 600.0  # wall seconds of one copying
EVERY_S: Final = 60.0  # between two looks at the registry
LATEST_S: Final = 3_600.0  # after failures the pause doubles up to this
_ENVIRONMENT: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
_STATE: Final = """
SELECT (SELECT max(model_id) FROM ml_models_metadata), (SELECT count(*) FROM model_aliases),
       (SELECT max(set_at) FROM model_aliases)
"""


class MirrorError(AlphaPulseError):
    """The registry cannot be copied there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorOrder:
    """What to copy, and where to."""

    database_url: str
    artifacts: Path
    uri: str


def mirror(order: MirrorOrder) -> int:
    """Copy every version that is not there yet, and let the aliases stand as ours; how many.

    A version is found again by a tag, so that repeating it, or going on after a kill, changes
    nothing. Nothing there is ever removed but aliases.

    Raises:
        MirrorError: the library is absent, or the server does not do what it should.
        StoreUnavailableError: our database does not answer.
    """
    if find_spec("mlflow") is None:
        raise MirrorError("a mirror needs mlflow: install alphapulse[mlflow]")
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    rows = asyncio.run(_rows(order.database_url))
    mlflow = importlib.import_module("mlflow")
    try:
        client = mlflow.MlflowClient(tracking_uri=order.uri, registry_uri=order.uri)
        there = _There(client, ArtifactStore(order.artifacts))
        return sum(there.take(name, list(versions)) for name, versions in _by_model(rows))
    except (mlflow.exceptions.MlflowException, OSError) as error:
        lines = str(error).splitlines()
        raise MirrorError(lines[0] if lines else type(error).__name__) from error


async def _rows(url: str) -> list[dict[str, Any]]:
    pool = await connect_pool(url, size=1, read_only=True)
    try:
        return await Registry(pool).versions()
    finally:
        await pool.close()


def _by_model(
    rows: Iterable[Mapping[str, Any]],
) -> Iterator[tuple[str, Iterator[Mapping[str, Any]]]]:
    """The versions of each model, oldest first, by a name that MLflow takes."""
    named = sorted(rows, key=lambda row: (model_name(row), row["version"]))
    return groupby(named, key=model_name)


def model_name(row: Mapping[str, Any]) -> str:
    """`binance.1hx4.lightgbm.direction`."""
    return f"{row['exchange']}.{row['timeframe']}x{row['horizon']}.{row['name']}"


def version_id(row: Mapping[str, Any]) -> str:
    """Of a version: another database may have one of the same number, and not of its bytes."""
    return f"{model_name(row)}@{row['version']}:{row['artifact_sha256'][:12]}"


class _There:
    """An MLflow server.

    Args:
        client: of it.
        artifacts: ours.
    """

    def __init__(self, client: Any, artifacts: ArtifactStore) -> None:  # noqa: ANN401 - imported late
        self._client, self._artifacts = client, artifacts
        found = client.get_experiment_by_name(EXPERIMENT)
        self._experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)

    def take(self, name: str, rows: list[Mapping[str, Any]]) -> int:
        """All versions of one model; how many were not there."""
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        found = self._client.search_model_versions(f"name = '{name}'")
        there = {one.tags[ID]: one.version for one in found if ID in one.tags}
        new = [row for row in rows if version_id(row) not in there]
        for row in new:
            there[version_id(row)] = self._version(name, row)
        wanted = {alias: there[version_id(row)] for row in rows for alias in row["aliases"]}
        self._alias(name, wanted)
        return len(new)

    def _version(self, name: str, row: Mapping[str, Any]) -> str:
        identity = version_id(row)
        run = self._run(row)
        self._keep(run.info.run_id, row)
        source = f"{run.info.artifact_uri}/{row['artifact_sha256']}"
        made = self._client.create_model_version(name, source, run.info.run_id, tags={ID: identity})
        return str(made.version)

    def _run(self, row: Mapping[str, Any]) -> Any:  # noqa: ANN401 - imported late
        """The run of a version, with all that is told of it; one cut short is gone on with."""
        identity, at_ms = version_id(row), to_ms(row["created_at"])
        entities = importlib.import_module("mlflow.entities")
        found = self._client.search_runs([self._experiment], f"tags.`{ID}` = '{identity}'")
        run = (
            found[0]
            if found
            else self._client.create_run(
                self._experiment, start_time=at_ms, tags={ID: identity}, run_name=identity
            )
        )
        self._client.log_batch(
            run.info.run_id,
            metrics=[entities.Metric(key, value, at_ms, 0) for key, value in metrics_of(row)],
            params=[entities.Param(key, str(value)) for key, value in params_of(row)],
            tags=[entities.RunTag(key, str(value)) for key, value in row["environment"].items()],
        )
        end_ms = at_ms + round(1e3 * row["train_seconds"])
        self._client.set_terminated(run.info.run_id, end_time=end_ms)
        return run

    def _keep(self, run_id: str, row: Mapping[str, Any]) -> None:
        """The artifact under its hash; that of a file that is not what it was is left out."""
        sha256 = row["artifact_sha256"]
        try:
            content = self._artifacts.read(sha256)
        except ArtifactError as error:
            self._client.set_tag(run_id, "artifact", str(error))
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / sha256
            path.write_bytes(content)
            self._client.log_artifact(run_id, str(path))

    def _alias(self, name: str, wanted: Mapping[str, str]) -> None:
        has = self._client.get_registered_model(name).aliases
        for alias in ALIASES:
            if alias in wanted and str(has.get(alias)) != str(wanted[alias]):
                self._client.set_registered_model_alias(name, alias, wanted[alias])
            elif alias in has and alias not in wanted:
                self._client.delete_registered_model_alias(name, alias)


def params_of(row: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """What a version was fitted with and on."""
    yield from row["params"].items()
    for name in ("seed", "feature_set", "label_set", "n_train", "code_sha", "data_sha256"):
        yield name, row[name]
    if "n_trials" not in row["params"]:
        yield "n_trials", row["n_trials"]
    for name in ("trained_from", "trained_until", "effective_from"):
        if row[name] is not None:
            yield name, rfc3339(row[name])


def metrics_of(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """What it was judged by; what is not known is left out."""
    judged = row["metrics"].get("judged") or {}
    told = {
        "loss": judged.get("loss"),
        "rows": judged.get("rows"),
        "coverage": row["metrics"].get("coverage"),
        "disagreement": row["metrics"].get("disagreement"),
        "n_effective": row["n_effective"],
        "train_seconds": row["train_seconds"],
        **{f"loss.{name}": one for name, one in (judged.get("baselines") or {}).items()},
    }
    yield from ((name, float(value)) for name, value in told.items() if value is not None)


@dataclass(slots=True, kw_only=True)
class Mirror:
    """Keeps a copy near the registry, beside everything else and never in its way."""

    order: MirrorOrder
    pool: asyncpg.Pool
    _copied: object = None  # the state of the registry that is there
    _said: str = ""  # why it could not be copied
    _pause_s: float = EVERY_S  # to the next look

    async def run(self) -> None:
        """Until cancelled."""
        with Rounds("the mirror of the registry") as mirror:
            while True:
                await asyncio.sleep(self._pause_s)
                with mirror.going_on():
                    await self.look()

    async def look(self) -> None:
        """Copy what is new; a failure is told once, and tried again ever more rarely."""
        try:
            state = tuple(await self.pool.fetchrow(_STATE))
        except CONNECTION_ERRORS as error:
            self._failed(error)
            return
        if state == self._copied:
            return
        failure, count = await self._copy()
        if failure is not None:
            self._failed(failure)
            return
        self._copied, self._said, self._pause_s = state, "", EVERY_S
        if count:
            log.info("versions were mirrored", extra={"count": count})

    def _failed(self, error: BaseException) -> None:
        self._pause_s = min(2 * self._pause_s, LATEST_S)
        words = in_one_line(error)
        words = words.replace(self.order.uri, "the server")  # there may be a password in it
        if words != self._said:
            log.warning("the registry is mirrored later", extra={"reason": words})
        self._said = words

    async def _copy(self) -> tuple[BaseException | None, int]:
        """What went wrong, whatever it was, and how many were copied.

        In a process that ends with it: the library is large, and trainings do not wait.
        """
        executor = ProcessExecutor()
        try:
            copying = asyncio.wrap_future(executor.submit(mirror, self.order))
            await asyncio.wait([copying], timeout=AT_MOST_S)
            if not copying.done():
                copying.cancel()
                return MirrorError(f"it took over {AT_MOST_S:.0f} s"), 0
            error = copying.exception()
            return error, 0 if error else copying.result()
        finally:
            executor.close()
