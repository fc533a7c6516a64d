"""What a label says of the candles after its close."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from domain.events import CandleBatch, LabelBatch, Source
from domain.market import Timeframe, from_ms, to_ms
from services.labels.barriers import WARMUP_RETURNS
from services.labels.labeller import Labeller
from tests.factories import BTC, ETH, candle_batches

HOUR = Timeframe.H1.ms
ANSWERS = (
    *("direction_known_ms", "known_ms", "outcome", "weight"),
    *("log_return", "realized_volatility", "uniqueness"),
)
FLAT = [100.0, 100.0, 100.0, 100.0]


def tick(
    number: int,
    prices: Sequence[float],
    *,
    source: Source = Source.LIVE,
    known_at: datetime | None = None,
) -> CandleBatch:
    """The candle that closes `number` hours after the epoch; prices as open, high, low, close."""
    columns = np.array(prices, dtype=float)[:, None]
    return CandleBatch(
        exchange="simulated",
        timeframe=Timeframe.H1,
        as_of=from_ms(number * HOUR),
        instruments=(BTC,),
        open=columns[0],
        high=columns[1],
        low=columns[2],
        close=columns[3],
        volume=np.ones(1),
        known_at=known_at or from_ms(number * HOUR),
        revision=np.ones(1, dtype=np.int64),
        source=source,
    )


def warm_labeller(horizon: int = 2) -> tuple[Labeller, int]:
    """A labeller that saw a constant price: barriers stand 40 basis points away."""
    labeller = Labeller("simulated", Timeframe.H1, horizon)
    for number in range(1, WARMUP_RETURNS + 2):
        labeller.on_candles(tick(number, FLAT))
    return labeller, WARMUP_RETURNS + 1


def rows(batches: list[LabelBatch], as_of: int) -> list[dict[str, float]]:
    """Rows of the label at the close `as_of` hours after the epoch."""
    return [
        {name: getattr(batch, name)[i].item() for name in ANSWERS}
        for batch in batches
        for i in np.flatnonzero(batch.as_of_ms == as_of * HOUR)
    ]


def test_a_label_is_not_known_before_its_horizon() -> None:
    labeller, now = warm_labeller(horizon=2)

    first = rows(labeller.on_candles(tick(now + 1, [100, 100.1, 99.9, 100.1])), now)
    (second,) = rows(labeller.on_candles(tick(now + 2, [100.1, 100.2, 100, 100.2])), now)

    assert first == []
    assert second["known_ms"] == (now + 2) * HOUR
    assert second["outcome"] == 0
    assert second["weight"] == 1
    assert second["log_return"] == pytest.approx(np.log(1.002))
    moves = np.log([1.001, 100.2 / 100.1])
    assert second["realized_volatility"] == pytest.approx(np.sqrt((moves**2).sum()))


def test_a_touch_is_published_when_it_happens_and_again_with_the_return() -> None:
    labeller, now = warm_labeller(horizon=2)

    (touch,) = rows(labeller.on_candles(tick(now + 1, [100, 100.41, 99.9, 100])), now)
    (complete,) = rows(labeller.on_candles(tick(now + 2, FLAT)), now)

    assert (touch["outcome"], touch["known_ms"]) == (1, 0)
    assert touch["direction_known_ms"] == (now + 1) * HOUR
    assert np.isnan(touch["log_return"])
    assert (complete["outcome"], complete["known_ms"]) == (1, (now + 2) * HOUR)
    assert complete["direction_known_ms"] == (now + 1) * HOUR
    assert complete["uniqueness"] == touch["uniqueness"]


def test_barriers_stand_around_the_next_open_not_the_last_close() -> None:
    labeller, now = warm_labeller(horizon=2)

    # 101 is 1 % above the close of 100, but only 0.1 % above the open.
    untouched = rows(labeller.on_candles(tick(now + 1, [100.9, 101, 100.8, 100.9])), now)

    assert untouched == []


def test_both_barriers_in_one_candle_are_a_flat_label_without_weight() -> None:
    labeller, now = warm_labeller(horizon=2)

    (touch,) = rows(labeller.on_candles(tick(now + 1, [100, 101, 99, 100])), now)

    assert (touch["outcome"], touch["weight"]) == (0, 0)


def test_barriers_are_at_least_two_round_trips_of_cost_away() -> None:
    near = Labeller("simulated", Timeframe.H1, 2, cost_bps=10)
    far = Labeller("simulated", Timeframe.H1, 2, cost_bps=20)
    for number in range(1, WARMUP_RETURNS + 2):
        for labeller in (near, far):
            labeller.on_candles(tick(number, FLAT))

    now = WARMUP_RETURNS + 1
    move = tick(now + 1, [100, 100.5, 100, 100])  # 50 basis points up

    assert rows(near.on_candles(move), now)[0]["outcome"] == 1
    assert rows(far.on_candles(move), now) == []


def test_without_a_volatility_there_is_a_return_but_no_direction() -> None:
    labeller = Labeller("simulated", Timeframe.H1, 1)

    labeller.on_candles(tick(1, FLAT))
    (row,) = rows(labeller.on_candles(tick(2, [100, 110, 90, 101])), 1)

    assert np.isnan(row["outcome"])
    assert np.isnan(row["weight"])
    assert row["log_return"] == pytest.approx(np.log(1.01))
    assert row["uniqueness"] == 1


def test_the_volatility_is_known_after_fifty_returns() -> None:
    labeller = Labeller("simulated", Timeframe.H1, 1)
    known: list[bool] = []
    for batch in candle_batches([BTC], WARMUP_RETURNS + 4):
        for labels in labeller.on_candles(batch):
            known.extend((~np.isnan(labels.outcome)).tolist())

    # Labels of closes 0, 1, …; close i has seen i returns.
    assert known == [False] * WARMUP_RETURNS + [True] * 3


def test_a_missing_candle_makes_every_label_across_it_void() -> None:
    labeller, now = warm_labeller(horizon=3)
    labeller.on_candles(tick(now + 1, FLAT))

    batches = labeller.on_candles(tick(now + 3, FLAT))  # now + 2 is missing
    batches += labeller.on_candles(tick(now + 4, FLAT))
    later = labeller.on_candles(tick(now + 5, FLAT))
    fine = labeller.on_candles(tick(now + 6, FLAT))

    for as_of in (now - 1, now, now + 1):
        (row,) = rows(batches, as_of)
        assert np.isnan([row["outcome"], row["log_return"], row["realized_volatility"]]).all()
        assert row["known_ms"] == (as_of + 3) * HOUR
    assert later == []
    assert rows(fine, now + 3)[0]["outcome"] == 0


def test_the_horizon_ends_in_time_not_after_so_many_candles() -> None:
    labeller, now = warm_labeller(horizon=4)

    batches = labeller.on_candles(tick(now + 20, FLAT))

    assert rows(batches, now)[0]["known_ms"] == (now + 4) * HOUR
    assert np.isnan(rows(batches, now)[0]["log_return"])


def test_a_label_that_rests_on_a_repaired_candle_is_known_when_the_gap_was_filled() -> None:
    labeller, now = warm_labeller(horizon=2)
    filled_at = from_ms((now + 50) * HOUR)
    repaired = tick(now + 1, FLAT, source=Source.REPAIR, known_at=filled_at)

    labeller.on_candles(repaired)
    (row,) = rows(labeller.on_candles(tick(now + 2, FLAT)), now)
    (own,) = rows(labeller.on_candles(tick(now + 3, FLAT)), now + 1)
    (after,) = rows(labeller.on_candles(tick(now + 4, FLAT)), now + 2)

    assert row["known_ms"] == row["direction_known_ms"] == to_ms(filled_at)
    assert own["known_ms"] == to_ms(filled_at)
    assert after["known_ms"] == (now + 4) * HOUR


@pytest.mark.parametrize(("missing", "direction_is_known"), [(3, True), (4, False)])
def test_after_a_hole_of_more_than_three_candles_the_volatility_starts_anew(
    *, missing: int, direction_is_known: bool
) -> None:
    labeller, now = warm_labeller(horizon=1)
    back = now + missing + 1

    labeller.on_candles(tick(back, FLAT))
    (row,) = rows(labeller.on_candles(tick(back + 1, FLAT)), back)

    assert (row["outcome"] == 0) is direction_is_known
    assert row["log_return"] == 0


def test_uniqueness_is_the_mean_of_one_over_concurrency() -> None:
    labeller, now = warm_labeller(horizon=2)
    # At each close two labels live: each one's own first candle and its predecessor's last.
    (row,) = rows(labeller.on_candles(tick(now + 1, FLAT)), now - 1)

    assert row["uniqueness"] == 0.5


def test_a_candle_that_is_not_newer_changes_nothing() -> None:
    labeller, now = warm_labeller()
    before = labeller.snapshot()

    assert labeller.on_candles(tick(now, [100, 200, 50, 100])) == []
    assert labeller.snapshot() == before


def test_a_candle_without_finite_positive_prices_is_a_missing_candle() -> None:
    broken, now = warm_labeller()
    whole, _ = warm_labeller()

    broken.on_candles(tick(now + 1, [100, np.nan, 100, 100]))
    broken.on_candles(tick(now + 1, [100, 100, 0.0, 100]))

    assert broken.snapshot() == whole.snapshot()


def test_late_members_of_a_tick_get_the_labels_they_would_have_had() -> None:
    ticks = candle_batches([BTC, ETH], 70, seed=3)
    together = Labeller("simulated", Timeframe.H1, 3)
    apart = Labeller("simulated", Timeframe.H1, 3)
    expected: list[tuple[str | float, ...]] = []
    found: list[tuple[str | float, ...]] = []
    for batch in ticks:
        expected += answers(together.on_candles(batch))
        for row in (1, 0):
            found += answers(apart.on_candles(only(batch, row)))

    assert sorted(map(repr, found)) == sorted(map(repr, expected))


def test_a_labeller_continues_from_its_snapshot_bit_for_bit() -> None:
    ticks = candle_batches([BTC, ETH], 80, seed=4)
    first = Labeller("simulated", Timeframe.H1, 4)
    for batch in ticks[:60]:
        first.on_candles(batch)
    second = Labeller("simulated", Timeframe.H1, 4)
    second.restore(first.snapshot())

    for batch in ticks[60:]:
        assert repr(answers(first.on_candles(batch))) == repr(answers(second.on_candles(batch)))
    assert first.snapshot() == second.snapshot()


def test_candles_of_another_timeframe_are_not_looked_at() -> None:
    labeller = Labeller("simulated", Timeframe.M1, 2)

    for batch in candle_batches([BTC], 5):
        assert labeller.on_candles(batch) == []


def only(batch: CandleBatch, row: int) -> CandleBatch:
    names = ("open", "high", "low", "close", "volume", "revision")
    columns = {name: getattr(batch, name)[[row]] for name in names}
    return replace(batch, instruments=(batch.instruments[row],), late=True, **columns)


def answers(batches: list[LabelBatch]) -> list[tuple[str | float, ...]]:
    names = ("as_of_ms", *ANSWERS)
    return [
        (str(batch.instruments[i]), *(getattr(batch, name)[i].item() for name in names))
        for batch in batches
        for i in range(len(batch))
    ]


def corrected(missing: int, *, told_at: int) -> tuple[list[LabelBatch], Labeller, int]:
    """A labeller that missed the candle `missing` hours after warm-up, and got it later."""
    labeller, now = warm_labeller()
    walked, _ = warm_labeller()
    for number in range(now + 1, now + told_at + 1):
        candle = tick(number, [100.0, 101.0, 100.0, 100.0] if number == now + missing else FLAT)
        if number != now + missing:
            labeller.on_candles(candle)
        walked.on_candles(candle)
    heir, told = labeller.corrected(walked, (now + told_at) * HOUR + 5)
    return told, heir, now


def test_what_a_late_candle_touched_is_known_when_it_came() -> None:
    told, heir, now = corrected(1, told_at=1)

    (row,) = rows(told, now)
    assert row["outcome"] == 1.0
    assert row["direction_known_ms"] == (now + 1) * HOUR + 5
    done = rows(heir.on_candles(tick(now + 2, FLAT)), now)
    assert done[-1]["outcome"] == 1.0
    assert done[-1]["known_ms"] == (now + 2) * HOUR


def test_a_touch_that_was_told_otherwise_has_the_next_revision() -> None:
    labeller, now = warm_labeller()
    walked, _ = warm_labeller()
    labeller.on_candles(tick(now + 1, [100.0, 101.0, 100.0, 100.0]))
    walked.on_candles(tick(now + 1, FLAT))

    heir, (told,) = labeller.corrected(walked, (now + 1) * HOUR + 5)

    assert told.revision.tolist() == [2]
    assert told.direction_known_ms.tolist() == [0]
    assert np.isnan(told.outcome).all()
    restored = Labeller("simulated", Timeframe.H1, 2)
    restored.restore(heir.snapshot())
    (done,) = [b for b in restored.on_candles(tick(now + 2, FLAT)) if b.known_ms.any()]
    assert done.revision.tolist() == [2]
    assert done.outcome.tolist() == [0.0]


def test_a_touch_that_one_before_told_of_other_candles_is_taken_back() -> None:
    labeller, now = warm_labeller()
    labeller.on_candles(tick(now + 1, FLAT))
    key, unknown = (BTC, now * HOUR), np.full(3, np.nan)

    (told,) = labeller.agree({key: (1, np.array([1.0, 1.0, 0.5]))}, (now + 1) * HOUR + 5)

    assert told.revision.tolist() == [2]
    assert told.direction_known_ms.tolist() == [0]
    assert np.isnan(told.outcome).all()
    assert labeller.agree({key: (2, unknown)}, (now + 1) * HOUR + 5) == []
    (done,) = [b for b in labeller.on_candles(tick(now + 2, FLAT)) if b.known_ms.any()]
    assert (done.revision.tolist(), done.outcome.tolist()) == ([2], [0.0])


def test_a_touch_that_one_before_told_alike_keeps_its_revision_and_its_time() -> None:
    labeller, now = warm_labeller()
    (row,) = rows(labeller.on_candles(tick(now + 1, [100.0, 101.0, 100.0, 100.0])), now)
    direction = np.array([row["outcome"], row["weight"], row["uniqueness"]])

    again = labeller.agree({(BTC, now * HOUR): (3, direction)}, (now + 1) * HOUR + 5)

    (done,) = [b for b in labeller.on_candles(tick(now + 2, FLAT)) if b.known_ms.any()]
    assert again == []
    assert (done.revision.tolist(), done.direction_known_ms.tolist()) == ([3], [(now + 1) * HOUR])


def test_labels_that_rest_on_nothing_new_keep_their_times() -> None:
    labeller, now = warm_labeller()
    walked, _ = warm_labeller()
    for one in (labeller, walked):
        one.on_candles(tick(now + 1, [100.0, 101.0, 100.0, 100.0]))

    heir, told = labeller.corrected(walked, (now + 1) * HOUR + 5)

    assert told == []
    assert heir.snapshot() == labeller.snapshot()
