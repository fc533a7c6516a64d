"""Captured frames become candles again, through the handlers that read them when they were live."""

from __future__ import annotations

from base64 import b64decode
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from collectors.capture import FORMAT, SUFFIX
from collectors.ccxt_played import Frame, PlayedExchange
from collectors.checks import reason
from collectors.recorded import Recording, Selection, Unused
from collectors.versions import rank
from domain.errors import (
    DataFolderError,
    UnknownExchangeError,
    UnknownSymbolError,
    UnknownTimeframeError,
)
from domain.events import Candle
from domain.market import Instrument, Timeframe

PIECE = 65_536  # bytes


class Connection(NamedTuple):
    """The beginning of one: the frames up to the next are its own."""

    exchange_id: str
    name: str
    symbols: tuple[str, ...]
    timeframes: tuple[Timeframe, ...]
    markets: list[dict[str, Any]]


async def candles_of(
    folder: Path,
    *,
    exchange: str | None = None,
    symbols: Sequence[str] | None = None,
    timeframe: Timeframe,
) -> Selection:
    """The closed candles that the captured frames of one exchange tell, the last version of each.

    What the frames do not tell is missing, as it was live: nothing is asked of anybody. A candle
    counts as closed where live collectors were told so.

    Args:
        folder: That holds captures, at any depth.
        exchange: Of which; may be left out where there is one.
        symbols: All where it is None.
        timeframe: One that was watched.

    Raises:
        UnknownExchangeError, UnknownSymbolError, UnknownTimeframeError: Not in the captures.
        DataFolderError: There is no capture, or no closed candle in it.
    """
    files = _files(folder)
    if exchange is not None and exchange not in files:
        raise UnknownExchangeError(exchange, files)
    chosen = exchange or min(files, key=lambda name: (-len(files[name]), name))
    told = _Told(timeframe)
    for _, connection in groupby(_numbered(files[chosen]), key=itemgetter(0)):
        await told.take(connection)
    told.require(symbols)
    wanted = [one for one in sorted(told.newest) if symbols is None or one.symbol in symbols]
    if not wanted:
        raise DataFolderError(f"{folder}: no closed {timeframe} candle in the captured frames")
    return Selection(
        exchange=chosen,
        timeframe=timeframe,
        recordings={one: told.recording(one, folder.name) for one in wanted},
        left_out=tuple(f"left out: {name}" for name in sorted(set(files) - {chosen})),
        problems=told.problems,
        unused=Unused(rows=told.unused, holders=len(files[chosen]), files=0),
    )


