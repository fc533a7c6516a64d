"""The rows of the last closes: kept where a model reads them, told by instrument and close."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alphapulse_testing.panel import INSTRUMENTS, PANEL, panel_batch
from domain.events import FeatureBatch, FeatureSet, Floats, SentimentBatch
from domain.market import Instrument, Timeframe, to_ms
from services.predictions.recent import SLACK, Recent

BTC, ETH, SOL = INSTRUMENTS
H1 = Timeframe.H1
MOOD = FeatureSet(name="mood", version=1, columns=("mood",), model_columns=("mood",), warmup_bars=0)


def keeping(candles: int) -> Recent:
    recent = Recent(H1)
    recent.expect(candles)
    return recent


def tick(hour: int, *instruments: Instrument, plus: float = 0.0) -> FeatureBatch:
    """Each row is 100 × the hour + the number of its instrument."""
    names = instruments or INSTRUMENTS
    numbers = [100.0 * hour + INSTRUMENTS.index(one) + plus for one in names]
    values = np.repeat(np.array(numbers)[:, None], len(PANEL.columns), axis=1)
    return panel_batch(values, hour=hour, instruments=names)


def telling(batch: FeatureBatch, mood: float, *, asked: bool = True) -> FeatureBatch:
    told = SentimentBatch(
        exchange=batch.exchange,
        timeframe=batch.timeframe,
        as_of=batch.as_of,
        instruments=batch.instruments,
        feature_set=MOOD,
        values=np.full((len(batch), 1), mood if asked else np.nan),
        revision=np.ones(len(batch), dtype=np.int64),
        known_at=batch.as_of,
        status={"news": "ok"} if asked else {},
    )
    return replace(batch, told=told)


def before(recent: Recent, batch: FeatureBatch, column: str = "close") -> Floats:
    past = recent.before(batch)
    rows = np.append(past.rows[:, past.columns.index(column)], np.nan)
    return np.asarray(rows[past.places])


def test_a_row_has_the_closes_before_it_of_its_instrument() -> None:
    recent = keeping(3)
    for hour in (1, 2, 3):
        recent.keep(tick(hour))

    asked = tick(4, SOL, BTC)
    recent.keep(asked)  # its own row is not before it

    assert before(recent, asked).tolist() == [[102, 202, 302], [100, 200, 300]]


def test_a_candle_that_is_missing_leaves_a_hole() -> None:
    recent = keeping(3)
    recent.keep(tick(1))
    recent.keep(tick(2, BTC))

    found = before(recent, tick(4, BTC, ETH))

    assert np.array_equal(found, [[100, 200, np.nan], [101, np.nan, np.nan]], equal_nan=True)


def test_what_comes_late_and_what_is_made_anew_take_their_places() -> None:
    recent = keeping(2)
    recent.keep(tick(1))
    recent.keep(tick(2, BTC))
    held = recent.before(tick(3, BTC, ETH))

    recent.keep(tick(2, ETH, BTC, plus=0.5))

    assert before(recent, tick(3, BTC, ETH)).tolist() == [[100, 200.5], [101, 201.5]]
    assert held.rows[:, 0].tolist() == [100, 101, 102, 200]  # what was given out stays


def test_one_that_is_late_by_some_closes_has_its_past_too() -> None:
    recent = keeping(2)
    for hour in range(1, 30):
        recent.keep(tick(hour))

    found = [before(recent, tick(29 - late, BTC)) for late in (0, SLACK, SLACK + 1)]

    assert np.isfinite(found[0]).all()
    assert np.isfinite(found[1]).all()
    assert np.isnan(found[2]).any()


def test_what_sources_told_stays_where_nobody_says_it_anew() -> None:
    recent = keeping(1)
    recent.keep(telling(tick(1, BTC, ETH), 5.0))

    recent.keep(telling(tick(1, BTC, plus=1.0), 7.0, asked=False))
    recent.keep(telling(tick(1, ETH), 9.0))

    asked = tick(2, BTC, ETH)
    assert before(recent, asked).tolist() == [[101], [101]]
    assert before(recent, asked, "mood").tolist() == [[5], [9]]


def test_nothing_is_kept_where_nobody_reads_it() -> None:
    recent = Recent(H1)
    recent.expect(0)
    recent.keep(tick(1))

    assert recent.candles == 0
    assert not recent.before(tick(2)).rows.size

    recent.expect(2)
    assert not recent.before(tick(2)).rows.size
    recent.keep(tick(1))
    assert recent.candles == 2 + SLACK
    assert before(recent, tick(2, BTC)).tolist()[0][1] == 100


def test_it_goes_on_from_the_record() -> None:
    recent, again = keeping(3), keeping(3)
    for hour in (1, 2, 3):
        recent.keep(tick(hour))
    rows = [(one, hour, tick(hour, one).values[0]) for hour in (3, 1, 2) for one in INSTRUMENTS]

    again.restore(
        PANEL.columns,
        [one for one, _, _ in rows],
        np.array([to_ms(tick(hour).as_of) for _, hour, _ in rows]),
        np.array([values for _, _, values in rows]),
    )
    for one in (recent, again):
        one.keep(tick(4))

    assert np.array_equal(before(again, tick(5)), before(recent, tick(5)))
