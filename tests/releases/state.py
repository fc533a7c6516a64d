"""A state folder as a release leaves it, and what its models say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson

from backend.settings import Settings
from backend.store.database import connect
from backend.wiring import database_of, open_store
from domain.market import Instrument, Timeframe
from services.features.feature_set import OHLCV
from services.models.forecaster import Table
from services.sentiment.feature_set import SENTIMENT
from tests.processes import HTTP, System, alphapulse, running_system, until

SYMBOLS: Final = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
SETTINGS: Final = {  # small, and every fit takes its seat: what is kept is how numbers are made
    "ALPHAPULSE_HISTORY_BARS": "200",
    "ALPHAPULSE_DEADLINE_MS": "10000",  # a loaded machine draws the same cross-sections
    "ALPHAPULSE_TRAINING__MINIMUM_ROWS": "560",
    "ALPHAPULSE_TRAINING__TREES": "20",
    "ALPHAPULSE_TRAINING__PROMOTION": "always",
    "ALPHAPULSE_SOURCES__ON": "false",  # what a text says counts from the moment it is stored
}
PATIENCE_S: Final = 300.0  # a hundred closes and more at a close a second
HOUR: Final = 60  # of the minutes that `System.wait_for_ticks` counts
CLOSES: Final = 20  # of which forecasts are kept
FOLLOWING: Final = 5  # closes after the backup, of which served rows are kept
_SERVED: Final = """
SELECT symbol, as_of, version, members, p_down, p_flat, p_up, q10, q50, q90, volatility
FROM ml_predictions JOIN instruments USING (instrument_id)
WHERE role = 'champion' AND revision = 1 ORDER BY as_of, symbol
"""
_SNAPSHOT: Final = (
    "SELECT payload FROM state_snapshots WHERE room = 'panel' ORDER BY as_of DESC LIMIT 1"
)
_NEWEST: Final = "SELECT max(as_of) FROM ml_predictions WHERE role = 'champion'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a release said.

    Attributes:
        until: the newest close in the backup.
        forecasts: of the newest rows up to it, by model, in the order of the rows.
        served: the rows that the release served after it.
    """

    until: datetime
    forecasts: dict[str, list[Any]]
    served: list[dict[str, Any]]

    def spelled(self) -> bytes:
        """As JSON, in which floats keep every bit."""
        said = {"until": self.until, "forecasts": self.forecasts, "served": self.served}
        return orjson.dumps(said, option=orjson.OPT_INDENT_2)

    @classmethod
    def read(cls, file: Path) -> Kept:
        said = orjson.loads(file.read_bytes())
        return cls(**said | {"until": datetime.fromisoformat(said["until"])})


def demo(folder: Path, **settings: str) -> AbstractContextManager[System]:
    """The system that the state folder in `folder` is of."""
    return running_system(folder, "demo", "--symbols", ",".join(SYMBOLS), **SETTINGS, **settings)


def make(folder: Path, into: Path) -> Kept:
    """Run a demo until its fits serve, and write its backup `into` a folder that is not there."""
    folder.mkdir()
    with demo(folder) as system:
        system.wait_until_ready()
        until(partial(serves, system), "a served row that a fitted model has a say in", PATIENCE_S)
        system.wait_for_ticks(HOUR)
        assert system.stop() == 0
    done = alphapulse(folder, "backup", str(into), "--state", "state")
    assert done.returncode == 0, done.stderr
    with demo(folder) as system:
        system.wait_until_ready()
        system.wait_for_ticks((FOLLOWING + 2) * HOUR)
        rows = asyncio.run(served(system.database_url()))
        assert system.stop() == 0
    reached, said = asyncio.run(forecasts(restored(folder / "again", into)))
    return Kept(until=reached, forecasts=said, served=chosen(rows, reached))


def restored(folder: Path, backup: Path) -> Path:
    """The state folder that a backup becomes; it is what it was, or an assertion says why not."""
    folder.mkdir()
    done = alphapulse(folder, "restore", str(backup), "--verify", "--state", "state")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return folder / "state"


def serves(system: System) -> bool:
    """Whether a fitted model has a say in what is served."""
    answer = HTTP.get(f"{system.url}/v1/predictions/latest")
    rows = answer.json()["data"] if answer.is_success else ()  # it is not ready for a moment
    return any(name.startswith("lightgbm") for row in rows for name in row["members"])


async def served(url: str) -> list[dict[str, Any]]:
    """The served rows of a database, by close and symbol."""
    connection = await connect(url)
    try:
        rows = [dict(row) for row in await connection.fetch(_SERVED)]
    finally:
        await connection.close()
    return [row | {"members": orjson.loads(row["members"])} for row in rows]


def chosen(rows: Sequence[dict[str, Any]], reached: datetime) -> list[dict[str, Any]]:
    """Of the closes that follow `reached`."""
    last = reached + FOLLOWING * Timeframe.H1.duration
    ours = [row for row in rows if reached < row["as_of"] <= last]
    assert len(ours) == FOLLOWING * len(SYMBOLS), "too few closes were answered"
    return [row | {"as_of": row["as_of"].isoformat()} for row in ours]


async def forecasts(state: Path) -> tuple[datetime, dict[str, list[Any]]]:
    """The newest close that was answered, and what each version with a role says of rows up to it.

    The database is migrated to the newest schema before.
    """
    artifacts = state / "artifacts"
    async with database_of(Settings(state=state)) as url, open_store(url, artifacts) as store:
        reached: datetime = await store.readers.fetchval(_NEWEST)
        rows = await store.history.feature_rows(
            [Instrument("simulated", one) for one in SYMBOLS],
            Timeframe.H1,
            OHLCV.id,
            beside=SENTIMENT.id,
            since=reached - CLOSES * Timeframe.H1.duration,
            until=reached,
        )
        table, said = Table(rows.columns, rows.values), dict[str, list[Any]]()
        for row in await store.registry.versions():
            if row["aliases"]:
                version, sha256 = str(row["version"]), row["artifact_sha256"]
                model = store.artifacts.load(name=row["name"], version=version, sha256=sha256)
                said[row["name"]] = model.forecast(table).tolist()
    return reached, said


async def snapshot(state: Path) -> bytes:
    """What the rooms knew at the end."""
    async with database_of(Settings(state=state)) as url:
        connection = await connect(url)
        try:
            kept: bytes = await connection.fetchval(_SNAPSHOT)
        finally:
            await connection.close()
    return kept