class _Told:
    """What connections told of one timeframe, one after another."""

    def __init__(self, timeframe: Timeframe) -> None:
        self._timeframe = timeframe
        self._symbols: set[str] = set()
        self._timeframes: set[Timeframe] = set()
        self._unread = 0
        self._impossible: Counter[str] = Counter()
        self.newest: dict[Instrument, dict[int, Candle]] = defaultdict(dict)

    @property
    def unused(self) -> int:
        """Frames that cannot be read, and candles that cannot be."""
        return self._unread + self._impossible.total()

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be used, one line each."""
        unread = [f"{self._unread} frames cannot be read"] if self._unread else []
        return (*unread, *(f"{count} candles: {why}" for why, count in self._impossible.items()))

    async def take(self, lines: Iterator[tuple[int, Any]]) -> None:
        """Play a connection, which comes first, and its frames."""
        connection: Connection = next(lines)[1]
        frames = (frame for _, frame in lines)
        self._symbols.update(connection.symbols)
        self._timeframes.update(connection.timeframes)
        played = PlayedExchange(
            connection.exchange_id, name=connection.name, markets=connection.markets
        )
        instruments = [Instrument(connection.name, symbol) for symbol in connection.symbols]
        try:
            async for candle in played.candles(instruments, connection.timeframes, frames):
                if candle.closed and candle.timeframe is self._timeframe:
                    self._keep(candle)
        finally:
            await played.close()
            self._unread += played.unread.count

    def _keep(self, candle: Candle) -> None:
        why = reason(candle)
        if why is not None:
            self._impossible[why] += 1
            return
        versions = self.newest[candle.instrument]
        before = versions.get(candle.open_ms)
        if before is None or rank(candle) > rank(before):
            versions[candle.open_ms] = candle

    def require(self, symbols: Sequence[str] | None) -> None:
        """See that what is asked for was watched.

        Raises:
            UnknownSymbolError, UnknownTimeframeError: it was not.
        """
        if self._timeframe not in self._timeframes:
            known = {one.value for one in self._timeframes}
            raise UnknownTimeframeError(self._timeframe.value, known)
        for symbol in symbols or ():
            if symbol not in self._symbols:
                raise UnknownSymbolError(symbol, self._symbols)

    def recording(self, instrument: Instrument, file: str) -> Recording:
        """The candles of one instrument, oldest first."""
        versions = self.newest[instrument]
        ordered = [versions[open_ms] for open_ms in sorted(versions)]
        values = [(one.open, one.high, one.low, one.close, one.volume) for one in ordered]
        return Recording(
            instrument=instrument,
            timeframe=self._timeframe,
            file=file,
            open_ms=np.array([one.open_ms for one in ordered], dtype=np.int64),
            values=np.array(values, dtype=np.float64),
            rejected=(),
            unsorted=0,
        )


def _files(folder: Path) -> dict[str, list[Path]]:
    """The captures in a folder by their exchange's name, oldest first.

    Raises:
        DataFolderError: there is none.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob(f"*{SUFFIX}"), key=lambda path: (path.name, path)):
        head = _head(path)
        if head is not None:
            found[head["name"]].append(path)
    if not found:
        raise DataFolderError(f"{folder}: no capture (files *{SUFFIX} of version {FORMAT})")
    return found


def _numbered(files: Iterable[Path]) -> Iterator[tuple[int, Any]]:
    """The connections of one exchange, numbered, each followed by its frames.

    Where frames were lost one ends: a candle may have changed meanwhile.
    """
    number, now = 0, None
    for path in files:
        head: dict[str, Any] = {}
        for line in lines(path):
            if "capture" in line:
                head = line
            elif "frame" in line:
                yield from [(number, line["frame"])] if now else []
            elif now is None or not line.get("goes_on"):
                now = _connection(head, line) if "watching" in line else now
                number += 1
                yield from [(number, now)] if now else []


def _connection(head: dict[str, Any], line: dict[str, Any]) -> Connection:
    series = line["watching"]
    return Connection(
        exchange_id=head["exchange"],
        name=head["name"],
        symbols=tuple(dict.fromkeys(symbol for symbol, _ in series)),
        timeframes=tuple(dict.fromkeys(Timeframe(timeframe) for _, timeframe in series)),
        markets=line["markets"],
    )


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file up to its end or to where it is torn; a frame is under `frame`."""
    rest = b""
    for piece in _pieces(path):
        *whole, rest = (rest + piece).split(b"\n")
        for text in whole:
            line = orjson.loads(text)
            if "url" in line:
                data = line["data"] if "data" in line else b64decode(line["base64"])
                line = {"t": line["t"], "frame": Frame(line["url"], data)}
            yield line


def _pieces(path: Path) -> Iterator[bytes]:
    """What was flushed.

    At a tear the piece that was being read is lost to us; it is then read byte by byte.
    """
    done = 0
    for size in (PIECE, 1):
        with pa.OSFile(str(path), "rb") as raw, pa.CompressedInputStream(raw, "zstd") as stream:
            for start in range(0, done, PIECE):
                stream.read(min(PIECE, done - start))
            try:
                while piece := stream.read(size):
                    done += len(piece)
                    yield piece
            except OSError:
                continue
            return


def _head(path: Path) -> dict[str, Any] | None:
    """The header, where it is a capture that can be read."""
    try:
        head = next(lines(path), None)
    except (OSError, ValueError):
        return None
    return head if head is not None and head.get("capture") == FORMAT else None
