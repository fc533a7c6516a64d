"""The same recorded hours through the demo at speed and through replay say the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from backend.store.columns import CandleSeries
from backend.store.embedded import EmbeddedPostgres
from domain.market import Instrument, from_ms
from tests.processes import running_system, until
from tests.scenarios.conftest import Replays
from tests.scenarios.judging import rows, unrepeated
from tests.scenarios.market import HORIZON, NO_FITS, SYMBOLS, Scenario, planted

HISTORY, LIVE = 300, 60
LEAST = 10  # ticks that the demo must have lived
SPEED = 1_800  # two seconds a tick, within which it is live
FLAGS = (
    *("--data", "data", "--timeframes", "1h", "--horizons", str(HORIZON)),
    *("--speed", str(SPEED), "--seed", "7"),
)
IN_FORCE = {
    "ALPHAPULSE_HISTORY_BARS": str(HISTORY),
    "ALPHAPULSE_TRAINING__MINIMUM_ROWS": str(NO_FITS.training.minimum_rows),
    "ALPHAPULSE_DEADLINE_MS": "10000",  # a loaded machine draws the same cross-sections
}
LIVED = """
SELECT count(DISTINCT as_of) FROM ml_predictions
WHERE as_of > $1 AND role = 'champion' AND origin = 'live'
"""
SERIES = planted(HISTORY + LIVE)
BEGAN = from_ms(int(SERIES[0].open_ms[HISTORY]))

Compare = Callable[[str, list[CandleSeries]], dict[str, tuple[int, int]]]


@pytest.fixture(scope="module")
def compare(tmp_path_factory: pytest.TempPathFactory, replay: Replays) -> Iterator[Compare]:
    """Lives the hours once; then says what a replay of other candles did not repeat."""
    folder = tmp_path_factory.mktemp("lived")
    write(folder / "data", SERIES)
    with running_system(folder, "demo", *FLAGS, **IN_FORCE) as demo:
        demo.wait_until_ready()
        url = demo.database_url()
        until(lambda: asyncio.run(lived(url)) >= LEAST, "ticks that the demo answers live")
        assert demo.stop() == 0

    def against(name: str, series: list[CandleSeries]) -> dict[str, tuple[int, int]]:
        run = replay({name: Scenario(series=series, settings=NO_FITS, since=BEGAN)})[name]
        return asyncio.run(unrepeated(live, run.url, BEGAN))

    with EmbeddedPostgres(folder / "state") as live:
        yield against


@pytest.mark.long
def test_what_the_demo_says_live_is_what_a_replay_says(compare: Compare) -> None:
    found = compare("repeated", recorded(SERIES))

    assert {kind: unlike for kind, (unlike, _) in found.items()} == {
        "features": 0,
        "predictions": 0,
    }
    assert all(count >= len(SYMBOLS) * LEAST for _, count in found.values())


@pytest.mark.long
def test_a_cross_section_of_other_members_turns_the_comparison_red(compare: Compare) -> None:
    more = planted(HISTORY + LIVE, symbols=(*SYMBOLS, "XRP/USDT"))
    found = compare("with_another_member", recorded(more))

    assert found["features"][0] > 0


@pytest.mark.long
def test_a_single_other_candle_turns_the_comparison_red(compare: Compare) -> None:
    volume = SERIES[0].volume.copy()
    volume[HISTORY] *= 1.001  # the first live candle of the first instrument
    found = compare(
        "with_another_candle", recorded([replace(SERIES[0], volume=volume), *SERIES[1:]])
    )

    assert found["features"][0] > 0
    assert found["features"][0] < found["features"][1]


async def lived(url: str) -> int:
    """Ticks so far."""
    ((count,),) = await rows(url, LIVED, BEGAN)
    return int(count)


def write(folder: Path, series: list[CandleSeries]) -> None:
    """As a recording of Binance."""
    folder.mkdir()
    for one in series:
        columns = ("open", "high", "low", "close", "volume")
        table = {"timestamp": one.open_ms, **{name: getattr(one, name) for name in columns}}
        name = one.instrument.symbol.replace("/", "-")
        pyarrow.parquet.write_table(pa.table(table), folder / f"binance_{name}_1h.parquet")


def recorded(series: list[CandleSeries]) -> list[CandleSeries]:
    """The same candles under the name that the demo gives to a recording of Binance."""
    return [
        replace(one, instrument=Instrument("simulated-binance", one.instrument.symbol))
        for one in series
    ]
