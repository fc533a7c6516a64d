"""What sources told, in the tables: beside the features, and back into memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest

from backend.asked import Asked
from backend.hearing import Hearing
from backend.panel import Panel, PanelKey
from backend.sources import Collection
from backend.store.told import recall
from backend.wiring import Store, open_store
from domain.events import FeatureBatch, SentimentBatch
from domain.market import EPOCH, from_ms, to_ms
from domain.sources import (
    MARKET,
    Answer,
    Measurement,
    Metric,
    SourceState,
    SourceStatus,
    TextItem,
)
from services.features.feature_set import OHLCV
from services.sentiment.feature_set import SENTIMENT
from services.sentiment.features import SentimentFeatures
from services.signals.policy import PolicySettings
from tests.doubles import START, ManualClock
from tests.factories import BTC, ETH, candle_batches

HOUR = timedelta(hours=1)
WALK = candle_batches([BTC, ETH], 4, seed=5)
H1 = WALK[0].timeframe


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as store:
        yield store


def index(value: float) -> Measurement:
    return Measurement(
        instrument=MARKET,
        metric=Metric.FEAR_GREED,
        event_ms=to_ms(START),
        known_ms=to_ms(START),
        value=value,
    )


def asked() -> list[SourceStatus]:
    names = ("fear_greed", "coindesk")
    return [SourceStatus(source=name, state=SourceState.OK, since=EPOCH) for name in names]


async def test_a_tick_is_stored_with_what_was_told_and_examples_have_it(store: Store) -> None:
    told = SentimentFeatures(since=EPOCH)
    told.on_statuses(asked(), WALK[1].as_of)
    told.on_measurements([index(40.0)])
    panel = Panel(
        PanelKey(exchange=BTC.exchange, timeframe=H1),
        [1],
        clock=ManualClock(WALK[-1].as_of),
        policy=PolicySettings(),
        sentiment=told,
    )
    for batch in WALK:
        hot, _ = panel.hot.run(batch)
        cold, _ = panel.cold.run(batch, *hot)
        await store.recorder.commit_tick([batch, *hot, *cold], published_at=batch.as_of)

    rows = await store.readers.fetch("SELECT * FROM ml_features_sentiment_1 ORDER BY as_of, symbol")
    assert [row["as_of"] for row in rows] == [one.as_of for one in WALK[1:] for _ in (BTC, ETH)]
    assert {row["fear_greed"] for row in rows} == {40.0}
    assert {row["news_score"] for row in rows} == {None}
    assert orjson.loads(rows[0]["source_status"]) == {"coindesk": "ok", "fear_greed": "ok"}

    found = await store.history.examples(
        BTC.exchange, H1, 1,
        feature_set=OHLCV.id, beside=SENTIMENT.id, until=WALK[-1].as_of, rows=10,
    )  # fmt: skip
    assert found.columns == OHLCV.columns + SENTIMENT.columns
    values = found.features[:, found.columns.index("fear_greed")]
    assert np.array_equal(values, [np.nan, np.nan, 40, 40, 40, 40], equal_nan=True)
    table = await store.history.feature_rows(
        [BTC, ETH], H1, OHLCV.id, beside=SENTIMENT.id, since=START, until=WALK[-1].as_of
    )
    assert table.values.shape == (8, len(found.columns))


async def test_a_restart_joins_what_the_running_system_joined(store: Store) -> None:
    clock = ManualClock()
    hearing = Hearing(store=store, clock=clock, wall=clock, alone=True)
    collection = Collection(Asked(), store=store, clock=clock, wall=clock, hearing=hearing)
    await collection.begin()
    async with hearing.storing(clock) as (dated, moment):
        await dated.change(asked(), known_at=moment)
    said: list[SentimentBatch] = []
    for number, batch in enumerate(WALK):
        clock.advance(batch.as_of - clock.now())
        said.append(joined(hearing.told, batch.as_of))
        clock.advance(HOUR / 2)
        article = TextItem(
            source="coindesk",
            item_id=str(number),
            published_ms=to_ms(clock.now() - HOUR),
            known_ms=to_ms(clock.now() - HOUR),
            title=f"Bitcoin traders cheer record number {number} of the year",
        )
        answer = Answer(items=(article,), measurements=(index(40.0 + number),))
        await collection.keep("coindesk", answer)

    again, _ = await recall(store.readers, store.instruments, since=EPOCH, scorer="blend@1")

    assert np.isfinite(said[-1].values[0]).sum() > 5
    for one in said:
        other = joined(again, one.as_of)
        assert np.array_equal(one.values, other.values, equal_nan=True)
        assert one.status == other.status


def joined(told: SentimentFeatures, as_of: object) -> SentimentBatch:
    batch = next(one for one in WALK if one.as_of == as_of)
    n = len(batch)
    features = FeatureBatch(
        exchange=batch.exchange,
        timeframe=batch.timeframe,
        as_of=batch.as_of,
        instruments=batch.instruments,
        feature_set=OHLCV,
        values=np.zeros((n, len(OHLCV.columns))),
        coverage=np.ones(n),
        revision=np.ones(n, dtype=np.int64),
        candle_revision=np.ones(n, dtype=np.int64),
        known_at=from_ms(to_ms(batch.as_of)),
    )
    found = told.beside(replace(features)).told
    assert found is not None
    return found
