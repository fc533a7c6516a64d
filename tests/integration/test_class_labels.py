"""Class labels through a whole replay: told, predicted, fitted, judged, and gone on with."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.clock import VirtualClock
from backend.panel import Panel, PanelKey
from backend.replay import Replay, ReplayPlan
from backend.settings import Settings
from backend.store import database
from backend.store.columns import CandlePanel
from backend.ticks import ticks
from backend.training_settings import TrainingSettings
from backend.wiring import open_store
from domain.classes import ClassLabelBatch, ClassPredictionBatch
from domain.events import CandleBatch
from domain.market import from_ms
from services.classes.regime import REGIME
from services.classes.rotation import ROTATION
from services.signals.policy import PolicySettings
from tests.scenarios.market import H1, HORIZON, planted

pytestmark = pytest.mark.long

PLAN = ReplayPlan(
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
KINDS = (REGIME, ROTATION)
BARS = 900
TRAINING = TrainingSettings(
    kinds=("logistic.direction",), online=(), labels=("regime", "rotation"), every_bars=400
)


@dataclass(frozen=True)
class Ended:
    """What a replay left."""

    url: str
    artifacts: Path
    report: dict[str, Any]


@pytest.fixture(scope="module")
def ended(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    artifacts = tmp_path_factory.mktemp("artifacts")
    url = asyncio.run(database.create_database(server_url, "test_class_labels"))

    async def replay() -> dict[str, Any]:
        async with open_store(url, artifacts, durable=False) as store:
            settings = Settings(training=TRAINING)
            return await Replay(PLAN, settings, store, H1).run(planted(BARS))

    yield Ended(url, artifacts, asyncio.run(replay()))
    asyncio.run(database.drop_database(server_url, "test_class_labels"))


async def rows(ended: Ended, query: str) -> list[tuple[Any, ...]]:
    connection = await database.connect(ended.url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_each_close_has_a_label_once_its_horizon_has_passed(ended: Ended) -> None:
    told = await rows(
        ended,
        "SELECT label_kind, count(*), count(DISTINCT (instrument_id, as_of)), max(revision),"
        " bool_and(known_at = as_of + interval '4 h') FROM ml_class_labels"
        " GROUP BY label_kind ORDER BY label_kind",
    )
    # 50 labels of an instrument are known 53 closes after its first; a return of 0 has no sign.
    signed = await rows(
        ended,
        "SELECT count(*) FROM ml_labels WHERE log_return <> 0"
        " AND as_of >= (SELECT min(as_of) FROM ml_labels) + interval '53 h'",
    )
    of_bitcoin = await rows(
        ended,
        "SELECT DISTINCT symbol FROM ml_class_labels JOIN instruments USING (instrument_id)"
        " WHERE label_kind = 'rotation@1'",
    )

    (regimes,) = signed[0]
    assert regimes > 3 * BARS
    assert told == [
        ("regime@1", regimes, regimes, 1, True),
        ("rotation@1", BARS - HORIZON, BARS - HORIZON, 1, True),
    ]
    assert of_bitcoin == [("BTC/USDT",)]


async def test_a_regime_follows_from_label_rows_alone(ended: Ended) -> None:
    """Told again by hand from the record, for one instrument."""
    found = await rows(
        ended,
        "SELECT as_of, known_at, log_return, realized_volatility, class FROM ml_labels"
        " JOIN instruments USING (instrument_id) LEFT JOIN (SELECT instrument_id, as_of, class"
        " FROM ml_class_labels WHERE label_kind = 'regime@1') told USING (instrument_id, as_of)"
        " WHERE symbol = 'ETH/USDT' AND known_at IS NOT NULL ORDER BY as_of",
    )
    for as_of, _, log_return, volatility, told in found[100::97]:
        past = sorted(row[3] for row in found if row[1] <= as_of)
        limits = [past[-(-part * len(past) // 3) - 1] for part in (1, 2)]
        size = ("calm", "usual", "wild")[sum(volatility > limit for limit in limits)]
        assert told == f"{'up' if log_return > 0 else 'down'}_{size}"


async def test_every_row_is_served_once_and_models_speak_after_their_fit(ended: Ended) -> None:
    served = await rows(
        ended,
        "SELECT label_kind, count(*), count(DISTINCT (instrument_id, as_of)),"
        " min(sum) > 1 - 1e-9, max(sum) < 1 + 1e-9 FROM ml_class_predictions, LATERAL"
        " (SELECT sum(value::float8) FROM jsonb_each_text(probabilities)) AS s WHERE served"
        " GROUP BY label_kind ORDER BY label_kind",
    )
    early = await rows(
        ended,
        "SELECT count(*) FROM ml_class_predictions p JOIN ml_models_metadata m"
        " ON m.name = p.model AND m.version::text = p.version WHERE p.as_of < m.effective_from",
    )

    assert served == [
        ("regime@1", 4 * BARS, 4 * BARS, True, True),
        ("rotation@1", BARS, BARS, True, True),
    ]
    assert early == [(0,)]


def test_the_report_says_what_was_lost_beside_the_prior(ended: Ended) -> None:
    labels = ended.report["labels"]
    regime = labels["regime@1"]["models"]

    assert {*labels} == {"regime@1", "rotation@1"}
    assert {*regime} == {"served", "class_prior.regime", "lightgbm.regime", "logistic.regime"}
    assert regime["served"]["count"] == labels["regime@1"]["count"]
    for one in regime.values():
        assert one["skill"] == pytest.approx(1 - one["log_loss"] / one["baseline_log_loss"])
    assert sum(labels["rotation@1"]["classes"].values()) == BARS - HORIZON


async def test_each_fit_is_a_version_with_a_decision_in_words(ended: Ended) -> None:
    versions = await rows(
        ended,
        "SELECT name, version, kind, target, label_set FROM ml_models_metadata"
        " WHERE label_set <> 'direction@1' ORDER BY name, version",
    )
    words = await rows(
        ended,
        "SELECT count(*), bool_and(evidence ->> 'words' <> '') FROM promotion_decisions"
        " WHERE target IN ('regime', 'rotation')",
    )

    assert ("lightgbm.regime", 1, "lightgbm", "regime", "regime@1") in versions
    assert ("logistic.rotation", 1, "logistic", "rotation", "rotation@1") in versions
    assert words == [(len(versions), True)]


def test_a_panel_goes_on_from_its_snapshot_as_if_it_had_not_been_cut_short() -> None:
    """Half the market, a snapshot, and the other half: the same labels and predictions."""
    batches = list(ticks(CandlePanel.of(planted(300), H1), exchange="simulated"))
    whole, first, second = (panel() for _ in range(3))

    expected = [told(whole, batch) for batch in batches][200:]
    for batch in batches[:200]:
        told(first, batch)
    second.restore(first.snapshot())

    assert [told(second, batch) for batch in batches[200:]] == expected
    assert any(expected[-1])


def panel() -> Panel:
    key = PanelKey(exchange="simulated", timeframe=H1)
    clock = VirtualClock(from_ms(0))
    return Panel(key, [HORIZON], clock=clock, policy=PolicySettings(), kinds=KINDS, online={})


def told(one: Panel, batch: CandleBatch) -> list[object]:
    """What a tick says of class labels, spelt."""
    hot, _ = one.hot.run(batch)
    cold, _ = one.cold.run(batch, *hot)
    return [
        (event.kind, event.instruments, event.classes.tolist(), event.revision.tolist())
        if isinstance(event, ClassLabelBatch)
        else (event.kind, event.model, event.probabilities.tolist(), event.degraded)
        for event in cold
        if isinstance(event, ClassLabelBatch | ClassPredictionBatch)
    ]
