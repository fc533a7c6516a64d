"""A network is fitted in a worker process, registered with its device, and fitted again."""

from __future__ import annotations

import asyncio
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
from tests.scenarios.market import H1, HORIZON, planted

pytestmark = pytest.mark.long

MODELS = ("mlp.direction", "xgboost.direction")
BARS = 400


async def lived(settings: Settings, url: str) -> dict[str, dict[str, Any]]:
    """A replay of `BARS` candles; the versions that it registered, by name."""
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
    series = planted(BARS, symbols=("BTC/USDT", "ETH/USDT"))
    artifacts = settings.state / "artifacts"
    async with open_store(url, artifacts, catalogue_of(settings.plugins), durable=False) as store:
        await Replay(plan, settings, store, H1).run(series)
        return {row["name"]: row for row in await Registry(store.writers).versions()}


def test_the_device_that_was_used_is_registered_and_the_fit_repeated(
    server_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever runs this has no GPU, or not the packages for one."""
    url = asyncio.run(database.create_database(server_url, "test_networks"))
    training = {"kinds": MODELS, "device": "auto", "minimum_rows": 300, "every_bars": 500}
    settings = Settings(state=tmp_path, database_url=SecretStr(url), training=training)
    try:
        rows = asyncio.run(lived(settings, url))
        again = [
            asyncio.run(reproduce_model(Wanted.parse(name, None, None, None), settings))
            for name in MODELS
        ]
    finally:
        asyncio.run(database.drop_database(server_url, "test_networks"))

    assert {name: row["params"]["device"] for name, row in rows.items()} == dict.fromkeys(
        MODELS, "cpu"
    )
    environment = rows["mlp.direction"]["environment"]
    assert environment.keys() == {"numpy", "jax", "jaxlib", "optax", "alphapulse"}
    assert again == [0, 0]
    assert capsys.readouterr().out.count("the same artifact") == len(MODELS)
