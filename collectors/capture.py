"""Raw frames of one exchange into rotating compressed files, before anybody has read them.

A file is JSON lines in zstd: a header, then `watching` lines, at which a connection begins, and
one line for each frame. Only what came in is kept, of an address only host and path: nothing
that we send, no query, and so no key or token.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from domain.market import rfc3339, to_ms
from domain.ports import Clock

log = logging.getLogger(__name__)

SUFFIX = ".jsonl.zst"
FORMAT = 1
FLUSH_EVERY_S = 1.0  # wall seconds; what a kill loses
WAITING = 32 * 2**20
LONGEST_FILE = 64 * 2**20


class Capture:
    """Takes frames without waiting; `run` writes them in a thread, flushed each second.

    Args:
        folder: Of this exchange alone; made where it is missing.
        about: For each file's header.
        largest: Bytes of all files; the oldest are removed beyond.
        clock: Of receipts and names.
        longest_file: Compressed bytes of one file.
        waiting: Bytes of frames that wait for the disk; what comes beyond is counted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        about: Mapping[str, Any],
        largest: int,
        clock: Clock,
        longest_file: int = LONGEST_FILE,
        waiting: int = WAITING,
    ) -> None:
        self._folder = folder
        self._about = dict(about)
        self._largest = largest
        self._longest_file = min(longest_file, largest // 4)
        self._room = waiting
        self._clock = clock
        self._waiting: list[dict[str, Any]] = []
        self._size = 0  # bytes of frames among them
        self._lost = 0
        self._addresses: dict[str, str] = {}
        self._watching: dict[str, Any] | None = None
        self._file: _File | None = None
        self._turn = threading.Lock()

    def watching(self, series: Sequence[tuple[str, str]], markets: Sequence[object]) -> None:
        """A connection begins; its frames are of these symbols and timeframes.

        Args:
            series: Symbol and timeframe of each.
            markets: What ccxt knows of the symbols, so that a reader need not ask.
        """
        self._waiting.append({"watching": list(series), "markets": list(markets)})

    def put(self, url: str, data: bytes | str) -> None:
        """A frame came."""
        if self._size + len(data) > self._room:
            self._lost += 1
            return
        self._size += len(data)
        address = self._addresses.get(url)
        if address is None:
            address = self._addresses[url] = without_secrets(url)
        now_ms = to_ms(self._clock.now())
        self._waiting.append({"t": now_ms, "url": address, "data": data})

    async def run(self) -> None:
        """Until cancelled; what waits then is written."""
        try:
            while True:
                await asyncio.sleep(FLUSH_EVERY_S)
                await asyncio.to_thread(self.flush)
        finally:
            self.flush()
            self._close()

    def flush(self) -> None:
        """Write what waits; a kill from now on does not lose it."""
        with self._turn:
            lines, self._waiting, self._size = self._waiting, [], 0
            lost, self._lost = self._lost, 0
            if lost:
                lines.append({"lost": lost})
            if not lines:
                return
            try:
                self._write(lines)
            except OSError as error:
                self._lost += len(lines) + lost
                log.warning("frames are not captured: %s", error)
                self._file = None

    def _write(self, lines: Sequence[dict[str, Any]]) -> None:
        if self._file is None or self._file.size > self._longest_file:
            self._close()
            self._file = self._open(goes_on="watching" not in lines[0])
        for line in lines:
            if "watching" in line:
                self._watching = line
            self._file.write(_spelled(line))
        self._file.flush()
        self._remove_oldest()

    def _open(self, *, goes_on: bool) -> _File:
        now = self._clock.now()
        self._folder.mkdir(parents=True, exist_ok=True)
        stem = f"{now:%Y%m%dT%H%M%S%f}"
        number = len(list(self._folder.glob(f"{stem}*{SUFFIX}")))
        file = _File(self._folder / f"{stem}-{number}{SUFFIX}")
        file.write(orjson.dumps({"capture": FORMAT, "opened": rfc3339(now), **self._about}))
        if goes_on and self._watching is not None:  # the same connection, told again
            file.write(orjson.dumps({**self._watching, "goes_on": True}))
        return file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _remove_oldest(self) -> None:
        """All files together are at most `largest`; the one that is written stays."""
        files = sorted(self._folder.glob(f"*{SUFFIX}"))
        sizes = [path.stat().st_size for path in files]
        over = sum(sizes) - self._largest
        for path, size in zip(files[:-1], sizes, strict=False):
            if over <= 0:
                break
            path.unlink()
            over -= size


class _File:
    """One compressed file of lines."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa  # noqa: PLC0415 - 40 MB of memory that only a capture needs

        self._raw = pa.OSFile(str(path), "wb")
        self._out = pa.CompressedOutputStream(self._raw, "zstd")

    @property
    def size(self) -> int:
        """Compressed bytes as of the last flush."""
        written: int = self._raw.tell()
        return written

    def write(self, line: bytes) -> None:
        self._out.write(line + b"\n")

    def flush(self) -> None:
        self._out.flush()
        self._raw.flush()

    def close(self) -> None:
        self._out.close()


def _spelled(line: dict[str, Any]) -> bytes:
    data = line.get("data")
    if isinstance(data, bytes):
        rest = {key: value for key, value in line.items() if key != "data"}
        return orjson.dumps({**rest, "base64": b64encode(data).decode()})
    return orjson.dumps(line, default=str)


def without_secrets(url: str) -> str:
    """The address without user, password, query and fragment.

    >>> without_secrets("wss://me:secret@stream.binance.com:9443/ws/1?token=x#y")
    'wss://stream.binance.com:9443/ws/1'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
