"""An explanation is of what was said: by the version that spoke, of the row that it read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from alphapulse_testing.panel import EXAMPLES, HOUR_MS, PANEL, past_of
from backend.api.described import Answer
from backend.api.explanations import PredictionId
from backend.api.schemas import ExplanationRow
from domain.events import Examples, Floats
from domain.market import rfc3339
from domain.past import Past
from services.models.artifacts import ArtifactStore
from services.models.catalogue import BUILT_IN
from services.models.fitting import FitTask, train
from services.models.forecaster import Table
from services.models.network_kind import GRU
from services.models.walk_forward import SplitKind
from tests.doubles import START
from tests.factories import BTC
from tests.served_market import HORIZON, SET, ServedMarket

NAME = "lightgbm.direction"
SPOKE, NEWER = 1, 2  # versions
COLUMNS = (*SET.columns, "mood")  # the last is what sources told
MOOD = 0.5


def panel_rows() -> Examples:
    places = [PANEL.columns.index(name) for name in ("noise", "close", "tilt")]
    return replace(EXAMPLES, columns=COLUMNS, features=EXAMPLES.features[:, places])


def fitted(seed: int) -> bytes:
    """A model of the market's two columns, of which `rsi` is unknown there, and of `mood`."""
    rows = panel_rows()
    recipe = BUILT_IN.recipes[NAME].changed(trees=20, min_child=5.0)
    task = FitTask(
        recipe=recipe,
        horizon=HORIZON,
        horizon_ms=HORIZON * HOUR_MS,
        columns=COLUMNS,
        examples=rows,
        split=SplitKind.LEAN,
        seed=seed,
    )
    return train(task, BUILT_IN, rows)


@dataclass(frozen=True)
class Spoken:
    """A served row, and what spoke in it."""

    id: str
    path: Path  # of the artifact
    close: float
    said: Floats
    key: tuple[Any, ...]  # instrument, as_of


@pytest.fixture
async def spoken(market: ServedMarket, tmp_path: Path) -> Spoken:
    """The newest row of BTC; since then a version was fitted, and what it read corrected."""
    batch = market.batches[29]
    key = (
        await market.pool.fetchval(
            "SELECT instrument_id FROM instruments WHERE symbol = 'BTC/USDT'"
        ),
        batch.as_of,
    )
    market.state.artifacts = store = ArtifactStore(tmp_path)
    kept = {version: store.save(fitted(version)) for version in (SPOKE, NEWER)}
    for version, sha256 in kept.items():
        await market.pool.execute(_VERSION, version, sha256)
    (close,) = batch.close[[batch.instruments.index(BTC)]].tolist()
    model = store.load(name=NAME, version=str(SPOKE), sha256=kept[SPOKE])
    said = model.forecast(Table(COLUMNS, np.array([[np.nan, close, MOOD]])))[0]
    members = {NAME: str(SPOKE), "class_prior.direction": "1", "river.direction": "1"}
    await market.pool.execute(_MEMBERS, *key, orjson.dumps(members).decode())
    await market.pool.execute(_SAID, *key, NAME, str(SPOKE), *said.tolist())
    await market.pool.execute(_CORRECTED, *key)
    await market.pool.execute(_TELLS)
    for revision, mood, known_at in ((1, MOOD, batch.as_of), (2, -9.0, START + timedelta(days=1))):
        await market.pool.execute(_TOLD, *key, revision, known_at, [mood])
    return Spoken(
        id=f"1h.{HORIZON}.simulated.{rfc3339(batch.as_of)}.1.BTC/USDT",
        path=tmp_path / kept[SPOKE],
        close=close,
        said=said,
        key=key,
    )


async def explained(rest: httpx.AsyncClient, wanted: str) -> httpx.Response:
    return await rest.get(f"/v1/predictions/{wanted}/explanation")


async def test_members_say_what_each_feature_added(rest: httpx.AsyncClient, spoken: Spoken) -> None:
    answer = await explained(rest, spoken.id)

    rows = Answer[ExplanationRow].model_validate_json(answer.content).data
    assert [(row.model, row.version) for row in rows] == [
        ("class_prior.direction", "1"),
        (NAME, str(SPOKE)),
        ("river.direction", "1"),
    ]
    prior, booster, river = rows
    assert prior.reason == "a baseline has no contributions"
    assert river.reason == "it learns with each label: what it was when it spoke is not kept"
    assert (booster.method, booster.reason, booster.reference) == ("tree_shap", None, None)
    for output in booster.outputs:
        parts = {one.feature: one for one in output.contributions}
        assert {name: part.value for name, part in parts.items()} == {
            "rsi": None,
            "close": spoken.close,
            "mood": MOOD,
        }
        total = output.base + sum(one.contribution for one in output.contributions)
        assert total == pytest.approx(output.margin, abs=1e-4)
        assert output.contributions == sorted(
            output.contributions, key=lambda one: -abs(one.contribution)
        )
    chances = np.exp([output.margin for output in booster.outputs])
    assert chances / chances.sum() == pytest.approx(spoken.said, rel=1e-9)
    assert any(one.contribution for output in booster.outputs for one in output.contributions)


