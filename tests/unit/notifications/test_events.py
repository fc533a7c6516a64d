"""What the log tells becomes notices; flat signals advise nothing."""

from __future__ import annotations

import orjson
import pytest

from backend.store.payloads import gap_payload, model_drafts, signal_drafts
from collectors.gaps import Cause, Range
from collectors.ledger import Entry, EntryState
from domain.events import ModelEvent
from domain.market import Instrument, Timeframe
from services.notifications.events import EVENTS, LOGS, noticed, of_streams
from tests.doubles import START
from tests.integration.store_samples import signal, signals
from tests.notices import place, signal_row

STREAM = "signals.1h.binance.BTC/USDT"


def test_a_signal_is_told_with_what_rules_choose_by() -> None:
    drafts = signal_drafts(signals(0, signal(0, 1), event="closed"), [STREAM])

    notice = noticed("closed", START, place(STREAM, 7), drafts.payloads[0])

    assert notice is not None
    assert (notice.event, notice.subject) == ("signal.closed", "binance:BTC/USDT")
    assert notice.instruments == (Instrument("binance", "BTC/USDT"),)
    assert (notice.timeframe, notice.strength) == ("1h", 0.25)
    assert notice.key == (STREAM, "e", "7")
    assert notice.data == drafts.payloads[0]


def test_a_flat_signal_is_told_to_nobody() -> None:
    flat = signal(0, 1, side="flat", status="flat", gate="cost")
    drafts = signal_drafts(signals(0, flat), [STREAM])

    assert noticed("opened", START, place(STREAM), drafts.payloads[0]) is None


def test_a_promotion_is_of_no_instrument() -> None:
    promoted = ModelEvent(
        exchange="binance", timeframe=Timeframe.H1, horizon=4, at=START, kind="promoted",
        target="direction", model="lightgbm.direction", version="2", detail="beats the baseline",
    )  # fmt: skip
    drafts = model_drafts(promoted)

    notice = noticed(drafts.event, START, place("models"), drafts.payloads[0])

    assert notice is not None
    assert (notice.event, notice.instruments, notice.strength) == ("model.promoted", (), None)
    assert notice.subject == "binance 1h lightgbm.direction"


@pytest.mark.parametrize("event", ["opened", "filled", "unfillable"])
def test_a_gap_is_of_its_instrument(event: str) -> None:
    span = Range(0, 3_600_000)
    entry = Entry(span=span, cause=Cause.SILENCE, state=EntryState.OPEN, detected_ms=0)
    row = gap_payload(Instrument("kraken", "ETH/USD"), Timeframe.M1, entry)

    notice = noticed(event, START, place("gaps"), orjson.dumps(row))

    assert notice is not None
    assert (notice.event, notice.subject) == (f"gap.{event}", "kraken:ETH/USD")
    assert notice.timeframe == "1m"
    assert notice.event in EVENTS


def test_the_streams_that_are_read_are_those_that_tell_what_is_wanted() -> None:
    assert of_streams(["signal.opened", "signal.closed", "model.drift", "source.down"]) == {
        "signals": ["opened", "closed"],
        "models": ["drift"],
    }
    assert set(of_streams(EVENTS)) == set(LOGS)


def test_what_is_not_as_it_was_published_is_an_error_and_not_a_guess() -> None:
    row = orjson.loads(signal_row())
    edited = [orjson.dumps({**row, name: [1]}) for name in ("symbol", "timeframe", "strength")]
    for payload in (b"{", b"{}", b"[1]", b"4", signal_row()[:-9], *edited):
        with pytest.raises((ValueError, KeyError, TypeError)):
            noticed("opened", START, place(STREAM), payload)
