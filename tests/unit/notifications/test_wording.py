"""A notice gets an id of its own, JSON that carries what was published, and words."""

from __future__ import annotations

from datetime import timedelta

import orjson
from hypothesis import given
from hypothesis import strategies as st

from domain.market import Instrument, Timeframe
from domain.notifications import Notice
from services.notifications.events import noticed
from services.notifications.outages import of_predictions
from services.notifications.wording import body_of, id_of, notification, trial
from tests.doubles import START
from tests.notices import CHANNELS, notices, place, signal_row

STREAM = "signals.1h.binance.BTC/USDT"


def signal(**changes: object) -> Notice:
    found = noticed("opened", START, place(STREAM, 3), signal_row(**changes))
    assert found is not None
    return found


@given(notices(), st.sampled_from(CHANNELS))
def test_an_id_is_the_same_whoever_makes_it_and_safe_in_a_signature(
    notice: Notice, channel: str
) -> None:
    assert id_of(notice, channel) == id_of(notice, channel)
    assert "." not in id_of(notice, channel)  # Standard Webhooks joins by full stops
    assert len({id_of(notice, one) for one in CHANNELS}) == len(CHANNELS)


def test_every_event_of_a_stream_has_an_id_of_its_own() -> None:
    payload = signal_row()
    made = [
        noticed(event, START, place(STREAM, offset), payload)
        for event in ("opened", "closed")
        for offset in range(1, 40)
    ]

    assert len({id_of(one, "ops") for one in made if one}) == 78


def test_the_body_says_where_the_log_has_it_and_carries_the_row_byte_for_byte() -> None:
    notice = signal()

    body = body_of(notice, "abc", "live")

    assert body.endswith(b',"data":' + signal_row() + b"}")
    told = orjson.loads(body)
    assert (told["id"], told["event"], told["market"]) == ("abc", "signal.opened", "live")
    assert (told["stream"], told["epoch"], told["offset"]) == (STREAM, "e", 3)
    assert (told["hash"], told["at"]) == ("ab" * 32, "2024-01-01T00:00:00.000Z")


def test_people_read_what_happened_and_nothing_that_is_not_known() -> None:
    told = notification(body_of(signal(), "abc", "live"))

    assert told.title == "signal.opened binance:BTC/USDT"
    lines = told.text.splitlines()
    assert {"side: long", "strength: 0.25", "stop: 99.5", "timeframe: 1h"} <= set(lines)
    assert not any(line.startswith(("entry_price", "gate")) for line in lines)
    assert lines[-2:] == ["at: 2024-01-01T00:00:00.000Z", "id: abc"]


def test_a_market_that_is_not_real_is_named_first() -> None:
    body = body_of(signal(), "abc", "simulated")

    assert notification(body).title.startswith("[simulated] signal.opened")


def test_what_comes_late_says_how_late_and_stays_the_same_message() -> None:
    body = body_of(signal(), "abc", "live")

    late = notification(body, timedelta(hours=2, minutes=5, seconds=9))

    assert "at: 2024-01-01T00:00:00.000Z, late by 2 h 5 min" in late.text
    assert "late" not in notification(body, timedelta(seconds=59)).text
    assert late.body == body


def test_a_trial_says_that_nothing_happened() -> None:
    told = trial("ops", "2024-01-01T00:00:00.000Z")

    assert told.event == "test"
    assert "a test; nothing happened" in told.text
    assert told.id != trial("ops", "2024-01-01T00:00:01.000Z").id


def test_of_many_instruments_people_read_the_first() -> None:
    many = {(Instrument("binance", f"C{one:02}/USDT"), Timeframe.H1): START for one in range(23)}
    (notice,) = of_predictions("predictions.stale", many, START, {})

    lines = notification(body_of(notice, "abc", "live")).text.splitlines()

    assert lines[1:3] == [f"C0{one}/USDT: 2024-01-01T00:00:00.000Z" for one in range(2)]
    assert lines[21] == "and 3 more"
