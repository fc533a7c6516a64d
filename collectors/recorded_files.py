"""One file of recorded candles: read, checked, put in order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from collectors.checks import REASONS, codes
from domain.errors import DataFolderError
from domain.events import Bools, Floats, Ints
from domain.market import Instrument, Timeframe

COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
_NO_TIME = np.iinfo(np.int64).min
_YEARS_S = (946_684_800, 4_102_444_800)  # 2000 to 2100
_OTHER_UNITS = {"seconds": 1, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A row that is not used."""

    file: str
    row: int  # of the file's data, from 1
    reason: str

    def __str__(self) -> str:
        return f"{self.file} row {self.row}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """The candles of one instrument and timeframe, in order and without repetition."""

    instrument: Instrument
    timeframe: Timeframe
    file: str
    open_ms: Ints  # (n,)
    values: Floats  # (n, 5) open, high, low, close, volume in base currency
    rejected: tuple[Rejection, ...]
    unsorted: int  # rows that stood after a later one

    def __len__(self) -> int:
        return len(self.open_ms)

    def gaps(self) -> list[tuple[int, int]]:
        """Missing candles between the first and the last: (first open time, number)."""
        missing = np.diff(self.open_ms) // self.timeframe.ms - 1
        return [
            (int(self.open_ms[index]) + self.timeframe.ms, int(missing[index]))
            for index in np.flatnonzero(missing)
        ]

    def notes(self) -> list[str]:
        """What was done to the file, one line each; empty for a clean one."""
        lines = [str(one) for one in self.rejected]
        if self.unsorted:
            lines.append(f"{self.file}: {self.unsorted} rows out of order, sorted")
        return lines


def read_recording(path: Path, instrument: Instrument, timeframe: Timeframe) -> Recording:
    """The usable candles of a Parquet or CSV file with the columns of `COLUMNS`.

    Rows that cannot be are rejected. Of rows with one timestamp the last in the file counts.

    Raises:
        DataFolderError: The file cannot be read, lacks a column, counts time in another unit, or
            has no usable row.
    """
    table = _table(path)
    absent = [name for name in COLUMNS if name not in table.column_names]
    if absent:
        message = f"{path.name}: no column {', '.join(absent)}; needed: {', '.join(COLUMNS)}"
        raise DataFolderError(message)
    open_ms = _times(table.column("timestamp"))
    values = np.column_stack([_numbers(table.column(name)) for name in COLUMNS[1:]])
    known = open_ms != _NO_TIME
    unit = _other_unit(open_ms[known])
    if unit is not None:
        message = f"{path.name}: timestamps look like {unit}; milliseconds are needed"
        raise DataFolderError(message)
    found = codes(open_ms, values, timeframe)
    reasons = {int(row): REASONS[found[row]] for row in np.flatnonzero(found)}
    reasons |= dict.fromkeys(np.flatnonzero(~known).tolist(), "timestamp is not a whole number")
    order, repeated = _in_order(open_ms, (found == 0) & known, values)
    if not len(order):
        message = f"{path.name}: no usable row among {len(open_ms)}{_example(reasons)}"
        raise DataFolderError(message)
    reasons |= repeated
    return Recording(
        instrument=instrument,
        timeframe=timeframe,
        file=path.name,
        open_ms=open_ms[order],
        values=values[order],
        rejected=tuple(
            Rejection(file=path.name, row=row + 1, reason=why)
            for row, why in sorted(reasons.items())
        ),
        unsorted=_out_of_place(open_ms[known]),
    )


def _table(path: Path) -> pa.Table:
    try:
        if path.suffix == ".csv":
            return pa.csv.read_csv(path)
        return pa.parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        message = f"{path.name}: cannot be read: {str(error).splitlines()[0]}"
        raise DataFolderError(message) from error


def _times(column: pa.ChunkedArray) -> Ints:
    """Milliseconds; `_NO_TIME` where the file has something else."""
    if pa.types.is_timestamp(column.type):
        column = pc.cast(column, pa.timestamp("ms"), safe=False)
    if pa.types.is_timestamp(column.type) or pa.types.is_integer(column.type):
        whole_ms: Ints = pc.fill_null(pc.cast(column, pa.int64(), safe=False), _NO_TIME).to_numpy()
        return whole_ms
    numbers = _numbers(column)
    whole = np.isfinite(numbers) & (np.abs(numbers) < 2.0**53)
    whole[whole] = numbers[whole] % 1 == 0
    times = np.full(len(numbers), _NO_TIME)
    times[whole] = numbers[whole].astype(np.int64)
    return times


def _other_unit(times: Ints) -> str | None:
    """The unit in which the middle one is of this century, where milliseconds it cannot be."""
    if not len(times):
        return None
    middle = int(np.sort(times)[len(times) // 2])
    first, last = _YEARS_S
    fits = (unit for unit, per_s in _OTHER_UNITS.items() if first <= middle // per_s < last)
    return next(fits, None)


def _numbers(column: pa.ChunkedArray) -> Floats:
    """Floats; NaN where the file has something else."""
    try:
        cast = pc.cast(column, pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return np.array([_number(value) for value in column.to_pylist()], dtype=np.float64)
    numbers: Floats = pc.fill_null(cast, np.nan).to_numpy()
    return numbers


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return np.nan


def _in_order(open_ms: Ints, usable: Bools, values: Floats) -> tuple[Ints, dict[int, str]]:
    """Rows to use, oldest first, and why those that share a timestamp with one are not used."""
    rows = np.flatnonzero(usable)
    rows = rows[np.argsort(open_ms[rows], kind="stable")]
    last = np.ones(len(rows), dtype=np.bool_)
    last[:-1] = np.diff(open_ms[rows]) != 0
    kept = rows[last]
    replaced: dict[int, str] = {}
    for row in rows[~last].tolist():
        keeper = int(kept[np.searchsorted(open_ms[kept], open_ms[row])])
        same = np.array_equal(values[row], values[keeper])
        what = "repeated in" if same else "has the timestamp of, and other values than, the later"
        replaced[row] = f"{what} row {keeper + 1}, which is used"
    return kept, replaced


def _out_of_place(open_ms: Ints) -> int:
    return int((open_ms[1:] < np.maximum.accumulate(open_ms)[:-1]).sum()) if len(open_ms) else 0


def _example(reasons: dict[int, str]) -> str:
    first = min(reasons, default=None)
    return "" if first is None else f" (row {first + 1}: {reasons[first]})"
