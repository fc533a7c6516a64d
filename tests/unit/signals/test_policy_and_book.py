"""A signal is opened only past every gate, and lives by the candles alone."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from domain.events import Candle, CandleBatch, Origin, PredictionBatch, Role, Signal, Skill, Target
from domain.market import Instrument, Listing, Timeframe, to_ms
from services.signals.book import SignalBook
from services.signals.policy import PolicySettings, SignalPolicy

SWAP = Instrument("binanceusdm", "BTC/USDT:USDT")
SPOT = Instrument("binance", "BTC/USDT")
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def served(instrument: Instrument = SPOT, **changes: Any) -> PredictionBatch:
    batch = PredictionBatch(
        exchange=instrument.exchange,
        timeframe=Timeframe.H1,
        as_of=NOON,
        instruments=(instrument,),
        horizon=4,
        role=Role.CHAMPION,
        target=Target.SERVED,
        model="served",
        version="abc",
        made_at=NOON,
        origin=Origin.LIVE,
        revision=np.array([1]),
        feature_set="ohlcv@1",
        feature_revision=np.array([1]),
        probabilities=np.array([[0.15, 0.25, 0.60]]),
        quantiles=np.array([[-0.02, 0.004, 0.03]]),
        volatility=np.array([0.02]),
        degraded=("",),
    )
    return replace(batch, **changes)


def verdict(low: float | None, skill: float = 0.08, **changes: Any) -> Skill:
    fields: dict[str, Any] = {
        "exchange": "binance",
        "timeframe": Timeframe.H1,
        "horizon": 4,
        "target": Target.DIRECTION,
        "at": NOON,
        "baseline": "class_prior.direction",
        "skill": skill,
        "low": low,
        "high": 2 * skill,
        "blocks": 60,
        "count": 720,
        "no_skill": False,
    }
    return Skill(**{**fields, **changes})


def decide(batch: PredictionBatch, *votes: PredictionBatch, proven: Skill | None = None) -> Signal:
    policy = SignalPolicy(horizon=4, settings=PolicySettings())
    if proven is not None:
        policy.on_skill(proven)
    for vote in votes:
        list(policy.on_predictions(vote))
    (made,) = policy.on_predictions(batch)
    return made.signals[0]


def candle(at: datetime, prices: tuple[float, float, float, float]) -> CandleBatch:
    opened, high, low, close = (np.array([price]) for price in prices)
    return CandleBatch(
        exchange=SPOT.exchange,
        timeframe=Timeframe.H1,
        as_of=at,
        instruments=(SPOT,),
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=np.array([1.0]),
        known_at=at,
        revision=np.array([1]),
    )


def open_book(**listing: float) -> tuple[SignalBook, Signal]:
    book = SignalBook(horizon=4, settings=PolicySettings())
    book.enlist(Listing(instrument=SPOT, **listing))
    policy = SignalPolicy(horizon=4, settings=PolicySettings())
    (made,) = policy.on_predictions(served())
    book.on_signals(made)
    return book, made.signals[0]


def test_a_clear_forecast_is_a_long_signal() -> None:
    signal = decide(served())

    assert (signal.side, signal.gate, signal.status) == ("long", "", "pending")
    assert signal.strength == pytest.approx(0.45)
    assert signal.size_fraction == 0.0  # the record has proven nothing yet


def test_a_signal_says_what_it_expects_and_who_voted_how() -> None:
    votes = [
        served(role=Role.MEMBER, target=Target.DIRECTION, model=name, probabilities=rows)
        for name, rows in (
            ("xgboost.direction", np.array([[0.2, 0.2, 0.6]])),
            ("logistic.direction", np.array([[0.3, 0.2, 0.5]])),
        )
    ]

    signal = decide(served(), *votes)
    flat = decide(served(degraded=("stale",)), *votes)

    assert signal.expected_edge_bps == pytest.approx(0.45 * 0.02 * 1e4 - 20)
    assert dict(signal.votes or ()) == pytest.approx(
        {"logistic.direction": 0.2, "xgboost.direction": 0.4}
    )
    assert (flat.expected_edge_bps, flat.votes, flat.size_fraction) == (None, None, 0.0)


def test_the_size_is_half_of_kelly_on_the_share_of_the_lean_that_is_proven() -> None:
    clear = served(SWAP, probabilities=np.array([[0.28, 0.3, 0.42]]))

    policy = SignalPolicy(horizon=4, settings=PolicySettings(size_cap=1.0))
    policy.on_skill(verdict(0.06))
    ((made,),) = (batch.signals for batch in policy.on_predictions(clear))

    proven = math.sqrt(0.06 / 0.08) * 0.14 * 0.02 - 0.002
    assert made.size_fraction == pytest.approx(0.5 * proven / (0.7 * 0.02**2))
    assert 0 < made.size_fraction < 1


@pytest.mark.parametrize(
    ("proven", "size"),
    [
        (verdict(0.07), 0.10),  # the cap
        (verdict(0.001), 0.0),  # what is proven does not pay the costs
        (verdict(-0.01), 0.0),
        (verdict(None), 0.0),
        (verdict(0.07, horizon=24), 0.0),
        (verdict(0.07, target=Target.VOLATILITY), 0.0),
    ],
)
def test_nothing_is_staked_that_is_not_proven_and_no_more_than_the_cap(
    proven: Skill, size: float
) -> None:
    assert decide(served(), proven=proven).size_fraction == size


def test_a_verdict_replaces_the_one_before() -> None:
    policy = SignalPolicy(horizon=4, settings=PolicySettings())

    for low in (0.07, -0.01):
        policy.on_skill(verdict(low))

    assert policy.proven == 0.0


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"degraded": ("no_skill.direction",)}, "no_skill.direction"),
        ({"degraded": ("no_skill.quantiles,gap",)}, "gap"),
        ({"probabilities": np.array([[0.33, 0.32, 0.35]])}, "probability"),
        ({"volatility": np.array([0.004]), "probabilities": np.array([[0.2, 0.4, 0.4]])}, "cost"),
        ({"quantiles": np.array([[-0.02, 0.0, 0.001]])}, "interval"),
        ({"probabilities": np.array([[0.6, 0.25, 0.15]])}, "spot_short"),
        ({"volatility": np.array([np.nan])}, "unknown"),
    ],
)
def test_each_gate_makes_the_signal_flat_and_names_itself(
    changes: dict[str, Any], gate: str
) -> None:
    signal = decide(served(**changes))

    assert (signal.side, signal.gate, signal.status) == ("flat", gate, "flat")


def test_codes_of_the_other_targets_do_not_forbid_a_signal() -> None:
    signal = decide(served(degraded=("no_skill.quantiles,no_skill.volatility",)))

    assert signal.side == "long"


def test_a_swap_may_go_short() -> None:
    signal = decide(served(SWAP, probabilities=np.array([[0.6, 0.25, 0.15]])))

    assert signal.side == "short"


def test_members_that_disagree_make_it_flat() -> None:
    down = served(
        role=Role.MEMBER,
        target=Target.DIRECTION,
        model="xgboost.direction",
        probabilities=np.array([[0.5, 0.3, 0.2]]),
    )

    signal = decide(served(), down)

    assert signal.gate == "agreement"


def test_a_prediction_made_afterwards_opens_nothing() -> None:
    policy = SignalPolicy(horizon=4, settings=PolicySettings())

    assert list(policy.on_predictions(served(origin=Origin.BACKTEST))) == []


def test_a_signal_is_filled_at_the_next_open_with_its_barriers() -> None:
    book, _ = open_book()

    (filled,) = book.on_candles(candle(NOON + HOUR, (100.0, 100.5, 99.5, 100.2)))

    signal = filled.signals[0]
    assert (filled.event, signal.status, signal.entry_price) == ("updated", "active", 100.0)
    assert signal.stop == pytest.approx(100 * math.exp(-0.02))
    assert signal.take == pytest.approx(100 * math.exp(0.02))


def test_the_stop_comes_first_when_one_candle_touches_both() -> None:
    book, _ = open_book()

    (closed,) = book.on_candles(candle(NOON + HOUR, (100.0, 110.0, 90.0, 100.0)))

    signal = closed.signals[0]
    assert (closed.event, signal.status) == ("closed", "stop_loss")
    assert signal.realized_return == pytest.approx(-0.02 - 0.002)


def test_a_gap_through_the_stop_exits_at_the_open() -> None:
    book, _ = open_book()
    list(book.on_candles(candle(NOON + HOUR, (100.0, 100.5, 99.5, 100.0))))

    (closed,) = book.on_candles(candle(NOON + 2 * HOUR, (95.0, 96.0, 94.0, 95.5)))

    assert closed.signals[0].exit_price == 95.0


def test_a_signal_expires_at_the_close_of_its_horizon_and_pays_its_costs() -> None:
    book, _ = open_book()
    for hour in range(1, 4):
        list(book.on_candles(candle(NOON + hour * HOUR, (100.0, 100.5, 99.5, 100.0))))

    (closed,) = book.on_candles(candle(NOON + 4 * HOUR, (100.0, 100.5, 99.5, 100.0)))

    signal = closed.signals[0]
    assert (signal.status, signal.exit_price) == ("expired", 100.0)
    assert signal.realized_return == pytest.approx(-0.002)


def test_the_stop_is_rounded_away_from_the_price() -> None:
    book, _ = open_book(tick_size=0.5)

    (filled,) = book.on_candles(candle(NOON + HOUR, (100.0, 100.5, 99.5, 100.2)))

    assert filled.signals[0].stop == 98.0
    assert filled.signals[0].take == 102.0


LAST = Candle(
    instrument=SPOT,
    timeframe=Timeframe.H1,
    open_ms=to_ms(NOON),
    open=100.0,
    high=101.0,
    low=99.5,
    close=100.5,
    volume=1.0,
)


def test_an_instrument_that_leaves_takes_its_signals_out_at_its_last_close() -> None:
    book, opened = open_book()
    list(book.on_candles(candle(NOON + HOUR, (100.0, 101.0, 99.5, 100.5))))
    left_at = NOON + 1.5 * HOUR

    (closed,) = book.leave(LAST, at=left_at)

    signal = closed.signals[0]
    assert (closed.event, signal.status, signal.exit_price) == ("closed", "withdrawn", 100.5)
    assert signal.closed_ms == to_ms(left_at) < opened.expires_ms
    expected = math.log(1.005) - PolicySettings().round_trip
    assert signal.realized_return == pytest.approx(expected)
    assert not list(book.leave(LAST, at=left_at))


def test_a_signal_that_was_never_entered_is_withdrawn_when_its_instrument_leaves() -> None:
    book, opened = open_book()
    decided_on = replace(LAST, open_ms=to_ms(NOON - HOUR))

    (closed,) = book.leave(decided_on, at=NOON + HOUR / 2)

    signal = closed.signals[0]
    assert (signal.status, signal.entry_price, signal.realized_return) == ("withdrawn", None, None)
    assert opened.as_of_ms < to_ms(NOON + HOUR / 2) == signal.closed_ms
    assert not list(book.leave(replace(LAST, instrument=SWAP), at=NOON + HOUR))


def test_a_book_goes_on_from_the_record_and_hears_nothing_of_what_it_has_answered() -> None:
    book, _ = open_book(tick_size=0.01)
    (filled,) = book.on_candles(candle(NOON + HOUR, (100.0, 100.5, 99.5, 100.0)))
    copy, _ = open_book(tick_size=0.01)
    copy.recall(filled.signals, answered=NOON + HOUR)

    revised = candle(NOON + HOUR, (100.0, 200.0, 50.0, 100.0))
    later = candle(NOON + 2 * HOUR, (100.0, 103.0, 99.9, 102.5))

    assert list(copy.on_candles(revised)) == []
    assert [b.signals for b in copy.on_candles(later)] == [
        b.signals for b in book.on_candles(later)
    ]
    copy.recall((), answered=None)
    assert list(copy.on_candles(later)) == []
