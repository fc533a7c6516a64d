"""A series lets candles go in order, and nothing after a gap that nobody has asked about."""

from __future__ import annotations

from dataclasses import replace

from collectors.gaps import Cause, Gap, GapState, Range
from collectors.series import Event, Series
from domain.events import Candle, Source
from domain.market import Timeframe
from tests.factories import BTC

MINUTE = Timeframe.M1.ms


def candle(number: int) -> Candle:
    return Candle(
        instrument=BTC,
        timeframe=Timeframe.M1,
        open_ms=number * MINUTE,
        open=1.0,
        high=1.0,
        low=1.0,
        close=1.0,
        volume=1.0,
        closed=True,
    )


def told(events: list[Event]) -> list[int | GapState]:
    """Numbers of candles, and what is said of gaps."""
    return [one.state if isinstance(one, Gap) else one.open_ms // MINUTE for one in events]


def test_what_was_held_behind_a_gap_that_is_news_waits_for_its_repair() -> None:
    series = Series(BTC, Timeframe.M1)
    series.hold()
    series.begin(10 * MINUTE, stored=[9 * MINUTE], cause=Cause.START)
    for number in (10, 13):
        series.on_message(candle(number))

    assert told(series.release()) == [10, GapState.FOUND]
    assert series.broken

    series.spans(14 * MINUTE)
    missed = [replace(candle(number), source=Source.REPAIR) for number in (11, 12)]
    series.absorb(missed, Range(8 * MINUTE, 13 * MINUTE))
    assert told(series.release()) == [11, 12, 13, GapState.FILLED]


def test_a_repair_that_fails_holds_nothing_back() -> None:
    series = Series(BTC, Timeframe.M1)
    series.hold()
    series.begin(10 * MINUTE, stored=[9 * MINUTE], cause=Cause.START)
    for number in (10, 13):
        series.on_message(candle(number))
    series.release()

    series.spans(14 * MINUTE)

    assert told(series.release()) == [13]
    assert series.broken


def test_a_candle_told_shortly_before_a_reconnect_is_compared_with_rest() -> None:
    series = Series(BTC, Timeframe.M1)
    series.hold()
    series.begin(10 * MINUTE, stored=[9 * MINUTE], cause=Cause.START)
    series.release()
    assert told(series.on_message(candle(10))) == [10]

    series.hold()
    series.begin(10 * MINUTE + 1, stored=[], cause=Cause.RECONNECT)
    series.absorb([], series.spans(10 * MINUTE + 1)[0])
    series.release()

    assert not series.unsure(11 * MINUTE - 1)
    assert series.unsure(11 * MINUTE)
    (asked,) = series.spans(11 * MINUTE)
    assert asked.from_ms <= 10 * MINUTE < asked.to_ms
    series.absorb([replace(candle(10), volume=0.5, confirmed=True)], asked)
    assert told(series.release()) == [10]
    assert not series.unsure(12 * MINUTE)


def test_an_answer_to_an_older_question_lets_nothing_past_a_gap_that_came_meanwhile() -> None:
    series = Series(BTC, Timeframe.M1)
    series.begin(10 * MINUTE, stored=[9 * MINUTE], cause=Cause.START)
    series.spans(10 * MINUTE)
    for number in (10, 13):
        series.on_message(candle(number))

    series.absorb([], Range(8 * MINUTE, 10 * MINUTE))

    assert told(series.release()) == []
    assert series.broken


def test_an_answer_to_an_earlier_question_may_hold_what_has_just_closed() -> None:
    series = Series(BTC, Timeframe.M1, streamed=False)
    series.recall([candle(9)])
    (asked,) = series.spans(11 * MINUTE)
    assert series.on_time(11 * MINUTE) == []
    assert series.expecting

    series.absorb([candle(9), candle(10)], asked)

    assert told(series.release()) == [10]
    assert not series.broken


def test_of_what_was_expected_only_what_did_not_come_is_a_gap() -> None:
    series = Series(BTC, Timeframe.M1, streamed=False)
    series.recall([candle(9)])
    series.on_time(13 * MINUTE)
    (asked,) = series.spans(13 * MINUTE)

    series.absorb([candle(10), candle(12)], asked)
    released = series.release()

    assert told(released) == [10, 12, GapState.FOUND]
    assert series.holes == [Range(11 * MINUTE, 12 * MINUTE)]
    assert not series.stalled([candle(11)])


def forming(minute: int) -> Candle:
    return replace(candle(minute), closed=False, event_ms=minute * MINUTE + 20_000)


def test_what_a_stream_with_flags_left_open_is_missing_not_closed() -> None:
    """As after a stall of ours: the last we heard of it is of the middle of its time."""
    series = Series(BTC, Timeframe.M1, flagged=True)
    series.recall([candle(9)])

    assert series.on_message(forming(10)) == []
    assert series.on_message(forming(12)) == []

    assert told(series.on_time(12 * MINUTE)) == [GapState.FOUND]
    assert series.holes == [Range(10 * MINUTE, 12 * MINUTE)]
    (asked,) = series.spans(12 * MINUTE)
    series.absorb([candle(10), candle(11)], asked)
    assert told(series.release()) == [10, 11, GapState.FILLED]


def test_time_closes_nothing_that_a_stream_with_flags_left_open() -> None:
    series = Series(BTC, Timeframe.M1, flagged=True)
    series.recall([candle(9)])
    series.on_message(forming(10))

    assert told(series.on_time(11 * MINUTE)) == [GapState.FOUND]

    assert series.on_message(candle(10)) == []  # held, until REST has answered
    (asked,) = series.spans(11 * MINUTE)
    series.absorb([candle(10)], asked)
    assert told(series.release()) == [10, GapState.FILLED]


def test_where_streams_have_no_flags_the_next_candle_closes() -> None:
    series = Series(BTC, Timeframe.M1)
    series.recall([candle(9)])
    series.on_message(forming(10))

    assert told(series.on_message(forming(11))) == [10]


def test_what_the_exchange_denied_is_asked_again_only_where_that_is_wished() -> None:
    series = Series(BTC, Timeframe.M1)
    series.begin(14 * MINUTE, stored=[ms * MINUTE for ms in (10, 12, 13)], cause=Cause.START)
    series.recall([candle(number) for number in (10, 12, 13)])
    missing = [Range(11 * MINUTE, 12 * MINUTE)]
    series.lost(missing)
    for _ in range(4):
        series.absorb([], series.spans(14 * MINUTE)[0])
    assert told(series.release()) == [GapState.ABSENT]

    assert series.lost(missing) == []
    assert told(series.lost(missing, denied=True)) == [GapState.FOUND]
    series.absorb([candle(11)], series.spans(14 * MINUTE)[0])
    assert told(series.release()) == [11, GapState.FILLED]
