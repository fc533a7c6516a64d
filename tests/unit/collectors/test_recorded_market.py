"""Recorded candles as the simulated exchange plays them."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from collectors.recorded import Recording
from collectors.simulated.dialect import kline_event
from collectors.simulated.recording import RecordedMarket
from collectors.simulated.tape import Tape
from domain.errors import UsageError
from domain.events import Floats
from domain.market import Instrument, Timeframe

HOUR = 3_600_000
ROSE = [10.0, 14.0, 9.0, 13.0, 3.0]
FELL = [13.0, 15.0, 8.0, 9.0, 6.0]


def recording(hours: list[int], values: list[list[float]], symbol: str = "BTC/USDT") -> Recording:
    return Recording(
        instrument=Instrument("test", symbol),
        timeframe=Timeframe.H1,
        file="test",
        open_ms=np.array(hours) * HOUR,
        values=np.array(values),
        rejected=(),
        unsorted=0,
    )


def test_a_forming_candle_goes_against_its_close_first() -> None:
    market = RecordedMarket([recording([0, 1], [ROSE, FELL])])

    assert market.steps(0)[:, 0, 3].tolist() == [9.0, 14.0, 13.0]
    assert market.steps(1)[:, 0, 3].tolist() == [15.0, 8.0, 9.0]


def test_a_forming_candle_ends_as_it_was_recorded() -> None:
    tape = Tape(RecordedMarket([recording([0, 1], [ROSE, FELL])]))

    early = tape.panel(Timeframe.H1, HOUR, HOUR + 20 * 60_000)[0]
    late = tape.panel(Timeframe.H1, HOUR, 2 * HOUR)[0]

    assert early.tolist() == [13.0, 15.0, 13.0, 15.0, 2.0]
    assert late.tolist() == FELL


def test_a_longer_candle_is_made_of_the_candles_that_exist() -> None:
    market = RecordedMarket([recording([1, 2], [ROSE, FELL]), recording([6], [ROSE], "ETH/USDT")])
    tape = Tape(market)

    panel = tape.panel(Timeframe.H4, 0, 4 * HOUR)
    opens, rows = tape.history(1, Timeframe.H4, 0, 8 * HOUR)

    assert panel[0].tolist() == [10.0, 15.0, 8.0, 9.0, 9.0]
    assert np.isnan(panel[1]).all()
    assert (opens.tolist(), rows.tolist()) == ([4 * HOUR], [ROSE])


def test_volumes_of_a_longer_candle_are_added_as_decimals() -> None:
    rows = [[10.0, 14.0, 9.0, 13.0, 0.1]] * 3
    market = RecordedMarket([recording([0, 1, 2], rows)])

    assert Tape(market).panel(Timeframe.H4, 0, 4 * HOUR)[0, 4] == 0.3


def test_the_clock_may_start_when_every_instrument_has_its_history() -> None:
    long = recording(list(range(100)), [ROSE] * 100)
    short = recording(list(range(50, 60)), [ROSE] * 10, "ETH/USDT")

    assert RecordedMarket([long]).ready_ms(30) == 30 * HOUR
    assert RecordedMarket([long, short]).ready_ms(5) == 55 * HOUR
    assert RecordedMarket([long, short]).ready_ms(30) == 58 * HOUR


def test_what_cannot_be_played_is_refused() -> None:
    with pytest.raises(UsageError, match="perpetual"):
        RecordedMarket([recording([0], [ROSE], "BTC/USDT:USDT")])
    with pytest.raises(UsageError, match="no recorded candle closes by then"):
        RecordedMarket([recording([5], [ROSE])], until_ms=5 * HOUR)


@pytest.mark.parametrize("volume", [0.0, 1.5, 0.1 + 0.2, 123_456_789.123_456_78, 1e-11])
def test_a_number_survives_the_wire_to_the_bit(volume: float) -> None:
    row = [0.123_456_789_123, 2.0, 0.1, 1.0, volume]

    frame = orjson.loads(kline_event("BTCUSDT", Timeframe.H1, 0, row, event_ms=1, x=True))

    told: Floats = np.array([float(frame["k"][name]) for name in "ohlcv"])
    assert told.tolist() == row
