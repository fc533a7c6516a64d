"""Labels against a definition written out in words, on random candles with holes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

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
FIELDS = (
    *("direction_known_ms", "known_ms", "outcome", "weight"),
    *("log_return", "realized_volatility", "uniqueness"),
)


@dataclass(frozen=True)
class Market:
    """Ticks of three instruments, some candles missing."""

    ticks: list[CandleBatch]
    horizon: int


@st.composite
def markets(draw: st.DrawFn) -> Market:
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


Prices = tuple[float, float, float, float]  # open, high, low, close
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
        series: dict[int, Prices] = {}
        for batch in ticks:
            for i in [i for i, one in enumerate(batch.instruments) if one == instrument]:
                prices = (batch.open[i], batch.high[i], batch.low[i], batch.close[i])
                series[to_ms(batch.as_of) // HOUR] = prices
        definition = Definition(series, horizon)
        for close in series:
            for complete, row in definition.rows(close):
                found[instrument, close * HOUR, complete] = row
    return found


class Definition:
    """What the labels of one instrument are; times in candles."""

    def __init__(self, series: dict[int, Prices], horizon: int) -> None:
        self.series, self.horizon = series, horizon
        self.moves = {
            at: np.log(series[at][3] / series[at - 1][3]) for at in series if at - 1 in series
        }
        self.lives = {close: self.life(close, self.width(close)) for close in series}

    def width(self, close: int) -> float:
        past = sorted(at for at in self.series if at <= close)
        restarts = [at for before, at in pairwise(past) if at - before > 4]
        since = max(restarts, default=past[0])
        returns = [self.moves[at] for at in past if at > since and at in self.moves]
        if len(returns) < 50:
            return np.nan
        weights = 0.94 ** np.arange(len(returns))[::-1]
        sigma = float(np.sqrt((weights * np.square(returns)).sum() / weights.sum()))
        return max(sigma * math.sqrt(self.horizon), 0.004)

    def life(self, close: int, width: float) -> tuple[int, bool, float, float]:
        """(last candle, was it touched, outcome, weight); a hole ends it too."""
        entry = self.series.get(close + 1, (np.nan,))[0]
        for at in range(close + 1, close + self.horizon + 1):
            if at not in self.series:
                return at - 1, False, np.nan, np.nan
            up = self.series[at][1] >= entry * np.exp(width)
            down = self.series[at][2] <= entry * np.exp(-width)
            if up or down:
                return at, True, float(up) - float(down), float(not (up and down))
        unknown = np.isnan(width)
        last = close + self.horizon
        return last, False, np.nan if unknown else 0.0, np.nan if unknown else 1.0

    def rows(self, close: int) -> Iterator[tuple[bool, dict[str, float]]]:
        last, touched, outcome, weight = self.lives[close]
        lives = self.lives.items()
        shares = [
            1 / sum(other < at <= life[0] for other, life in lives)
            for at in range(close + 1, last + 1)
        ]
        row = {"direction_known_ms": last * HOUR, "known_ms": 0, "outcome": outcome}
        row |= {"weight": weight, "uniqueness": float(np.mean(shares or [np.nan]))}
        row |= {"log_return": np.nan, "realized_volatility": np.nan}
        end = close + self.horizon
        if touched and last < end:  # one in the last candle is published once, with the rest
            yield False, row
        if max(self.series) >= end:
            yield True, row | {"known_ms": end * HOUR} | self.answers(close, end)

    def answers(self, close: int, end: int) -> dict[str, float]:
        span = range(close + 1, end + 1)
        if any(at not in self.series for at in span):
            void = dict.fromkeys(("outcome", "weight", "uniqueness"), np.nan)
            return void | {"direction_known_ms": end * HOUR}
        moves = [self.moves[at] for at in span]
        volatility = np.sqrt(np.square(moves).sum())
        return {"log_return": np.sum(moves), "realized_volatility": volatility}


@settings(max_examples=12, deadline=None)
@given(market=markets())
def test_labels_equal_their_definition(market: Market) -> None:
    found = labels(market.ticks, market.horizon)
    expected = reference(market.ticks, market.horizon)

    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key] == pytest.approx(row, rel=1e-9, abs=1e-12, nan_ok=True), key


@settings(max_examples=12, deadline=None)
@given(market=markets(), cut=st.integers(40, BARS))
def test_a_label_does_not_change_when_candles_after_it_are_removed(
    market: Market, cut: int
) -> None:
    whole = labels(market.ticks, market.horizon)
    part = labels(market.ticks[:cut], market.horizon)

    for key, row in part.items():
        assert repr(whole[key]) == repr(row)


@settings(max_examples=12, deadline=None)
@given(market=markets(), cut=st.integers(40, BARS - 1))
def test_a_shock_changes_no_label_that_was_known_before_it(market: Market, cut: int) -> None:
    shocked = market.ticks[:cut] + [shock(batch) for batch in market.ticks[cut:]]
    at = to_ms(market.ticks[cut].as_of)
    calm, wild = labels(market.ticks, market.horizon), labels(shocked, market.horizon)

    for key, row in calm.items():
        known = row["known_ms"] or row["direction_known_ms"]
        if known < at:
            assert repr(wild[key]) == repr(row)


@settings(max_examples=12, deadline=None)
@given(market=markets())
def test_no_label_is_known_at_its_own_close(market: Market) -> None:
    for (_, as_of, complete), row in labels(market.ticks, market.horizon).items():
        assert row["direction_known_ms"] > as_of
        assert not complete or row["known_ms"] == as_of + market.horizon * HOUR


@settings(max_examples=8, deadline=None)
@given(market=markets(), order=st.permutations(range(3)))
def test_an_instrument_has_the_same_labels_under_any_name_and_in_any_company(
    market: Market, order: list[int]
) -> None:
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


def test_shifting_the_candles_after_a_close_changes_its_label() -> None:
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
