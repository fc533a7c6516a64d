"""The client: streams, the record behind them, and the proof that it is whole."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import Literal, Self, TypedDict, TypeVar, Unpack, overload

from alphapulse_client.address import Address
from alphapulse_client.backoff import Backoff
from alphapulse_client.connection import open_socket
from alphapulse_client.events import Position, Snapshot, Update
from alphapulse_client.feed import Feed, Follower
from alphapulse_client.lists import Lists
from alphapulse_client.log import verify
from alphapulse_client.positions import MemoryPositions, Positions
from alphapulse_client.rest import Rest
from alphapulse_client.told import Candle, GapChange, ModelChange, Prediction, Signal, told_as
from alphapulse_client.wanted import Deliver, Since, Wanted

R = TypeVar("R", Candle, GapChange, ModelChange, Prediction, Signal)


class Following(TypedDict, total=False):
    """How streams are followed.

    `since` says where a stream begins of which no position is kept: at its `"head"` (the default),
    at its `"start"`, or at a time. `positions` keeps how far the loop came; without it that ends
    with the feed. `deliver="latest"`: a client that lags gets the newest event of each stream and
    horizon, which says how many it stands for; nothing proves then that none is missing.
    """

    since: Since
    positions: Positions
    deliver: Deliver


class Client(Lists):
    """A server of AlphaPulse, asked by REST and followed by its socket; used as `async with`.

    Args:
        url: `http://127.0.0.1:8000` or `https://…`.
        key: `ap_…`; sent in a header, and in no text of this package. None on the server's machine.
        backoff: the pauses between attempts.

    Raises:
        ValueError: `url` is none, or holds credentials or a query.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        key: str | None = None,
        *,
        backoff: Backoff | None = None,
    ) -> None:
        self._address = Address(url, key)
        self._backoff = backoff or Backoff()
        super().__init__(Rest(self._address, self._backoff))

    def __repr__(self) -> str:
        return f"Client({self._address.url!r})"

    async def __aenter__(self) -> Self:
        await self._rest.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._rest.__aexit__(kind, error, trace)

    @overload
    def updates(
        self,
        streams: str | Iterable[str],
        *,
        on_gap: Literal["fetch"] = "fetch",
        **how: Unpack[Following],
    ) -> Feed[Update]: ...

    @overload
    def updates(
        self,
        streams: str | Iterable[str],
        *,
        on_gap: Literal["snapshot"],
        **how: Unpack[Following],
    ) -> Feed[Update | Snapshot]: ...

    def updates(
        self,
        streams: str | Iterable[str],
        *,
        on_gap: Literal["fetch", "snapshot"] = "fetch",
        **how: Unpack[Following],
    ) -> Feed[Update] | Feed[Update | Snapshot]:
        """Follow streams: every event once, in the order of its stream, across disconnects.

        Args:
            streams: names or patterns, in which `*` stands for a whole segment.
            on_gap: what happens where the server cannot tell again what was missed. `"fetch"`: it
                is read by REST, and where it is gone `HistoryLostError` is raised. `"snapshot"`: a
                `Snapshot` that says why comes instead, and the stream goes on behind it.
            **how: see `Following`.

        Raises:
            ValueError: no stream is named, or `since` has no time zone.
        """
        wanted = _wanted(streams, how, snapshots=on_gap == "snapshot")
        return Feed(self._follower(wanted, how), _as_told)

    def candles(
        self, timeframe: str, *symbols: str, exchange: str = "*", **how: Unpack[Following]
    ) -> Feed[Candle]:
        """Closed candles, and later revisions of them."""
        return self._rows(Candle, _names("candles", timeframe, exchange, symbols), how)

    def predictions(
        self, timeframe: str, *symbols: str, exchange: str = "*", **how: Unpack[Following]
    ) -> Feed[Prediction]:
        """Served predictions, of all horizons."""
        return self._rows(Prediction, _names("predictions", timeframe, exchange, symbols), how)

    def signals(
        self, timeframe: str, *symbols: str, exchange: str = "*", **how: Unpack[Following]
    ) -> Feed[Signal]:
        """Signals as they are opened, updated and closed; `*` or no symbol: of all instruments."""
        return self._rows(Signal, _names("signals", timeframe, exchange, symbols), how)

    def gaps(self, **how: Unpack[Following]) -> Feed[GapChange]:
        """Stretches of missing candles: opened, filled, or found to be unfillable."""
        return self._rows(GapChange, ["gaps"], how)

    def models(self, **how: Unpack[Following]) -> Feed[ModelChange]:
        """What becomes of models: trained, promoted, rolled back and so on."""
        return self._rows(ModelChange, ["models"], how)

    async def verify(
        self, stream: str, from_offset: int = 0, head: Position | None = None
    ) -> Position:
        """Recompute the hash chain of a stream from the event behind `from_offset` to its head.

        Args:
            stream: its name.
            from_offset: 0 is before the first event.
            head: what an earlier call returned, kept elsewhere: the chain must still have it.

        Returns:
            The last event.

        Raises:
            ChainBrokenError: names the first event that is edited, missing or dated otherwise.
            HistoryLostError: the log began anew since `head` was returned.
            ProblemError, UnreachableError, ProtocolError: the log cannot be read.
        """
        return await verify(self._rest, stream, from_offset, head)

    def _rows(self, kind: type[R], streams: Iterable[str], how: Following) -> Feed[R]:
        wanted = _wanted(streams, how, snapshots=False)
        return Feed(self._follower(wanted, how), lambda told: told_as(kind, told))

    def _follower(self, wanted: Wanted, how: Following) -> Follower:
        positions = how.get("positions") or MemoryPositions()
        address = self._address
        return Follower(wanted, positions, lambda: open_socket(address), self._rest, self._backoff)


def _names(channel: str, timeframe: str, exchange: str, symbols: Iterable[str]) -> list[str]:
    return [f"{channel}.{timeframe}.{exchange}.{symbol}" for symbol in tuple(symbols) or ("*",)]


def _wanted(streams: str | Iterable[str], how: Following, *, snapshots: bool) -> Wanted:
    since = how.get("since", "head")
    names = (streams,) if isinstance(streams, str) else tuple(dict.fromkeys(streams))
    if not names:
        raise ValueError("name a stream: signals.1h.*.*")
    if isinstance(since, datetime) and since.tzinfo is None:
        raise ValueError("a time needs a time zone: datetime(…, tzinfo=UTC)")
    deliver = how.get("deliver", "all")
    return Wanted(streams=names, since=since, snapshots=snapshots, deliver=deliver)


def _as_told(told: Update | Snapshot) -> Update | Snapshot:
    return told
