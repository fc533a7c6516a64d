"""What sources told travels with a tick's features: to its rows, to learners, to models."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from alphapulse_testing.panel import PANEL, panel_batch, panel_examples
from backend.feature_sets import WITH_SENTIMENT
from backend.panel import Panel, PanelKey
from backend.revised_rows import Renewal
from backend.store.rows import feature_hashes
from backend.store.standing import ToldRow
from backend.warmup import play
from domain.events import Examples, FeatureBatch, PredictionBatch, Role, SentimentBatch
from domain.market import EPOCH, from_ms, to_ms
from domain.sources import MARKET, Measurement, Metric, SourceState, SourceStatus
from services.features.feature_set import OHLCV
from services.models.artifacts import open_model
from services.models.catalogue import BUILT_IN
from services.models.fitting import FitTask, fit
from services.models.forecaster import Table
from services.models.walk_forward import SplitKind
from services.sentiment.feature_set import SENTIMENT
from services.sentiment.features import SentimentFeatures
from services.signals.policy import PolicySettings
from tests.doubles import ManualClock
from tests.factories import BTC, ETH, candle_batches

TICKS = 60
WALK = candle_batches([BTC, ETH], TICKS, seed=5)
CLOSE = WALK[40].as_of  # the first that knows of the index


def told(state: SourceState = SourceState.OK) -> SentimentFeatures:
    """The index was 40, known from a close on; its source is asked from the first one on."""
    room = SentimentFeatures(since=EPOCH)
    room.on_statuses([SourceStatus(source="fear_greed", state=state, since=EPOCH)], WALK[0].as_of)
    at_ms = to_ms(CLOSE)
    room.on_measurements(
        [
            Measurement(
                instrument=MARKET,
                metric=Metric.FEAR_GREED,
                event_ms=at_ms - 3_600_000,
                known_ms=at_ms,
                value=40.0,
            )
        ]
    )
    return room


def panel_of(sentiment: SentimentFeatures | None) -> Panel:
    clock = ManualClock()
    clock.advance(WALK[0].as_of - clock.now())
    key = PanelKey(exchange=BTC.exchange, timeframe=WALK[0].timeframe)
    return Panel(key, [4], clock=clock, policy=PolicySettings(), sentiment=sentiment)


@pytest.fixture(scope="module")
def events() -> list[object]:
    return play(panel_of(told()), WALK, {})


def test_every_tick_tells_what_was_known_at_its_close(events: list[object]) -> None:
    rows = [one for one in events if isinstance(one, SentimentBatch)]

    assert [one.as_of for one in rows] == [batch.as_of for batch in WALK]
    index = {one.as_of: one.values[:, SENTIMENT.columns.index("fear_greed")] for one in rows}
    assert np.isnan(index[CLOSE - timedelta(hours=1)]).all()
    assert index[CLOSE].tolist() == [40, 40]
    assert all(one.status == {"fear_greed": "ok"} for one in rows)
    features = [one for one in events if isinstance(one, FeatureBatch)]
    assert [one.told for one in features] == rows


def test_a_source_that_is_down_leaves_rows_without_a_value() -> None:
    events = play(panel_of(told(SourceState.DOWN)), WALK, {})

    rows = [one for one in events if isinstance(one, SentimentBatch)]
    assert len(rows) == TICKS
    assert np.isnan(np.concatenate([one.values for one in rows])).all()
    assert rows[-1].status == {"fear_greed": "down"}


def test_where_nobody_is_asked_there_are_no_rows_and_models_are_fitted_without() -> None:
    silent, asked = panel_of(None), panel_of(told())

    assert not [one for one in play(silent, WALK[:2], {}) if isinstance(one, SentimentBatch)]
    assert (silent.fitted_on(), asked.fitted_on()) == (OHLCV, WITH_SENTIMENT)


def test_what_is_unknown_of_sources_changes_no_served_row(events: list[object]) -> None:
    silent = play(panel_of(None), WALK, {})

    ours, theirs = (
        [one for one in made if isinstance(one, PredictionBatch) and one.role is Role.CHAMPION]
        for made in (events, silent)
    )

    assert len(ours) == TICKS
    for one, other in zip(ours, theirs, strict=True):
        assert one.degraded == other.degraded
        assert np.array_equal(one.volatility, other.volatility, equal_nan=True)
        assert np.array_equal(one.quantiles, other.quantiles, equal_nan=True)


def test_learners_are_given_both(events: list[object]) -> None:
    panel = panel_of(told())
    play(panel, WALK, {})

    kept = panel.rooms[4].joiner
    assert kept.feature_set.columns == OHLCV.columns + SENTIMENT.columns
    assert events


WIDER = replace(
    PANEL,
    name="wider",
    columns=(*PANEL.columns, "fear_greed"),
    model_columns=(*PANEL.model_columns, "fear_greed"),
)


@pytest.mark.parametrize("kind", ["logistic", "lightgbm", "xgboost", "catboost"])
def test_a_model_fitted_with_sentiment_speaks_where_nothing_is_told(kind: str) -> None:
    """The sources were silent for half of the time that it learnt from."""
    plain = panel_examples(150)
    index = np.where(np.arange(len(plain)) % 2, np.nan, 40.0 + plain.outcome)
    examples: Examples = replace(
        plain, columns=WIDER.columns, features=np.column_stack((plain.features, index))
    )
    task = FitTask(
        recipe=BUILT_IN.recipes[f"{kind}.direction"].changed(trees=5, min_child=5.0),
        horizon=4,
        horizon_ms=4 * 3_600_000,
        columns=WIDER.model_columns,
        examples=examples,
        split=SplitKind.LEAN,
        seed=1,
    )
    model = open_model(fit(task).artifact, version="1")
    batch = panel_batch(plain.features[:3])
    beside = SentimentBatch(
        exchange=batch.exchange,
        timeframe=batch.timeframe,
        as_of=batch.as_of,
        instruments=batch.instruments,
        feature_set=replace(SENTIMENT, columns=("fear_greed",), model_columns=("fear_greed",)),
        values=np.array([[np.nan], [41.0], [39.0]]),
        revision=np.ones(3, dtype=np.int64),
        known_at=batch.as_of,
        status={},
    )

    said = model.predict(replace(batch, told=beside))

    assert np.isfinite(said).all()
    greedy, fearful = said[1:, 2] - said[1:, 0]
    assert greedy > fearful
    with pytest.raises(KeyError):
        model.forecast(Table.of(batch))


def test_rows_that_were_told_get_a_revision_where_they_differ_and_none_where_not() -> None:
    (batch,) = (
        one for one in panel_of(told()).features(WALK[0]) if isinstance(one, SentimentBatch)
    )
    standing = {
        (1, to_ms(batch.as_of)): ToldRow(1, feature_hashes(batch.values)[0]),
        (2, to_ms(batch.as_of)): ToldRow(3, b"another"),
    }
    later_ms = to_ms(batch.as_of) + 7_000
    renewal = Renewal(ids={BTC: 1, ETH: 2}, at_ms=later_ms, fresh_ms=0)

    (other,) = renewal.told(batch, standing)
    (fresh,) = renewal.told(batch, {})

    assert (other.instruments, other.revision.tolist()) == ((ETH,), [4])
    assert other.known_at == from_ms(later_ms)
    assert (fresh.instruments, fresh.revision.tolist()) == ((BTC, ETH), [1, 1])
    assert fresh.known_at == batch.known_at
