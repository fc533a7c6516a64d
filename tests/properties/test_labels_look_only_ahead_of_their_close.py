"""Labels against a definition written out in words, on random candles with holes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.events import CandleBatch, LabelBatch
from domain.market import Instrument, Timeframe, to_ms
from services.labels.labeller import Labeller
from tests.factories import BTC, ETH, SOL, candle_batches

HOUR = Timeframe.H1.ms
BARS = 90
FIELDS = ("direction_known_ms", "known_ms", "outcome", "weight", "log_return")
FIELDS += ("realized_volatility", "uniqueness")


@dataclass(frozen=True)
class Market:
    """Ticks of three instruments, some candles missing."""

    ticks: list[CandleBatch]
    horizon: int


@st.composite
def markets(draw) -> Market:
    seed = draw(st.integers(0, 10_000))
    missing = draw(st.sets(st.tuples(st.integers(0, BARS - 1), st.integers(0, 2)), max_size=12))
    hole = draw(st.tuples(st.integers(55, BARS - 1), st.integers(0, 6), st.integers(0, 2)))
    missing |= {(hole[0] + extra, hole[2]) for extra in range(hole[1])}
    ticks = candle_batches([BTC, ETH, SOL], BARS, seed=seed)
    kept = [
        drop(batch, {column for row, column in missing if row == number})
        for number, batch in enumerate(ticks)
    ]
    return Market(kept, draw(st.sampled_from([1, 2, 5])))


def drop(batch: CandleBatch, columns: set[int]) -> CandleBatch:
    return choose(batch, [i for i in range(len(batch)) if i not in columns])


def choose(batch: CandleBatch, rows: list[int]) -> CandleBatch:
    names = ("open", "high", "low", "close", "volume", "revision")
    arrays = {name: getattr(batch, name)[rows] for name in names}
    return replace(batch, instruments=tuple(batch.instruments[i] for i in rows), **arrays)


Key = tuple[Instrument, int, bool]  # instrument, as_of in ms, complete


def labels(ticks: list[CandleBatch], horizon: int) -> dict[Key, dict[str, float]]:
    labeller = Labeller("simulated", Timeframe.H1, horizon)
    found: dict[Key, dict[str, float]] = {}
    for batch in ticks:
        for out in labeller.on_candles(batch):
            in_order(out)
            for i, instrument in enumerate(out.instruments):
                key = (instrument, int(out.as_of_ms[i]), bool(out.known_ms[i]))
                assert key not in found
                found[key] = {name: getattr(out, name)[i].item() for name in FIELDS}
    return found


def in_order(batch: LabelBatch) -> None:
    keys = list(zip(batch.known_ms, batch.as_of_ms, batch.instruments, strict=True))
    assert keys == sorted(keys)


def reference(ticks: list[CandleBatch], horizon: int) -> dict[Key, dict[str, float]]:
    """The same, one label at a time, from the whole series of each instrument."""
    found: dict[Key, dict[str, float]] = {}
    for instrument in (BTC, ETH, SOL):
        series: dict[int, tuple[float, ...]] = {}
        for batch in ticks:
            for i, one in enumerate(batch.instruments):
                if one == instrument:
                    prices = (batch.open[i], batch.high[i], batch.low[i], batch.close[i])
                    series[to_ms(batch.as_of) // HOUR] = tuple(float(price) for price in prices)
        widths = {close: width(series, close, horizon) for close in series}
        ends = {c: touch(series, c, horizon, widths[c])[0] for c in series}
        for close in series:
            describe(found, instrument, series, close, horizon, widths[close], ends)
    return found


def width(series, close, horizon):
    returns: list[float] = []
    previous = None
    for at in sorted(c for c in series if c <= close):
        if previous is not None and at - previous > 4:
            returns = []
        elif previous is not None and at - previous == 1:
            returns.append(np.log(series[at][3] / series[previous][3]))
        previous = at
    if len(returns) < 50:
        return np.nan
    ages = np.arange(len(returns))[::-1]
    weights = 0.94**ages
    sigma = np.sqrt((weights * np.square(returns)).sum() / weights.sum())
    return max(sigma * np.sqrt(horizon), 0.004)


def touch(series, close, horizon, wide):
    """(last close of its life, outcome, weight); the life ends at a hole too."""
    entry = series.get(close + 1, (np.nan,))[0]
    for at in range(close + 1, close + horizon + 1):
        if at not in series:
            return at - 1, np.nan, np.nan
        up = series[at][1] >= entry * np.exp(wide)
        down = series[at][2] <= entry * np.exp(-wide)
        if up or down:
            return at, float(up) - float(down), float(not (up and down))
    unknown = np.isnan(wide)
    return close + horizon, np.nan if unknown else 0.0, np.nan if unknown else 1.0


def describe(found, instrument, series, close, horizon, wide, ends):
    last, outcome, weight = touch(series, close, horizon, wide)
    life = range(close + 1, last + 1)
    uniqueness = np.mean(
        [1 / sum(other < at <= end for other, end in ends.items()) for at in life] or [np.nan]
    )
    span = range(close + 1, close + horizon + 1)
    gone = [at for at in span if at not in series]
    newest = max(series)
    base = {"direction_known_ms": last * HOUR, "outcome": outcome, "weight": weight}
    base |= {"uniqueness": uniqueness, "known_ms": 0}
    base |= {"log_return": np.nan, "realized_volatility": np.nan}
    end = close + horizon
    # A touch in the last candle of the horizon is published with the rest, once.
    if not np.isnan(outcome) and weight is not None and last < end and last in series:
        touched = any(
            series[last][1] >= series[close + 1][0] * np.exp(wide)
            or series[last][2] <= series[close + 1][0] * np.exp(-wide)
            for _ in (0,)
        )
        if touched:
            found[instrument, close * HOUR, False] = base
    if newest < end:
        return
    complete = base | {"known_ms": end * HOUR}
    if gone:
        complete |= dict.fromkeys(("outcome", "weight", "uniqueness"), np.nan)
        complete["direction_known_ms"] = end * HOUR
    else:
        moves = [np.log(series[at][3] / series[at - 1][3]) for at in span]
        complete["log_return"] = np.log(series[end][3] / series[close][3])
        complete["realized_volatility"] = np.sqrt(np.square(moves).sum())
    found[instrument, close * HOUR, True] = complete


@settings(max_examples=25, deadline=None)
@given(market=markets())
def test_labels_equal_their_definition(market):
    found = labels(market.ticks, market.horizon)
    expected = reference(market.ticks, market.horizon)

    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key] == pytest.approx(row, rel=1e-9, abs=1e-12, nan_ok=True), key


@settings(max_examples=25, deadline=None)
@given(market=markets(), cut=st.integers(40, BARS))
def test_a_label_does_not_change_when_candles_after_it_are_removed(market, cut):
    whole = labels(market.ticks, market.horizon)
    part = labels(market.ticks[:cut], market.horizon)

    for key, row in part.items():
        assert repr(whole[key]) == repr(row)


@settings(max_examples=25, deadline=None)
@given(market=markets(), cut=st.integers(40, BARS - 1))
def test_a_shock_changes_no_label_that_was_known_before_it(market, cut):
    shocked = market.ticks[:cut] + [shock(batch) for batch in market.ticks[cut:]]
    at = to_ms(market.ticks[cut].as_of)
    calm, wild = labels(market.ticks, market.horizon), labels(shocked, market.horizon)

    for key, row in calm.items():
        known = row["known_ms"] or row["direction_known_ms"]
        if known < at:
            assert repr(wild[key]) == repr(row)


@settings(max_examples=25, deadline=None)
@given(market=markets())
def test_no_label_is_known_at_its_own_close(market):
    for (_, as_of, complete), row in labels(market.ticks, market.horizon).items():
        assert row["direction_known_ms"] > as_of
        assert not complete or row["known_ms"] == as_of + market.horizon * HOUR


@settings(max_examples=15, deadline=None)
@given(market=markets(), order=st.permutations(range(3)))
def test_an_instrument_has_the_same_labels_under_any_name_and_in_any_company(market, order):
    names = (BTC, ETH, SOL)
    swap = {names[i]: names[order[i]] for i in range(3)}
    renamed = [rename(batch, swap) for batch in market.ticks]
    alone = [
        choose(batch, [i for i, one in enumerate(batch.instruments) if one == BTC])
        for batch in market.ticks
    ]

    expected = labels(market.ticks, market.horizon)
    found = labels(renamed, market.horizon)
    single = labels(alone, market.horizon)

    for (instrument, as_of, complete), row in expected.items():
        assert repr(found[swap[instrument], as_of, complete]) == repr(row)
    btc = {key: row for key, row in expected.items() if key[0] == BTC}
    assert repr(sorted(btc.items())) == repr(sorted(single.items()))


def rename(batch: CandleBatch, names: dict[Instrument, Instrument]) -> CandleBatch:
    fresh = [names[one] for one in batch.instruments]
    rows = sorted(range(len(fresh)), key=fresh.__getitem__)
    chosen = choose(batch, rows)
    return replace(chosen, instruments=tuple(sorted(fresh)))


def shock(batch: CandleBatch) -> CandleBatch:
    prices = {name: getattr(batch, name) * 10 for name in ("open", "high", "low", "close")}
    return replace(batch, **prices)


def test_shifting_the_candles_after_a_close_changes_its_label():
    ticks = candle_batches([BTC], BARS, seed=1)
    cut = 70
    moved = [
        replace(later, as_of=here.as_of)
        for here, later in zip(ticks[cut:-1], ticks[cut + 1 :], strict=True)
    ]
    before = labels(ticks, 4)
    after = labels(ticks[:cut] + moved, 4)

    changed = [
        before[BTC, as_of, True]["log_return"] != after[BTC, as_of, True]["log_return"]
        for as_of in (to_ms(tick.as_of) for tick in ticks[cut - 4 : cut + 10])
    ]
    assert all(changed)
