"""A network is fitted in a worker process, registered with its device, and fitted again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from backend.models import Wanted, reproduce_model
from backend.plugins import catalogue_of
from backend.replay import Replay, ReplayPlan
from backend.settings import Settings
from backend.store import database
from backend.store.registry import Registry
from backend.wiring import Store, open_store
from domain.events import Floats
from domain.market import Instrument, to_ms
from domain.past import Past
from services.features.feature_set import OHLCV
from services.models.forecaster import Table
from services.sentiment.feature_set import SENTIMENT
from tests.scenarios.market import H1, HORIZON, planted

pytestmark = pytest.mark.long

MODELS = ("mlp.direction", "gru.direction", "xgboost.direction")
BARS = 400


async def lived(
    settings: Settings, url: str
) -> tuple[dict[str, dict[str, Any]], tuple[Floats, Floats]]:
    """A replay of `BARS` candles.

    Returns:
        The versions that it registered, by name; what the GRU said, and says of the stored rows.
    """
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
        rows = {row["name"]: row for row in await Registry(store.writers).versions()}
        return rows, await said_again(store, rows["gru.direction"])


async def said_again(store: Store, version: dict[str, Any]) -> tuple[Floats, Floats]:
    """The probabilities of the record, and of sequences that are read from it now."""
    said = await store.readers.fetch(_SAID, version["name"], str(version["version"]))
    model = store.artifacts.load(
        name=version["name"], version=str(version["version"]), sha256=version["artifact_sha256"]
    )
    exchange = version["exchange"]
    first = min(row["as_of"] for row in said) - model.past * H1.duration
    last = max(row["as_of"] for row in said)
    table = await store.history.rows_at(
        sorted({Instrument(exchange, row["symbol"]) for row in said}),
        H1,
        [first + step * H1.duration for step in range((last - first) // H1.duration + 1)],
        feature_set=OHLCV.id,
        beside=SENTIMENT.id,
        until=last + H1.duration,
    )
    keys = list(zip(map(str, table.instruments), table.as_of_ms.tolist(), strict=True))
    numbers = {one: number for number, one in enumerate(sorted({one for one, _ in keys}))}
    owners = np.array([numbers[one] for one, _ in keys], dtype=np.int64)
    past = Past.behind(
        owners,
        table.as_of_ms,
        columns=table.columns,
        rows=table.values,
        of=owners,
        closes_ms=table.as_of_ms,
        candles=model.past,
        candle_ms=H1.ms,
    )
    again = model.forecast(Table(table.columns, table.values, past=past))
    where = {key: row for row, key in enumerate(keys)}
    rows = [where[f"{exchange}:{row['symbol']}", to_ms(row["as_of"])] for row in said]
    recorded = np.array([(row["p_down"], row["p_flat"], row["p_up"]) for row in said])
    return recorded, again[rows]


_SAID = """
SELECT symbol, as_of, p_down, p_flat, p_up
FROM ml_predictions JOIN instruments USING (instrument_id)
WHERE model = $1 AND version = $2
"""


def test_the_device_that_was_used_is_registered_and_the_fit_repeated(
    server_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever runs this has no GPU, or not the packages for one."""
    url = asyncio.run(database.create_database(server_url, "test_networks"))
    training = {"kinds": MODELS, "device": "auto", "minimum_rows": 300, "every_bars": 500}
    settings = Settings(state=tmp_path, database_url=SecretStr(url), training=training)
    try:
        rows, (said, again_said) = asyncio.run(lived(settings, url))
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
    assert again == [0] * len(MODELS)
    assert capsys.readouterr().out.count("the same artifact") == len(MODELS)
    assert len(said) > BARS / 2
    assert np.ptp(said[:, 2]) > 0.01
    assert said == pytest.approx(again_said, rel=0, abs=1e-9)
