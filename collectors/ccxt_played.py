"""An exchange of ccxt that hears the frames which are given to it, and asks nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from aiohttp import WSMessage, WSMsgType

from collectors.ccxt_exchange import CcxtExchange
from domain.errors import ExchangeUnavailableError
from domain.events import Candle
from domain.market import Instrument, Timeframe

TURNS = 16  # of the event loop, in which a watcher takes what a frame brought it


class Frame(NamedTuple):
    """What came over a socket."""

    url: str
    data: str | bytes


class PlayedExchange(CcxtExchange):
    """The same handlers as live, without a network.

    Args:
        exchange_id: ccxt's.
        name: On every row.
        markets: ccxt's, as it made them when the frames came.
    """

    def __init__(
        self, exchange_id: str, *, name: str | None = None, markets: Sequence[dict[str, Any]]
    ) -> None:
        super().__init__(exchange_id, name=name, rate_limited=False)
        if markets:
            self._client.set_markets(list(markets))

    def client_class(self, exchange_id: str) -> type[Any]:
        return _without_network(super().client_class(exchange_id))

    def show(self, frame: Frame) -> None:
        """Let ccxt's handler read a frame; what it cannot read is in `unread`."""
        client = self._socket(frame.url)
        kind = WSMsgType.TEXT if isinstance(frame.data, str) else WSMsgType.BINARY
        client.handle_message(WSMessage(kind, frame.data, None))

    async def candles(
        self,
        instruments: Sequence[Instrument],
        timeframes: Sequence[Timeframe],
        frames: Iterable[Frame],
    ) -> AsyncGenerator[Candle, None]:
        """The versions that live collectors would have been told, in the same order."""
        told: list[Candle] = []
        listening = asyncio.create_task(self._listen(instruments, timeframes, told))
        try:
            await _turn()
            for frame in frames:
                self.show(frame)
                await _turn()
                if listening.done():  # the exchange refused; live goes on with a new connection
                    _see_why(listening)
                    listening = asyncio.create_task(self._listen(instruments, timeframes, told))
                    await _turn()
                for candle in told:
                    yield candle
                told.clear()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _listen(
        self, instruments: Sequence[Instrument], timeframes: Sequence[Timeframe], told: list[Candle]
    ) -> None:
        async with aclosing(self.watch_candles(instruments, timeframes)) as stream:
            async for candle in stream:
                told.append(candle)  # noqa: PERF401 - others read `told` meanwhile

    def _socket(self, url: str) -> Any:  # noqa: ANN401 - ccxt has no types
        """The connection of `url`, that of the same path on another host, or a new one."""
        sockets: dict[str, Any] = self._client.clients or {}
        if url in sockets:
            return sockets[url]
        path = urlsplit(url).path
        same = (one for address, one in sockets.items() if urlsplit(address).path == path)
        return next(same, None) or self._client.client(url)


def _without_network(exchange: type[Any]) -> type[Any]:
    """A subclass whose connections stand at once and send nothing."""
    parents_client = exchange.client

    async def send(message: object) -> None:
        """There is nobody to hear it."""

    def client(self: Any, url: str) -> Any:  # noqa: ANN401 - as above
        made = parents_client(self, url)
        made.send = send
        if not made.connected.done():
            made.connected.resolve(url)
        return made

    def open_(self: Any) -> None:  # noqa: ANN401 - as above
        self.asyncio_loop = asyncio.get_running_loop()

    members = {"client": client, "open": open_, "timeout_on_exit": 0}
    return type(exchange.__name__, (exchange,), members)


async def _turn() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def _see_why(ended: asyncio.Task[None]) -> None:
    """Only a lost connection is to be expected."""
    try:
        ended.result()
    except ExchangeUnavailableError:
        return
