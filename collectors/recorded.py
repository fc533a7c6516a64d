"""A folder of recorded candles: what it holds, and the part of it that is used."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from collectors.recorded_files import Recording, Rejection, read_recording
from domain.errors import (
    DataFolderError,
    UnknownExchangeError,
    UnknownSymbolError,
    UnknownTimeframeError,
    UsageError,
)
from domain.market import Instrument, SeriesKey, Timeframe

__all__ = [
    "DataFile",
    "Folder",
    "Recording",
    "Rejection",
    "Selection",
    "Unused",
    "choose",
    "read_folder",
]

NAME_RULE = "EXCHANGE_BASE-QUOTE_TIMEFRAME or EXCHANGE_BASE-QUOTE-SETTLE_TIMEFRAME"
NOTES, NOTES_OF_A_FILE = 20, 3  # lines of a selection
_KINDS = {"spot": "instruments", "swap": "perpetual futures"}
_NAME = re.compile(r"(?P<exchange>[^_]+)_(?P<market>[^_]+)_(?P<timeframe>[^_]+)")


@dataclass(frozen=True, slots=True, order=True)
class DataFile:
    """A file whose name says what it holds."""

    instrument: Instrument
    timeframe: Timeframe
    path: Path

    def read(self) -> Recording:
        """Its usable candles.

        Raises:
            DataFolderError: It holds none; the message names the file.
        """
        return read_recording(self.path, self.instrument, self.timeframe)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The files of a folder by their names; `problems` has a line for each that has no place."""

    path: Path
    files: tuple[DataFile, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused:
    """How much could not be used."""

    rows: int  # of files that were used otherwise
    holders: int  # the files of those rows
    files: int  # as a whole

    def __str__(self) -> str:
        rows = [f"{self.rows} rows of {self.holders} files were not used"] if self.rows else []
        files = [f"{self.files} files were not used at all"] if self.files else []
        return "; ".join([*rows, *files])


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The recordings of one exchange and timeframe.

    `left_out` says what else the folder holds, `problems` which files could not be used and why;
    rejected rows are in the recordings.
    """

    exchange: str
    timeframe: Timeframe
    recordings: dict[Instrument, Recording]  # sorted
    left_out: tuple[str, ...]
    problems: tuple[str, ...]
    unused: Unused

    def notes(self) -> list[str]:
        """What was done to the files, the first lines of it, then a count; empty for clean ones."""
        lines = list(self.problems)
        for recording in self.recordings.values():
            notes = recording.notes()
            lines += notes[:NOTES_OF_A_FILE]
            if len(notes) > NOTES_OF_A_FILE:
                lines.append(f"{recording.file}: {len(notes) - NOTES_OF_A_FILE} more")
        if len(lines) > NOTES:
            lines[NOTES:] = [f"{len(lines) - NOTES} more lines"]
        return [*lines, *filter(None, [str(self.unused)])]


def read_folder(path: Path) -> Folder:
    """The data files of the folder `path` by their names; their rows are read when chosen.

    Raises:
        DataFolderError: No such folder, or no file in it has a name that can be used.
    """
    if not path.is_dir():
        message = f"{path}: no such folder"
        raise DataFolderError(message)
    found: dict[SeriesKey, DataFile] = {}
    problems: list[str] = []
    for file in sorted((*path.glob("*.parquet"), *path.glob("*.csv")), key=_parquet_first):
        try:
            instrument, timeframe = instrument_of(file.stem)
        except UsageError as error:
            problems.append(f"{file.name}: {error}")
            continue
        known = found.setdefault((instrument, timeframe), DataFile(instrument, timeframe, file))
        if known.path != file:
            problems.append(f"{file.name}: left out, {known.path.name} holds the same candles")
    if not found:
        reason = problems[0] if problems else f"their names are {NAME_RULE}"
        message = f"{path}: no .parquet or .csv file of candles; {reason}"
        raise DataFolderError(message)
    return Folder(path=path, files=tuple(sorted(found.values())), problems=tuple(problems))


def instrument_of(stem: str) -> SeriesKey:
    """What a file named `stem` holds; an exchange ending in `usdm` settles in the quote.

    >>> instrument_of("binanceusdm_BTC-USDT_1h")[0].symbol
    'BTC/USDT:USDT'

    Raises:
        DataFolderError: The name does not follow `NAME_RULE`.
        UnknownTimeframeError: Its timeframe is none of ours.
    """
    match = _NAME.fullmatch(stem)
    currencies = match["market"].split("-") if match else []
    if match is None or len(currencies) not in {2, 3} or not all(currencies):
        message = f"its name is not {NAME_RULE}"
        raise DataFolderError(message)
    if len(currencies) == 2 and match["exchange"].endswith("usdm"):  # noqa: PLR2004 - base, quote
        currencies.append(currencies[1])
    symbol = "/".join(currencies[:2]) + "".join(f":{settle}" for settle in currencies[2:])
    return Instrument(match["exchange"], symbol), Timeframe.parse(match["timeframe"])


def choose(
    folder: Folder,
    *,
    exchange: str | None = None,
    symbols: Sequence[str] | None = None,
    timeframe: Timeframe | None = None,
) -> Selection:
    """Read the part of the folder that was asked for.

    What is not asked for is chosen: the exchange and timeframe with the most instruments (1h, then
    the alphabet, between equals), spot before perpetual futures.

    Raises:
        UnknownExchangeError, UnknownSymbolError, UnknownTimeframeError: Not in the folder.
        DataFolderError: Nothing in the folder can be used.
    """
    files = _of_exchange(folder, exchange)
    known = {file.timeframe.value for file in files}
    if timeframe is not None and timeframe not in known:
        raise UnknownTimeframeError(timeframe.value, known)
    files = [file for file in files if timeframe in {None, file.timeframe}]
    if symbols is not None:
        _require(symbols, files)
        files = [file for file in files if file.instrument.symbol in symbols]
    files = [file for file in files if file.instrument.kind == "spot"] or files
    counts = Counter((file.instrument.exchange, file.timeframe) for file in files)
    (chosen_exchange, chosen_timeframe), _ = min(
        counts.items(), key=lambda item: (-item[1], item[0][1] != Timeframe.H1, item[0])
    )
    chosen = [
        file
        for file in files
        if (file.instrument.exchange, file.timeframe) == (chosen_exchange, chosen_timeframe)
    ]
    if symbols is not None:
        _require(symbols, chosen)
    recordings, unreadable = _read(chosen)
    problems = (*folder.problems, *unreadable)
    rejected = [len(one.rejected) for one in recordings.values() if one.rejected]
    return Selection(
        exchange=chosen_exchange,
        timeframe=chosen_timeframe,
        recordings=recordings,
        left_out=tuple(_left_out(folder, chosen)),
        problems=problems,
        unused=Unused(rows=sum(rejected), holders=len(rejected), files=len(problems)),
    )


def _parquet_first(path: Path) -> tuple[str, bool]:
    return path.stem, path.suffix != ".parquet"


def _of_exchange(folder: Folder, exchange: str | None) -> list[DataFile]:
    known = {file.instrument.exchange for file in folder.files}
    if exchange is not None and exchange not in known:
        raise UnknownExchangeError(exchange, known)
    return [file for file in folder.files if exchange in {None, file.instrument.exchange}]


def _require(symbols: Sequence[str], files: Sequence[DataFile]) -> None:
    known = {file.instrument.symbol for file in files}
    for symbol in symbols:
        if symbol not in known:
            raise UnknownSymbolError(symbol, known)


def _read(files: Sequence[DataFile]) -> tuple[dict[Instrument, Recording], list[str]]:
    recordings: dict[Instrument, Recording] = {}
    problems: list[str] = []
    for file in files:
        try:
            recordings[file.instrument] = file.read()
        except DataFolderError as error:
            problems.append(str(error))
    if not recordings:
        message = f"no usable file: {problems[0]}"
        raise DataFolderError(message)
    return recordings, problems


def _left_out(folder: Folder, chosen: Sequence[DataFile]) -> list[str]:
    rest = [file for file in folder.files if file not in chosen]
    counts = Counter((one.instrument.exchange, one.timeframe, one.instrument.kind) for one in rest)
    return [
        f"left out: {exchange} {timeframe}, {count} {_KINDS[kind]}"
        for (exchange, timeframe, kind), count in sorted(counts.items())
    ]
