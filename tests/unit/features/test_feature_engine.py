"""The engine at the edges: holes, restarts, late instruments, refusals, snapshots."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from domain.events import CandleBatch, FeatureBatch, Floats
from domain.market import Instrument, Timeframe
from services.features.engine import FeatureEngine, OutOfOrderError
from services.features.feature_set import OHLCV
from tests.factories import BTC, ETH, SOL, candle_batches

ALONE = [i for i, name in enumerate(OHLCV.columns) if "market" not in name and "rank" not in name]
SHAPE = ("open", "high", "low", "close", "volume", "revision")


def engine() -> FeatureEngine:
    return FeatureEngine(OHLCV, "simulated", Timeframe.H1)


def only(batch: CandleBatch, *chosen: Instrument, **changes: Any) -> CandleBatch:
    """`batch` with only the `chosen` instruments."""
    rows = [batch.instruments.index(instrument) for instrument in chosen]
    arrays = {name: getattr(batch, name)[rows] for name in SHAPE}
    return replace(batch, instruments=tuple(chosen), **(arrays | changes))


def run(target: FeatureEngine, batches: list[CandleBatch]) -> list[FeatureBatch]:
    return [target.on_candles(batch) for batch in batches]


def same(left: Floats, right: Floats) -> bool:
    """Equal to the bit; NaN equals NaN."""
    return np.array_equal(left, right, equal_nan=True)


def test_a_feature_batch_carries_the_head_of_its_candles() -> None:
    batch = replace(candle_batches([BTC, ETH], 1)[0], revision=np.array([1, 3]))

    features = engine().on_candles(batch)

    assert (features.as_of, features.instruments) == (batch.as_of, (BTC, ETH))
    assert features.candle_revision.tolist() == [1, 3]
    assert features.revision.tolist() == [1, 1]
    assert features.column("close").tolist() == batch.close.tolist()


def test_three_missing_candles_are_stepped_over() -> None:
    batches = candle_batches([BTC], 60)
    whole = run(engine(), [*batches[:30], *batches[33:]])

    first = whole[30]

    gap = np.log(batches[33].close / batches[29].close)
    assert first.column("log_return_1") == pytest.approx(gap)
    assert np.isfinite(first.column("rsi_14")).all()
    assert np.isfinite(first.column("vwap")).all()


def test_four_missing_candles_restart_every_window() -> None:
    batches = candle_batches([BTC], 120)
    holed = run(engine(), [*batches[:30], *batches[34:]])
    fresh = run(engine(), batches[34:])

    assert np.isnan(holed[30].column("log_return_1")).all()
    for after, new in zip(holed[30:], fresh, strict=True):
        assert same(after.values, new.values)
        assert after.coverage > new.coverage


def test_coverage_is_the_share_of_the_last_200_candles_that_exist() -> None:
    batches = candle_batches([BTC], 420)
    missing = {50, 51, 100, *range(150, 160)}
    features = run(engine(), [b for i, b in enumerate(batches) if i not in missing])
    coverage = {f.as_of: float(f.coverage[0]) for f in features}

    assert coverage[batches[0].as_of] == 1 / 200
    assert coverage[batches[49].as_of] == 50 / 200
    assert coverage[batches[199].as_of] == 187 / 200
    assert coverage[batches[249].as_of] == 187 / 200
    assert coverage[batches[251].as_of] == 189 / 200
    assert coverage[batches[358].as_of] == 199 / 200
    assert coverage[batches[359].as_of] == 1.0


def test_an_instrument_that_comes_late_changes_nobody_else() -> None:
    batches = candle_batches([BTC, ETH, SOL], 60)
    prompt, delayed = engine(), engine()
    run(prompt, [only(b, BTC, ETH) for b in batches])

    for i, batch in enumerate(batches):
        delayed.on_candles(only(batch, BTC, ETH))
        if i:
            delayed.on_candles(only(batches[i - 1], SOL, late=True))

    following = candle_batches([BTC, ETH], 61)[60]
    assert same(prompt.on_candles(following).values, delayed.on_candles(following).values)


def test_a_late_instrument_is_compared_with_the_cross_section_as_it_was_drawn() -> None:
    batches = candle_batches([BTC, ETH, SOL], 60)
    early, late = engine(), engine()
    for batch in batches[:-1]:
        early.on_candles(only(batch, BTC, ETH))
        late.on_candles(only(batch, BTC, ETH))
        row = late.on_candles(only(batch, SOL, late=True))

    pair = late.on_candles(only(batches[-1], BTC, ETH))
    row = late.on_candles(only(batches[-1], SOL, late=True))

    assert row.column("market_return_1")[0] == pair.column("market_return_1")[0]
    own, others = row.column("log_return_1")[0], pair.column("log_return_1")
    assert row.column("return_rank_1")[0] == (others < own).mean()
    assert np.isfinite(row.values).sum() == np.isfinite(pair.values[0]).sum()


def test_an_instrument_added_with_its_history_has_a_beta_but_no_old_ranks() -> None:
    batches = candle_batches([BTC, ETH, SOL], 100)
    target = engine()
    run(target, [only(batch, BTC, ETH) for batch in batches])

    joined = run(target, [only(batch, SOL, late=True) for batch in batches])

    assert np.isfinite(joined[-1].column("market_beta")).all()
    assert np.isfinite(joined[-8].column("return_rank_1")).all()
    assert np.isnan(joined[-9].column("return_rank_1")).all()


def test_a_late_batch_does_not_close_its_tick_for_the_others() -> None:
    batch = candle_batches([BTC, ETH], 1)[0]
    target = engine()

    target.on_candles(only(batch, BTC, late=True))

    assert len(target.on_candles(only(batch, ETH))) == 1


def test_a_late_batch_without_a_drawn_cross_section_has_no_market() -> None:
    batches = candle_batches([BTC], 60)

    features = run(engine(), [replace(batch, late=True) for batch in batches])

    for name in ("market_return_1", "return_rank_1", "market_beta"):
        assert np.isnan(features[-1].column(name)).all()
    assert np.isfinite(features[-1].values[:, ALONE]).sum() > 40


def test_a_late_instrument_meets_the_same_cross_section_after_a_restart() -> None:
    batches = candle_batches([BTC, ETH, SOL], 60)
    first, second = engine(), engine()
    run(first, [only(batch, BTC, ETH) for batch in batches])

    second.restore(first.snapshot())

    late = [only(batch, SOL, late=True) for batch in batches]
    expected, found = run(first, late), run(second, late)
    assert all(same(e.values, f.values) for e, f in zip(expected, found, strict=True))
    assert np.isfinite(found[-1].column("market_beta")).all()
    assert np.isfinite(found[-1].column("return_rank_1")).all()


def test_many_instruments_joining_one_by_one_keep_what_the_first_knew() -> None:
    batches = candle_batches([BTC], 80)
    crowd = candle_batches([Instrument("simulated", f"S{i}/USDT") for i in range(40)], 80)
    alone, crowded = engine(), engine()

    for i, batch in enumerate(batches):
        expected = alone.on_candles(batch)
        found = crowded.on_candles(batch)
        crowded.on_candles(only(crowd[i], *crowd[i].instruments[: i // 2], late=True))

        assert same(expected.values, found.values)


def refused(batch: CandleBatch, error: type[Exception], message: str) -> None:
    """`batch` is refused by an engine with 30 candles, which stays as it was."""
    target = engine()
    run(target, candle_batches([BTC, ETH], 30))
    before = target.snapshot()

    with pytest.raises(error, match=message):
        target.on_candles(batch)

    assert target.snapshot() == before


def test_an_older_candle_is_refused_with_both_times() -> None:
    old = candle_batches([BTC, ETH], 30)[7]

    refused(old, OutOfOrderError, "cross-section of 2024-01-01T08:00:00.000Z is past")
    refused(
        replace(old, late=True),
        OutOfOrderError,
        "BTC/USDT 1h: the candle of 2024-01-01T08:00:00.000Z is not newer than the last one, "
        "of 2024-01-02T06:00:00.000Z",
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("close", np.nan),
        ("close", 1e9),
        ("low", 0.0),
        ("low", -1.0),
        ("high", np.inf),
        ("high", 1.0),
        ("volume", -1.0),
        ("volume", np.inf),
    ],
)
def test_an_impossible_candle_is_refused(field: str, value: float) -> None:
    batch = candle_batches([BTC, ETH], 31)[30]
    changes: dict[str, Any] = {field: getattr(batch, field).copy()}
    changes[field][1] = value

    refused(replace(batch, **changes), ValueError, "ETH/USDT 1h: impossible candle")


def test_what_belongs_elsewhere_is_refused() -> None:
    batch = candle_batches([BTC, ETH], 31)[30]
    elsewhere = replace(batch, exchange="kraken")
    between = replace(batch, as_of=batch.as_of + timedelta(minutes=1))

    refused(elsewhere, ValueError, "kraken 1h came to the engine of simulated 1h")
    refused(between, ValueError, "off the grid")
    refused(replace(batch, instruments=(SOL, SOL)), ValueError, "named twice")


@pytest.mark.parametrize("volume", [0.0, 5.0])
def test_candles_without_range_or_volume_leave_unknown_what_they_leave_undefined(
    volume: float,
) -> None:
    batches = candle_batches([BTC], 200)
    flat: dict[str, Any] = dict.fromkeys(("open", "high", "low", "close"), np.array([0.1]))
    last = run(engine(), [replace(b, **flat, volume=np.array([volume])) for b in batches])[-1]
    named = dict(zip(OHLCV.columns, last.values[0], strict=True))

    undefined = {name for name, value in named.items() if np.isnan(value)}

    without_volume = set() if volume else {"vwap", "vwap_distance", "obv_ratio_24"}
    assert undefined == without_volume | {
        "volatility_ratio_24_168",
        "downside_share_24",
        "rsi_14",
        "adx_14",
        "plus_di_14",
        "minus_di_14",
        "cci_20",
        "bollinger_position",
        "stochastic_k",
        "stochastic_d",
        "williams_r_14",
        "position_in_range_24",
        "mfi_14",
        "volume_z_24",
        "body_ratio",
        "upper_wick_ratio",
        "lower_wick_ratio",
        "market_beta",
        "market_correlation",
    }
    for name in ("ewma_variance", "gk_variance_168", "atr_14", "macd_line", "bollinger_width"):
        assert named[name] == pytest.approx(0.0, abs=1e-16)


def test_a_snapshot_of_another_owner_or_no_snapshot_is_refused() -> None:
    state = engine().snapshot()
    other = FeatureEngine(OHLCV, "simulated", Timeframe.M5)

    with pytest.raises(ValueError, match="a state of ohlcv@1 simulated 1h"):
        other.restore(state)


def test_another_feature_set_has_no_kernel() -> None:
    with pytest.raises(ValueError, match="no kernel for the feature set ohlcv@2"):
        FeatureEngine(replace(OHLCV, version=2), "simulated", Timeframe.H1)
