"""What was recorded is read back as it was, and only as it was known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import asyncpg
import numpy as np
import pytest

from backend.store import database
from backend.store.collected import CollectedCandles
from backend.store.features import register_feature_set
from backend.store.history import History
from backend.store.instruments import Instruments
from backend.store.recorder import Recorder
from collectors.versions import rank
from domain.errors import StoreError
from domain.events import FeatureSet, PredictionBatch, Role
from domain.market import Horizon, Instrument, Listing, Timeframe, to_ms
from tests.integration.store_samples import (
    FEATURES,
    INSTRUMENTS,
    at,
    candles,
    features,
    labels,
    outcomes,
    predictions,
    signal,
    signals,
)

H1 = Timeframe.H1


class Store(NamedTuple):
    pool: asyncpg.Pool
    instruments: Instruments
    recorder: Recorder
    history: History


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    pool = await database.connect_pool(database_url, size=2)
    instruments = Instruments(pool)
    await instruments.ids([INSTRUMENTS[2], INSTRUMENTS[0]])  # numbers in another order than names
    await register_feature_set(pool, FEATURES, spec={"ret_1": "log"}, code_sha="ab")
    recorder = Recorder(pool, instruments)
    yield Store(pool, instruments, recorder, History(pool, instruments))
    await pool.close()


async def test_candles_come_back_by_instrument_and_in_time(store: Store) -> None:
    for number in (3, 1, 2):
        await store.recorder.commit_tick([candles(number)], published_at=at(number))
    wanted = [INSTRUMENTS[1], Instrument("binance", "NEW/USDT"), INSTRUMENTS[0]]

    found = await store.history.candles(wanted, H1, since=at(0), until=at(3), limit=2)

    assert [one.instrument for one in found] == wanted
    assert [len(one) for one in found] == [2, 0, 2]
    assert found[0].open_ms.tolist() == [to_ms(at(1)), to_ms(at(2))]
    assert found[0].close.tolist() == [101.5, 101.5]
    assert found[2].revision.dtype == np.int64


async def test_whatever_an_exchange_says_outranks_what_a_collector_starts_from(
    store: Store,
) -> None:
    for number in (1, 2, 3):
        await store.recorder.commit_tick([candles(number)], published_at=at(number))

    newest = await CollectedCandles(store.history).newest(INSTRUMENTS[0], H1, count=2)

    assert [one.open_ms for one in newest] == [to_ms(at(1)), to_ms(at(2))]
    for one in newest:
        assert rank(replace(one, volume=0.0, confirmed=True)) > rank(one)
        assert rank(replace(one, volume=0.0, event_ms=1)) > rank(one)


async def test_a_panel_has_a_hole_where_a_candle_is_missing(store: Store) -> None:
    for number in (1, 3):
        await store.recorder.commit_tick([candles(number)], published_at=at(number))

    panel = await store.history.panel(INSTRUMENTS, H1, since=at(0), until=at(9))

    assert panel.close.shape == (3, 3)
    assert np.isnan(panel.close[1]).all()
    assert panel.volume[2].tolist() == [1.5, 0.0, 2.25]
    assert panel.revision[:, 0].tolist() == [1, 0, 1]
    empty = await store.history.panel(INSTRUMENTS, H1, since=at(50), until=at(60))
    assert empty.close.shape == (0, 3)


async def test_feature_rows_are_the_newest_revision_in_order(store: Store) -> None:
    told = [features(1), features(2), features(1, revision=2, value=0.75)]
    for batch in told:
        await store.recorder.commit_tick([batch], published_at=at(2))

    table = await store.history.feature_rows(INSTRUMENTS, H1, FEATURES.id, since=at(0), until=at(2))

    assert table.instruments == INSTRUMENTS * 2
    assert table.revision.tolist() == [2, 2, 2, 1, 1, 1]
    assert table.values[:, 0].tolist() == [0.75] * 3 + [0.25] * 3
    assert np.isnan(table.values[0, 1])
    assert table.columns == FEATURES.columns


async def test_examples_hold_nothing_that_was_not_known(store: Store) -> None:
    for number in (1, 2, 3):
        await store.recorder.commit_tick([features(number)], published_at=at(number))
        await store.recorder.commit_learning([labels(number)], published_at=at(number + 4))
    later = replace(features(1, revision=2, value=9.0), known_at=at(8))
    await store.recorder.commit_tick([later], published_at=at(8))

    found = await store.history.examples(
        "binance", H1, 4, feature_set=FEATURES.id, until=at(6), rows=9
    )

    assert found.as_of_ms.tolist() == [to_ms(at(1))] * 3 + [to_ms(at(2))] * 3
    assert found.instruments == INSTRUMENTS * 2
    assert found.features[:, 0].tolist() == [0.25] * 6
    assert found.outcome.tolist() == [-1.0, 0.0, 1.0] * 2
    assert found.known_ms[0] == to_ms(at(5))
    assert found.direction_known_ms[0] == to_ms(at(3))
    assert np.isnan(found.features[3, 1])


async def test_a_later_revision_of_a_label_is_not_known_before_it_came(store: Store) -> None:
    await store.recorder.commit_tick([features(1)], published_at=at(1))
    corrected = replace(
        labels(1),
        revision=np.full(3, 2),
        known_ms=np.full(3, to_ms(at(8))),
        outcome=np.array([1.0, 1.0, 1.0]),
    )
    await store.recorder.commit_learning([labels(1), corrected], published_at=at(8))

    before, after = [
        await store.history.examples(
            "binance", H1, 4, feature_set=FEATURES.id, until=at(until), rows=99
        )
        for until in (7, 8)
    ]

    assert before.outcome.tolist() == [-1.0, 0.0, 1.0]
    assert after.outcome.tolist() == [1.0, 1.0, 1.0]


async def test_of_many_rows_whole_closes_are_kept_evenly_over_the_past(store: Store) -> None:
    for number in range(96):
        await store.recorder.commit_tick([features(number)], published_at=at(number))
        await store.recorder.commit_learning([labels(number)], published_at=at(number + 4))

    fewer, more = [
        await store.history.examples(
            "binance", H1, 4, feature_set=FEATURES.id, until=at(100), rows=rows
        )
        for rows in (36, 96)
    ]

    assert [len(one) for one in (fewer, more)] == pytest.approx([36, 96], abs=3)
    hours = [np.unique(one.as_of_ms) // H1.ms for one in (fewer, more)]
    assert all(len(one) == 3 * len(kept) for one, kept in zip((fewer, more), hours, strict=True))
    assert set(hours[0]) < set(hours[1])
    assert set(np.diff(hours[1])) <= {2, 3, 5}
    assert len(np.unique(hours[1] % 24)) > 16


async def test_an_instrument_that_left_keeps_its_place_among_the_examples(store: Store) -> None:
    await store.instruments.watch([Listing(instrument=one) for one in INSTRUMENTS], since=at(0))
    await store.recorder.commit_tick([features(1)], published_at=at(1))
    await store.recorder.commit_learning([labels(1)], published_at=at(5))
    await store.instruments.unwatch(INSTRUMENTS[0], until=at(6), removed=True)

    found = await store.history.examples(
        "binance", H1, 4, feature_set=FEATURES.id, until=at(9), rows=9
    )

    assert found.instruments == INSTRUMENTS


async def test_void_labels_are_no_examples(store: Store) -> None:
    for number in (1, 2):
        await store.recorder.commit_tick([features(number)], published_at=at(number))
    await store.recorder.commit_learning([labels(1, void=True), labels(2)], published_at=at(6))
    refilled = replace(labels(1), revision=np.full(3, 2), known_ms=np.full(3, to_ms(at(7))))
    await store.recorder.commit_learning([refilled], published_at=at(7))

    before, after = [
        await store.history.examples(
            "binance", H1, 4, feature_set=FEATURES.id, until=at(until), rows=99
        )
        for until in (6, 7)
    ]

    assert set(before.as_of_ms.tolist()) == {to_ms(at(2))}
    assert set(after.as_of_ms.tolist()) == {to_ms(at(1)), to_ms(at(2))}
    nothing = await store.history.examples(
        "kraken", H1, 4, feature_set=FEATURES.id, until=at(9), rows=9
    )
    assert len(nothing) == 0
    assert nothing.features.shape == (0, 3)


async def test_pending_predictions_come_back_as_the_batches_they_were(store: Store) -> None:
    member = predictions(2, role=Role.MEMBER, model="pool.direction")
    await store.recorder.commit_tick([predictions(1)], published_at=at(1))
    await store.recorder.commit_tick([predictions(2)], published_at=at(2))
    await store.recorder.commit_learning([member, outcomes(1)], published_at=at(5))

    async def pending(after: int, until: int, judged_after: int = 9) -> list[PredictionBatch]:
        return await store.history.pending_predictions(
            Horizon(H1, 4),
            exchange="binance",
            after=at(after),
            until=at(until),
            judged_after=at(judged_after),
        )

    found = await pending(0, 2)

    assert [(one.role, one.as_of) for one in found] == [
        (Role.CHAMPION, at(2)),
        (Role.MEMBER, at(2)),
    ]
    assert found[0].instruments == INSTRUMENTS
    assert found[0].members == {"logistic.direction": "1"}
    assert found[0].degraded == ("", "no_skill.direction,stale", "")
    assert found[1].probabilities.tobytes() == member.probabilities.tobytes()
    assert np.isnan(found[1].volatility).all()
    assert await pending(2, 9) == await pending(0, 1) == []
    assert [one.as_of for one in await pending(0, 1, judged_after=0)] == [at(1)]


async def test_open_signals_come_back_as_they_stand(store: Store) -> None:
    open_one, done = signal(1), signal(1, place=2)
    flat = signal(1, place=0, side="flat", status="flat", gate="cost")
    await store.recorder.commit_tick([signals(1, open_one, done, flat)], published_at=at(1))
    closed = replace(done, status="expired", closed_ms=to_ms(at(5)), exit_price=1.0)
    await store.recorder.commit_tick([signals(5, closed, event="closed")], published_at=at(5))

    assert await store.history.open_signals("binance", H1) == [open_one]


async def test_a_market_was_reached_when_something_of_it_was_stored_or_published(
    store: Store,
) -> None:
    assert await store.history.reached("binance") is None
    await store.recorder.commit_tick([candles(1)], published_at=at(1))
    assert await store.history.reached("binance") == candles(1).known_at
    await store.recorder.commit_tick([predictions(1)], published_at=at(1) + timedelta(minutes=1))
    assert await store.history.reached("binance") == at(1) + timedelta(minutes=1)
    assert await store.history.reached("kraken") is None


async def test_a_feature_set_has_a_view_and_keeps_its_columns(store: Store) -> None:
    await store.recorder.commit_tick([features(1)], published_at=at(1))
    await register_feature_set(store.pool, FEATURES, spec={}, code_sha="cd")

    row = await store.pool.fetchrow("SELECT * FROM ml_features_ohlcv_1 WHERE symbol = 'ADA/USDT'")

    assert (row["ret_1"], row["rsi_14"], row["as_of"]) == (0.25, None, at(1))
    other = FeatureSet(
        name="ohlcv", version=1, columns=("ret_2",), model_columns=(), warmup_bars=14
    )
    with pytest.raises(StoreError, match="other columns"):
        await register_feature_set(store.pool, other, spec={}, code_sha="ab")
    with pytest.raises(StoreError, match="no feature set"):
        await store.history.feature_rows(INSTRUMENTS, H1, "ohlcv@9", since=at(0), until=at(1))


async def test_instruments_are_watched_from_and_until(store: Store) -> None:
    listing = Listing(instrument=INSTRUMENTS[0], tick_size=0.01)
    await store.instruments.watch([listing], since=at(1))

    assert await store.instruments.watched(at(2)) == [listing]
    assert await store.instruments.watched(at(1) - timedelta(seconds=1)) == []
    assert await store.instruments.unwatch(INSTRUMENTS[0], until=at(3))
    assert not await store.instruments.unwatch(INSTRUMENTS[0], until=at(4))
    assert await store.instruments.watched(at(3)) == []
    await store.instruments.watch([Listing(instrument=INSTRUMENTS[0])], since=at(5))
    assert await store.instruments.watched(at(5)) == [listing]


async def test_what_is_watched_later_than_others_joins_then(store: Store) -> None:
    first, second, third = INSTRUMENTS[:3]
    await store.instruments.watch([Listing(instrument=first)], since=at(1))
    await store.instruments.watch([Listing(instrument=first)], since=at(2))  # started again
    await store.instruments.watch([Listing(instrument=second)], since=at(2), added=True)
    await store.instruments.watch([Listing(instrument=third)], since=at(2))
    await store.instruments.join(second, at=at(3))
    await store.instruments.join(first, at=at(3))
    await store.instruments.unwatch(third, until=at(3))
    await store.instruments.watch([Listing(instrument=third)], since=at(4))

    found = await store.instruments.membership(first.exchange)

    assert found.joined == {first: None, second: at(3), third: at(2)}
    assert set(found.watched) == {first, second, third}
    assert found.added == (second,)

    await store.instruments.unwatch(second, until=at(5), removed=True)
    await store.instruments.unwatch(second, until=at(5))  # which it was not
    left = await store.instruments.membership(first.exchange)
    assert set(left.watched) == {first, third}
    assert left.added == ()
    assert left.removed == {second}
    assert not found.removed
    await store.instruments.watch([Listing(instrument=second)], since=at(6))
    assert not (await store.instruments.membership(first.exchange)).removed
    assert left.joined == found.joined


async def test_the_newest_served_close_is_that_of_the_champion(store: Store) -> None:
    later = predictions(3, role=Role.MEMBER, model="pool.direction")
    for number in (1, 2):
        await store.recorder.commit_tick([predictions(number)], published_at=at(number))
    await store.recorder.commit_learning([later], published_at=at(3))
    wanted = [Instrument("binance", "NEW/USDT"), INSTRUMENTS[0]]

    assert await store.history.newest_served(wanted, Horizon(H1, 4)) == {INSTRUMENTS[0]: at(2)}
    assert await store.history.newest_served(wanted, Horizon(H1, 24)) == {}
