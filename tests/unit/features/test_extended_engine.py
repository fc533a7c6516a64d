"""A set beside the release's: its own columns at holes, restarts, late candles and in snapshots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from domain.events import CandleBatch, FeatureBatch, Floats
from domain.market import Timeframe
from services.features.engine import FeatureEngine, OutOfOrderError
from services.features.extended import begin
from services.features.kinds import RELEASE, CandleSet
from tests.factories import BTC, ETH, candle_batches
from tests.second_set import PLUGIN, SECOND

OWN = ("drawdown_12", "highest_12")


def engine() -> FeatureEngine:
    return begin(SECOND, "simulated", Timeframe.H1)


def own(rows: list[FeatureBatch]) -> Floats:
    return np.array([[batch.column(name)[0] for name in OWN] for batch in rows])


def run(batches: list[CandleBatch], target: FeatureEngine | None = None) -> list[FeatureBatch]:
    target = target or engine()
    return [target.on_candles(batch) for batch in batches]


def test_its_columns_are_those_of_the_release_and_its_own() -> None:
    batches = candle_batches([BTC], 40)

    rows = run(batches)[-1]

    theirs = run(batches, begin(RELEASE, "simulated", Timeframe.H1))[-1]
    assert rows.feature_set.id == "ohlcv@2"
    assert rows.feature_set.columns == (
        *(name for name in theirs.feature_set.columns if name not in PLUGIN.without),
        *OWN,
    )
    assert "highest_12" not in rows.feature_set.model_columns
    for name in rows.feature_set.columns[: -len(OWN)]:
        assert np.array_equal(rows.column(name), theirs.column(name), equal_nan=True)
    highest = max(batch.high[0] for batch in batches[-12:])
    assert rows.column("highest_12")[0] == highest
    assert rows.column("drawdown_12")[0] == np.log(batches[-1].close[0] / highest)


def test_a_hole_is_stepped_over_and_a_longer_one_begins_anew() -> None:
    batches = candle_batches([BTC], 60)

    short = own(run([*batches[:30], *batches[33:]]))
    long = own(run([*batches[:30], *batches[34:]]))

    highest = max(batch.high[0] for batch in [*batches[22:30], *batches[33:37]])
    assert short[33, 1] == highest
    assert np.isnan(long[30:41]).all()
    assert np.array_equal(long[41:], own(run(batches[34:]))[11:])


def test_a_late_candle_and_a_newcomer_have_their_own_windows() -> None:
    target, whole = engine(), candle_batches([BTC, ETH], 30)
    rows = []
    for number, batch in enumerate(whole):
        alone = [
            replace(
                batch,
                instruments=(one,),
                late=late,
                **{
                    name: getattr(batch, name)[place : place + 1]
                    for name in ("open", "high", "low", "close", "volume", "revision")
                },
            )
            for place, (one, late) in enumerate(((BTC, False), (ETH, True)))
        ]
        rows.append([target.on_candles(one) for one in alone[: 1 + (number >= 10)]])

    eth = candle_batches([BTC, ETH], 30)[10:]
    highest = max(batch.high[1] for batch in eth[-12:])
    assert rows[-1][1].column("highest_12")[0] == highest
    assert np.isnan(rows[20][1].column("highest_12")[0])
    assert not np.isnan(rows[21][1].column("highest_12")[0])


def test_a_refused_batch_changes_nothing() -> None:
    batches = candle_batches([BTC], 30)
    target = engine()
    run(batches[:20], target)
    state = target.snapshot()

    with pytest.raises(OutOfOrderError):
        target.on_candles(batches[10])

    assert target.snapshot() == state


def test_a_snapshot_goes_on_to_the_bit_and_is_refused_by_others() -> None:
    batches = candle_batches([BTC, ETH], 60)
    whole = run(batches)
    first = engine()
    run(batches[:40], first)
    second = engine()
    second.restore(first.snapshot())

    rows = run(batches[40:], second)

    assert all(
        np.array_equal(one.values, other.values, equal_nan=True)
        for one, other in zip(rows, whole[40:], strict=True)
    )
    wider = begin(CandleSet.of(replace(PLUGIN, candles=13)), "simulated", Timeframe.H1)
    with pytest.raises(ValueError, match="another layout of ohlcv@2"):
        wider.restore(first.snapshot())
    third = begin(CandleSet.of(replace(PLUGIN, version=3)), "simulated", Timeframe.H1)
    with pytest.raises(ValueError, match="a state of ohlcv@2"):
        third.restore(first.snapshot())
