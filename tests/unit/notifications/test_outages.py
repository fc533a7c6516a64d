"""One outage is one notice, and one when it is over, however often the system starts meanwhile."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import orjson
from hypothesis import given
from hypothesis import strategies as st

from domain.market import Instrument, Timeframe
from domain.sources import UNASKED, SourceState, SourceStatus
from services.notifications.outages import SourceWatch, of_predictions, tells
from tests.doubles import START

MINUTE = timedelta(minutes=1)
BTC, ETH = Instrument("binance", "BTC/USDT"), Instrument("binance", "ETH/USDT")
SOL = Instrument("kraken", "SOL/USD")


def state(which: str, reason: str = "", source: str = "news") -> SourceStatus:
    return SourceStatus(source=source, state=SourceState(which), since=START, reason=reason)


DOWN, STALE, OK = state("down", "HTTP 500"), state("stale", "nothing new"), state("ok")
OFF, UNASKED_YET = state("off", "the system is stopped"), state("down", UNASKED)
ANY = st.lists(st.sampled_from([DOWN, state("down", "HTTP 502"), STALE, OK, OFF, UNASKED_YET]))


def told(watch: SourceWatch, states: list[SourceStatus]) -> list[str]:
    found = [watch.on_state(one, START + number * MINUTE) for number, one in enumerate(states)]
    return [notice.event for notice in found if notice is not None]


def test_an_outage_is_told_once_and_once_when_it_is_over() -> None:
    states = [OK, DOWN, state("down", "HTTP 502"), DOWN, OK, OK, STALE, OK]

    assert told(SourceWatch(), states) == ["source.down", "source.ok", "source.stale", "source.ok"]


def test_a_restart_within_an_outage_is_neither_its_end_nor_another() -> None:
    assert told(SourceWatch(), [DOWN, OFF, UNASKED_YET, DOWN]) == ["source.down"]
    assert told(SourceWatch([DOWN]), [OFF, UNASKED_YET, DOWN, OK]) == ["source.ok"]


def test_a_start_at_which_all_is_well_tells_nothing() -> None:
    assert told(SourceWatch(), [UNASKED_YET, OK, OFF]) == []


def test_sources_are_told_apart_and_a_notice_has_the_reason() -> None:
    watch = SourceWatch([state("down", "HTTP 500", source="other")])

    notice = watch.on_state(DOWN, START)

    assert notice is not None
    assert (notice.subject, orjson.loads(notice.data)["reason"]) == ("news", "HTTP 500")
    assert notice.instruments == ()


@given(ANY, ANY)
def test_a_watch_that_begins_anew_from_what_was_said_goes_on_as_if_it_had_not(
    before: list[SourceStatus], after: list[SourceStatus]
) -> None:
    whole = SourceWatch()
    told(whole, before)
    newest = [one for one in before if tells(one)][-1:]

    assert told(SourceWatch(newest), after) == told(whole, after)


@given(ANY)
def test_two_notices_of_a_source_never_say_the_same(states: list[SourceStatus]) -> None:
    events = ["source.ok", *told(SourceWatch(), states)]

    assert all(one != other for one, other in pairwise(events))


def test_predictions_that_grow_stale_together_are_one_notice() -> None:
    stale = {
        (ETH, Timeframe.H1): START,
        (BTC, Timeframe.H1): START - MINUTE,
        (BTC, Timeframe.M1): START,
        (SOL, Timeframe.H1): START,
    }

    found = list(of_predictions("predictions.stale", stale, START, {"kraken": "no connection"}))

    assert [notice.subject for notice in found] == ["binance 1h", "binance 1m", "kraken 1h"]
    first, _, last = (orjson.loads(notice.data) for notice in found)
    assert [one["symbol"] for one in first["instruments"]] == ["BTC/USDT", "ETH/USDT"]
    assert first["instruments"][0]["as_of"] == "2023-12-31T23:59:00.000Z"
    assert (first["reason"], last["reason"]) == ("", "no connection")
    assert found[0].instruments == (BTC, ETH)
    assert len({notice.key for notice in found}) == 3
