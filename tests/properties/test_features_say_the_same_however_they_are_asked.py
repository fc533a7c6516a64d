"""Features look only back, and are one: live or in history, in any order, after a restart."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.events import CandleBatch, Floats
from domain.market import Instrument, Timeframe, from_ms
from services.features.engine import FeatureEngine
from services.features.feature_set import COLUMNS, OHLCV, Unit
from tests.factories import random_walk

HOUR = Timeframe.H1.ms
BARS, INSTRUMENTS = 230, 4
NAMES = tuple(Instrument("binance", f"S{i}/USDT") for i in range(INSTRUMENTS))
AS_OF_MS = HOUR * (500_000 + np.arange(BARS))
SEEDS = st.integers(0, 2**32 - 1)
CUTS = st.integers(1, BARS - 1)


def market(seed: int) -> Floats:
    """Candles (T, n, 5) with holes of all lengths, joins, standstills and empty volumes."""
    rng = np.random.default_rng(seed)
    candles = np.stack(list(random_walk(BARS, INSTRUMENTS, seed=seed).values()), axis=-1)
    missing = np.zeros((BARS, INSTRUMENTS), dtype=bool)
    for column in range(INSTRUMENTS):
        for _ in range(rng.integers(0, 4)):
            start, kind = rng.integers(0, BARS), rng.integers(0, 4)
            stretch = slice(start, start + rng.integers(1, 12))
            if kind == 0:
                candles[stretch, column, 4] = 0.0
            elif kind == 1:
                candles[stretch, column, :4] = candles[start, column, 3]
            else:
                missing[stretch, column] = True
        if rng.random() < 0.3:
            missing[: rng.integers(0, BARS), column] = True
    candles[missing] = np.nan
    return candles


def engine() -> FeatureEngine:
    return FeatureEngine(OHLCV, "binance", Timeframe.H1)


def walk(
    candles: Floats,
    *,
    start: int = 0,
    by: FeatureEngine | None = None,
    order: slice | Floats = slice(None),
) -> tuple[Floats, Floats]:
    names = tuple(np.array(NAMES, dtype=object)[order])
    return (by or engine()).walk(
        instruments=names, as_of_ms=AS_OF_MS[start : start + len(candles)], candles=candles
    )


def same(left: Floats, right: Floats) -> bool:
    """Equal to the bit, every column; NaN equals NaN."""
    return left.shape == right.shape and np.array_equal(left, right, equal_nan=True)


def batch(candles: Floats, tick: int, present: list[int]) -> CandleBatch:
    opened, high, low, close, volume = candles[tick, present].T
    return CandleBatch(
        exchange="binance",
        timeframe=Timeframe.H1,
        as_of=from_ms(int(AS_OF_MS[tick])),
        instruments=tuple(NAMES[i] for i in present),
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume,
        known_at=from_ms(int(AS_OF_MS[tick])),
        revision=np.ones(len(present), dtype=np.int64),
    )


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, cut=CUTS)
def test_features_do_not_change_when_later_candles_are_cut_off(seed: int, cut: int) -> None:
    candles = market(seed)

    whole, truncated = walk(candles), walk(candles[:cut])

    assert same(whole[0][:cut], truncated[0])
    assert same(whole[1][:cut], truncated[1])


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, cut=CUTS)
def test_a_shock_changes_nothing_before_it(seed: int, cut: int) -> None:
    candles = market(seed)
    shocked = candles.copy()
    shocked[cut:] *= 10.0

    assert same(walk(candles)[0][:cut], walk(shocked)[0][:cut])


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_a_walk_through_history_equals_stepping_live(seed: int) -> None:
    candles, live = market(seed), engine()
    values, coverage = walk(candles)

    for tick in range(BARS):
        present = np.flatnonzero(~np.isnan(candles[tick, :, 3])).tolist()
        if present:
            features = live.on_candles(batch(candles, tick, present))
            assert same(features.values, values[tick, present])
            assert same(features.coverage, coverage[tick, present])


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, order=st.permutations(range(INSTRUMENTS)))
def test_the_order_of_instruments_changes_nothing(seed: int, order: list[int]) -> None:
    candles = market(seed)

    values, coverage = walk(candles)
    shuffled = walk(candles[:, order], order=np.array(order))

    assert same(values[:, order], shuffled[0])
    assert same(coverage[:, order], shuffled[1])


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, cut=CUTS)
def test_a_restored_snapshot_continues_to_the_bit(seed: int, cut: int) -> None:
    candles, first, second = market(seed), engine(), engine()
    whole = walk(candles)[0]

    walk(candles[:cut], by=first)
    second.restore(first.snapshot())

    assert same(walk(candles[cut:], start=cut, by=second)[0], whole[cut:])
    walk(candles[cut:], start=cut, by=first)
    assert second.snapshot() == first.snapshot()


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, price=st.floats(1e-6, 1e6), volume=st.floats(1e-6, 1e6))
def test_another_unit_of_price_or_volume_scales_what_has_units(
    seed: int, price: float, volume: float
) -> None:
    candles = market(seed)
    factors = {Unit.PRICE: price, Unit.VOLUME: volume, Unit.NONE: 1.0}

    values = walk(candles)[0]
    scaled = walk(candles * np.array([price] * 4 + [volume]))[0]

    for i, column in enumerate(COLUMNS):
        expected = values[..., i] * factors[column.unit]
        size = np.nanmax(np.abs(expected), initial=0.0)
        np.testing.assert_allclose(
            scaled[..., i], expected, rtol=1e-9, atol=1e-9 * size, err_msg=column.name
        )


EXTREMES = st.one_of(st.floats(1e-99, 1e99), st.sampled_from([1e-99, 1.0, 1.0 + 2**-52, 1e99]))
VOLUMES = st.one_of(st.just(0.0), st.floats(0.0, 1e99), st.just(5e-324))


@settings(max_examples=60, deadline=None)
@example(some=[(0.5, 0.5, 0.5, 0.5, 5e-324)])  # price times volume is 0
@given(
    some=st.lists(
        st.tuples(EXTREMES, EXTREMES, EXTREMES, EXTREMES, VOLUMES), min_size=1, max_size=9
    )
)
def test_no_candle_however_extreme_makes_a_feature_infinite(
    some: list[tuple[float, float, float, float, float]],
) -> None:
    prices = np.resize(np.array(some), (BARS, 5))
    ordered = np.sort(prices[:, :4], axis=1)
    candles = np.column_stack(
        [ordered[:, 1], ordered[:, 3], ordered[:, 0], ordered[:, 2], prices[:, 4]]
    )

    values = walk(candles[:, np.newaxis], order=slice(1))[0]

    assert not np.isinf(values).any(), np.array(OHLCV.columns)[np.isinf(values).any(axis=(0, 1))]