async def test_a_model_that_is_gone_or_altered_is_a_problem(
    rest: httpx.AsyncClient, spoken: Spoken
) -> None:
    content = bytearray(spoken.path.read_bytes())
    content[len(content) // 2] ^= 1
    spoken.path.write_bytes(content)
    altered = await explained(rest, spoken.id)
    spoken.path.unlink()
    gone = await explained(rest, spoken.id)

    assert (altered.status_code, altered.json()["code"]) == (409, "not_as_it_was")
    assert "altered" in altered.json()["detail"]
    assert (gone.status_code, gone.json()["code"]) == (404, "artifact_missing")
    assert f"{NAME}@{SPOKE}" in gone.json()["detail"]


async def test_what_was_said_otherwise_is_not_explained(
    market: ServedMarket, rest: httpx.AsyncClient, spoken: Spoken
) -> None:
    await market.pool.execute(
        "UPDATE ml_predictions SET p_down = p_up, p_up = p_down"
        " WHERE instrument_id = $1 AND as_of = $2 AND model = $3",
        *spoken.key, NAME,
    )  # fmt: skip

    answer = await explained(rest, spoken.id)

    assert (answer.status_code, answer.json()["code"]) == (409, "not_as_it_was")
    assert "says otherwise" in answer.json()["detail"]


async def test_a_feature_row_that_is_gone_is_not_made_again(
    market: ServedMarket, rest: httpx.AsyncClient, spoken: Spoken
) -> None:
    await market.pool.execute(
        "DELETE FROM ml_features_ohlcv WHERE instrument_id = $1 AND as_of = $2 AND revision = 1",
        *spoken.key,
    )

    answer = await explained(rest, spoken.id)

    assert (answer.status_code, answer.json()["code"]) == (409, "not_as_it_was")
    assert "revision 1 of the feature row" in answer.json()["detail"]


@pytest.fixture
async def after_its_past(market: ServedMarket, tmp_path: Path) -> Spoken:
    """The newest row of BTC, of which a GRU spoke that read the three candles before it."""
    catalogue = replace(BUILT_IN, fitted=(GRU,))
    market.state.artifacts = store = ArtifactStore(tmp_path, catalogue)
    examples = panel_rows()
    task = FitTask(
        recipe=GRU.recipes[0].changed(past=3, learning_rate=0.1, epochs=3),
        horizon=HORIZON,
        horizon_ms=HORIZON * HOUR_MS,
        columns=COLUMNS,
        examples=examples,
        split=SplitKind.LEAN,
        seed=7,
    )
    rows = replace(examples, past=past_of(examples, 3))
    sha256 = store.save(train(task, catalogue, rows))
    number = await market.pool.fetchval(
        "SELECT instrument_id FROM instruments WHERE symbol = 'BTC/USDT'"
    )
    key = (number, market.batches[29].as_of)
    closes = [batch.close[batch.instruments.index(BTC)] for batch in market.batches[26:30]]
    values = np.array([[np.nan, close, np.nan] for close in closes])
    past = Past(columns=COLUMNS, rows=values[:3], places=np.array([[0, 1, 2]]), candle_ms=HOUR_MS)
    model = store.load(name="gru.direction", version="1", sha256=sha256)
    said = model.forecast(Table(COLUMNS, values[3:], past=past))[0]
    version = _VERSION.replace("lightgbm", "gru").replace("'{}'", """'{"past": 3}'""", 1)
    await market.pool.execute(version, 1, sha256)
    await market.pool.execute(_MEMBERS, *key, '{"gru.direction": "1"}')
    await market.pool.execute(_SAID, *key, "gru.direction", "1", *said.tolist())
    await market.pool.execute(_TELLS)
    return Spoken(
        id=f"1h.{HORIZON}.simulated.{rfc3339(key[1])}.1.BTC/USDT",
        path=tmp_path / sha256,
        close=closes[3],
        said=said,
        key=key,
    )


async def test_a_model_that_reads_the_past_is_asked_with_what_it_was_then(
    market: ServedMarket, rest: httpx.AsyncClient, after_its_past: Spoken
) -> None:
    """What was corrected since is not read; what was altered is noticed."""
    before = (after_its_past.key[0], after_its_past.key[1] - 2 * timedelta(hours=1))
    await market.pool.execute(
        _CORRECTED.replace("known_at", "known_at + interval '1 day'"), *before
    )
    whole = await explained(rest, after_its_past.id)
    await market.pool.execute(
        'UPDATE ml_features_ohlcv SET "values"[2] = 1.0'
        " WHERE instrument_id = $1 AND as_of = $2 AND revision = 1",
        *before,
    )
    altered = await explained(rest, after_its_past.id)

    (row,) = Answer[ExplanationRow].model_validate_json(whole.content).data
    assert row.reason == "this kind of model tells no contributions"
    assert (altered.status_code, altered.json()["code"]) == (409, "not_as_it_was")
    assert "gru.direction@1 says otherwise" in altered.json()["detail"]


async def test_an_id_that_is_none_is_a_problem(rest: httpx.AsyncClient, spoken: Spoken) -> None:
    for old, new, status, code in (
        ("1.BTC", "7.BTC", 404, "not_found"),
        ("BTC/", "DOGE/", 404, "not_found"),
        ("1h.", "1.5h.", 422, "bad_request"),
        ("1h.", "7h.", 422, "unknown_timeframe"),
        ("2024-01-01", "2024-13-01", 422, "bad_request"),
        ("2024-01-01", "2999-01-01", 422, "bad_request"),
    ):
        assert old in spoken.id

        answer = await explained(rest, spoken.id.replace(old, new))

        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_an_id_is_written_as_it_is_read() -> None:
    text = "1h.4.binanceusdm.2024-01-01T00:00:00.000Z.1.1000PEPE.X/USDT:USDT"

    assert str(PredictionId.parse(text)) == text


async def test_the_example_of_openapi_is_an_answer(rest: httpx.AsyncClient) -> None:
    openapi = (await rest.get("/openapi.json")).json()

    described = openapi["paths"]["/v1/predictions/{id}/explanation"]["get"]
    example = described["responses"]["200"]["content"]["application/json"]["example"]
    (row,) = Answer[ExplanationRow].model_validate(example).data
    (output,) = row.outputs
    total = output.base + sum(one.contribution for one in output.contributions)
    assert total == pytest.approx(output.margin)
    assert [one["name"] for one in described["parameters"]] == ["id"]


_VERSION = """
    INSERT INTO ml_models_metadata (name, timeframe, exchange, horizon, version, target, kind,
        status, params, seed, code_sha, data_sha256, feature_set, label_set, trained_from,
        trained_until, n_train, n_effective, n_trials, metrics, environment, artifact_path,
        artifact_sha256, artifact_bytes, train_seconds, created_at)
    VALUES ('lightgbm.direction', '1h', 'simulated', 4, $1, 'direction', 'lightgbm',
        'registered', '{}', 1, 'c', 'd', 'few@1', 'direction@1', '2023-12-01', '2023-12-31', 900,
        225.0, 1, '{}', '{}', $2, $2, 10, 1.5, '2023-12-31')
    """
_MEMBERS = """
    UPDATE ml_predictions SET members = $3
    WHERE instrument_id = $1 AND as_of = $2 AND role = 'champion'
    """
_SAID = """
    INSERT INTO ml_predictions (instrument_id, timeframe, horizon, as_of, revision, role, model,
        version, target, made_at, origin, p_down, p_flat, p_up, degraded, feature_set,
        feature_revision)
    VALUES ($1, '1h', 4, $2, 1, 'member', $3, $4, 'direction', $2, 'live', $5, $6, $7, '',
        'few@1', 1)
    """
_CORRECTED = """
    INSERT INTO ml_features_ohlcv
    SELECT instrument_id, timeframe, feature_set, as_of, 2, known_at, candle_revision, coverage,
        row_hash, ARRAY[50.0, 1.0]::float8[]
    FROM ml_features_ohlcv WHERE instrument_id = $1 AND as_of = $2
    """
_TELLS = "INSERT INTO feature_sets VALUES ('sentiment@1', '{mood}', '{mood}', '{}', 'test', 0)"
_TOLD = """
    INSERT INTO ml_features_sentiment (instrument_id, timeframe, feature_set, as_of, revision,
        known_at, source_status, row_hash, "values")
    VALUES ($1, '1h', 'sentiment@1', $2, $3, $4, '{}', '', $5)
    """
