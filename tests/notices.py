"""Notices as the record makes them, and events of the log that they are made of."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import strategies as st

from domain.market import Instrument, Timeframe
from domain.notifications import Notice, Place
from services.notifications.events import EVENTS
from services.notifications.rules import Rule
from tests.doubles import START

INSTRUMENTS = tuple(
    Instrument(exchange, symbol)
    for exchange in ("binance", "kraken")
    for symbol in ("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT")
)
PATTERNS = ("binance:*", "*:BTC/USDT", "kraken:ETH/USDT", "*:*:USDT")
TIMEFRAMES = tuple(one.value for one in Timeframe)
CHANNELS = ("ops", "phone", "desk")


def place(stream: str, offset: int = 1) -> Place:
    return Place(stream=stream, epoch="e", offset=offset, hash="ab" * 32)


def signal_row(**changes: Any) -> bytes:
    """A long signal of the log."""
    row = {
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "timeframe": "1h",
        "horizon": 4,
        "as_of": "2024-01-01T00:00:00.000Z",
        "side": "long",
        "strength": 0.25,
        "gate": "",
        "entry_price": None,
        "stop": 99.5,
    }
    return orjson.dumps({**row, **changes})


@st.composite
def notices(draw: st.DrawFn) -> Notice:
    """Any that there can be: of a signal, of several instruments, of none."""
    event = draw(st.sampled_from(sorted(EVENTS)))
    of_signal = event.startswith("signal.")
    most = 1 if of_signal or event.startswith("gap.") else 3
    some = draw(st.lists(st.sampled_from(INSTRUMENTS), min_size=int(of_signal), max_size=most))
    return Notice(
        event=event,
        at=START,
        subject=draw(st.text("abc", min_size=1)),
        key=tuple(draw(st.lists(st.text("abc\n"), max_size=3))),
        data=b"{}",
        instruments=tuple(some),
        timeframe=draw(st.none() | st.sampled_from(TIMEFRAMES)),
        strength=draw(st.floats(0, 1)) if of_signal else None,
    )


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    names = st.lists(st.sampled_from(CHANNELS), min_size=1, unique=True)
    patterns = st.lists(st.sampled_from(PATTERNS), min_size=1, unique=True)
    return Rule(
        events=tuple(draw(st.lists(st.sampled_from(sorted(EVENTS)), min_size=1, unique=True))),
        channels=tuple(draw(names)),
        instruments=draw(st.none() | patterns.map(tuple)),
        timeframes=tuple(draw(st.lists(st.sampled_from(TIMEFRAMES), max_size=2))),
        minimum_strength=draw(st.sampled_from([0.0, 0.1, 0.5])),
    )
