"""Folders of recorded candles: bad rows and files are named, the rest is used."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.recorded import choose, instrument_of, read_folder
from collectors.recorded_files import read_recording
from domain.errors import (
    DataFolderError,
    UnknownExchangeError,
    UnknownSymbolError,
    UnknownTimeframeError,
)
from domain.market import Instrument, Timeframe

HOUR = 3_600_000
BTC = Instrument("binance", "BTC/USDT")
Row = tuple[object, float, float, float, float, float]


def row(hour: int, close: float = 10.0) -> Row:
    return (hour * HOUR, 10.0, 12.0, 8.0, close, 1.0)


def write(
    path: Path, rows: list[Row], columns: str = "timestamp open high low close volume"
) -> Path:
    names = columns.split()
    if path.suffix == ".csv":
        lines = [",".join(names), *(",".join(map(str, one)) for one in rows)]
        path.write_text("\n".join(lines) + "\n")
    else:
        data = zip(*rows, strict=True)
        pq.write_table(pa.table(dict(zip(names, map(list, data), strict=True))), path)
    return path


def read(path: Path) -> tuple[list[int], list[str], int]:
    recording = read_recording(path, BTC, Timeframe.H1)
    hours = (recording.open_ms // HOUR).tolist()
    return hours, [f"{one.row}: {one.reason}" for one in recording.rejected], recording.unsorted


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_rejected_rows_are_listed_and_the_rest_is_used(tmp_path: Path, ending: str) -> None:
    rows = [
        row(1),
        row(2, close=math.nan),
        (3 * HOUR, 10.0, 12.0, 8.0, 10.0, -1.0),
        (4 * HOUR + 1, 10.0, 12.0, 8.0, 10.0, 1.0),
        (5 * HOUR, 10.0, 9.0, 8.0, 10.0, 1.0),
        row(6),
    ]

    hours, rejected, unsorted = read(write(tmp_path / f"a.{ending}", rows))

    assert hours == [1, 6]
    assert rejected == [
        "2: close is not a finite number",
        "3: volume is negative",
        "4: open time is off the timeframe's grid",
        "5: high is below open or close",
    ]
    assert unsorted == 0


def test_of_rows_with_one_timestamp_the_last_in_the_file_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [row(1), row(2, close=9.0), row(1), row(2, close=11.0)])

    recording = read_recording(path, BTC, Timeframe.H1)

    assert recording.values[:, 3].tolist() == [10.0, 11.0]
    assert [str(one) for one in recording.rejected] == [
        "a.parquet row 1: repeated in row 3, which is used",
        "a.parquet row 2: has the timestamp of, and other values than, the later row 4, "
        "which is used",
    ]
    assert recording.notes()[-1] == "a.parquet: 1 rows out of order, sorted"


def test_text_in_a_number_column_rejects_only_its_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [row(1), ("soon", 10.0, 12.0, 8.0, 10.0, 1.0), row(3)])

    hours, rejected, _ = read(path)

    assert hours == [1, 3]
    assert rejected == ["2: timestamp is not a whole number"]


def test_a_time_that_no_calendar_has_rejects_only_its_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [row(1), row(2**40), row(3), row(-3)])
    unsigned = pq.read_table(path).drop_columns("timestamp")
    times = pa.array([HOUR, 2**64 - 1, 3 * HOUR, 2**63], pa.uint64())
    pq.write_table(unsigned.append_column("timestamp", times), tmp_path / "b.parquet")

    for name in ("a", "b"):
        hours, rejected, _ = read(tmp_path / f"{name}.parquet")
        assert hours == [1, 3]
        assert [one.partition(":")[0] for one in rejected] == ["2", "4"]
        assert all("out of range" in one or "not a whole number" in one for one in rejected)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize(
    ("unit", "per_s"), [("seconds", 1), ("microseconds", 10**6), ("nanoseconds", 10**9)]
)
def test_a_file_that_counts_time_in_another_unit_is_refused_as_a_whole(
    tmp_path: Path, ending: str, unit: str, per_s: int
) -> None:
    prices = row(0)[1:]
    times = [(1_700_002_800 + hour * 3_600) * per_s for hour in range(1_000)]  # one on the grid
    path = write(tmp_path / f"a.{ending}", [(time, *prices) for time in times])

    with pytest.raises(DataFolderError) as refused:
        read(path)

    expected = f"a.{ending}: timestamps look like {unit}; milliseconds are needed"
    assert str(refused.value) == expected


@pytest.mark.parametrize("year", [2000, 2009, 2024, 2099])
def test_milliseconds_of_this_century_are_taken_as_they_are(tmp_path: Path, year: int) -> None:
    first = round(datetime(year, 1, 1, tzinfo=UTC).timestamp()) // 3_600

    hours, rejected, _ = read(write(tmp_path / "a.csv", [row(first), row(first + 1)]))

    assert (hours, rejected) == ([first, first + 1], [])


def test_notes_on_a_folder_are_bounded_and_end_with_the_counts(tmp_path: Path) -> None:
    for number in range(9):
        rows = [row(1), *(row(hour, close=-1.0) for hour in range(2, 7))]
        write(tmp_path / f"x_A{number}-B_1h.csv", rows)
    write(tmp_path / "x_B-B_1h.csv", [row(1)])
    write(tmp_path / "notes.csv", [row(1)])

    selection = choose(read_folder(tmp_path))

    notes = selection.notes()
    assert notes[0].startswith("notes.csv: its name")
    assert notes[1:5] == [
        *(f"x_A0-B_1h.csv row {one}: close is not above zero" for one in (2, 3, 4)),
        "x_A0-B_1h.csv: 2 more",
    ]
    assert notes[20:] == [
        "17 more lines",
        "45 rows of 9 files were not used; 1 files were not used at all",
    ]


def test_gaps_are_counted_between_the_first_and_the_last_candle(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [row(1), row(4), row(5), row(7)])

    gaps = read_recording(path, BTC, Timeframe.H1).gaps()

    assert gaps == [(2 * HOUR, 2), (6 * HOUR, 1)]


@given(st.permutations(range(1, 9)))
def test_the_order_of_rows_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, hours: list[int]
) -> None:
    path = write(tmp_path_factory.mktemp("rows") / "a.csv", [row(hour) for hour in hours])

    recording = read_recording(path, BTC, Timeframe.H1)

    assert (recording.open_ms // HOUR).tolist() == list(range(1, 9))
    assert (recording.unsorted == 0) == (hours == sorted(hours))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"PAR1 but not really", "binance_BTC-USDT_1h.parquet: cannot be read"),
        (b"", "binance_BTC-USDT_1h.parquet: cannot be read"),
    ],
)
def test_a_corrupt_file_is_named_and_the_others_are_used(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    (tmp_path / "binance_BTC-USDT_1h.parquet").write_bytes(content)
    write(tmp_path / "binance_ETH-USDT_1h.csv", [row(1)])

    selection = choose(read_folder(tmp_path))

    assert [one.symbol for one in selection.recordings] == ["ETH/USDT"]
    assert (selection.unused.rows, selection.unused.files) == (0, 1)
    assert selection.problems[0].startswith(expected)


@pytest.mark.parametrize(
    ("name", "rows", "columns", "expected"),
    [
        ("notes.csv", [row(1)], "timestamp open high low close volume", "its name is not EXCHANGE"),
        ("x_A-B_2h.csv", [row(1)], "timestamp open high low close volume", "unknown timeframe"),
        ("x_A-B_1h.csv", [row(1)], "time open high low close vol", "no column timestamp, volume"),
        ("x_A-B_1h.csv", [row(1, -1.0)], "timestamp open high low close volume", "close is not"),
    ],
)
def test_a_folder_of_which_nothing_is_usable_says_why(
    tmp_path: Path, name: str, rows: list[Row], columns: str, expected: str
) -> None:
    write(tmp_path / name, rows, columns)

    with pytest.raises(DataFolderError, match=expected):
        choose(read_folder(tmp_path))


def test_an_empty_or_absent_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFolderError, match=r"no \.parquet or \.csv file"):
        read_folder(tmp_path)
    with pytest.raises(DataFolderError, match="no such folder"):
        read_folder(tmp_path / "absent")


def test_a_name_says_exchange_symbol_and_timeframe() -> None:
    assert instrument_of("kraken_BTC-USD_5m") == (Instrument("kraken", "BTC/USD"), Timeframe.M5)
    assert instrument_of("x_BTC-USD-BTC_1d")[0].symbol == "BTC/USD:BTC"
    assert instrument_of("binanceusdm_BTC-USDT_1h")[0].symbol == "BTC/USDT:USDT"


def folder(tmp_path: Path) -> Path:
    for name in ("a_X-U_1h", "a_Y-U_1h", "a_X-U_5m", "b_X-U_1h", "cusdm_X-U_1h", "cusdm_Y-U_1h"):
        write(tmp_path / f"{name}.csv", [row(1)])
    write(tmp_path / "cusdm_Z-U_1h.csv", [row(1)])
    return tmp_path


def test_the_spot_exchange_and_timeframe_with_the_most_instruments_is_chosen(
    tmp_path: Path,
) -> None:
    selection = choose(read_folder(folder(tmp_path)))

    assert list(map(str, selection.recordings)) == ["a:X/U", "a:Y/U"]
    assert selection.left_out == (
        "left out: a 5m, 1 instruments",
        "left out: b 1h, 1 instruments",
        "left out: cusdm 1h, 3 perpetual futures",
    )


def test_what_is_named_is_chosen(tmp_path: Path) -> None:
    known = read_folder(folder(tmp_path))

    assert list(map(str, choose(known, exchange="cusdm", symbols=["Z/U:U"]).recordings)) == [
        "cusdm:Z/U:U"
    ]
    assert choose(known, timeframe=Timeframe.M5).timeframe == Timeframe.M5


def test_what_the_folder_does_not_hold_is_an_error_with_suggestions(tmp_path: Path) -> None:
    known = read_folder(folder(tmp_path))

    with pytest.raises(UnknownExchangeError, match="unknown exchange 'd'; known: a, b, cusdm"):
        choose(known, exchange="d")
    with pytest.raises(UnknownSymbolError, match="unknown symbol 'X/UU'; nearest: X/U"):
        choose(known, exchange="a", symbols=["X/UU"])
    with pytest.raises(UnknownTimeframeError, match="unknown timeframe '4h'; nearest: 1h"):
        choose(known, exchange="a", timeframe=Timeframe.H4)


def test_the_recorded_files_are_read_without_a_rejected_row(shared_data: Path) -> None:
    selection = choose(read_folder(shared_data / "ohlcv"))

    assert (selection.exchange, selection.timeframe) == ("binance", Timeframe.H1)
    assert len(selection.recordings) == 14
    assert all(not one.notes() and not one.gaps() for one in selection.recordings.values())
    assert selection.notes() == []


def test_gaps_of_a_recorded_file_are_those_its_source_lists(shared_data: Path) -> None:
    known = read_folder(shared_data / "ohlcv_misc")

    selection = choose(known, exchange="kraken", timeframe=Timeframe.M1)

    gaps = np.array(next(iter(selection.recordings.values())).gaps())
    assert (len(gaps), gaps[:, 1].sum(), gaps[:, 1].max()) == (1367, 2334, 11)
