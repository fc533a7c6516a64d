"""The connection that frames come by: a WebSocket, its ends told apart by whether to come back."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from alphapulse_client.address import Address
from alphapulse_client.conversation import SUB_PROTOCOL, DisconnectedError
from alphapulse_client.errors import ProtocolError, StoppedError, UnreachableError
from alphapulse_client.quota import retry_after_s

# The library logs headers, and with them the key, where debug records are wanted.
_LOG: Final = logging.getLogger(__name__)
_LOG.setLevel(logging.INFO)

_OPEN_S: Final = 10.0
_CLOSE_S: Final = 2.0  # for a peer that does not answer a close
_LARGEST: Final = 16_777_216  # bytes of a frame; a reply may name thousands of streams
_STOP: Final = range(4400, 4500)
_COME_BACK: Final = (408, 425, 429, *range(500, 600))  # of a handshake


class Socket(Protocol):
    """Frames in both directions."""

    async def send(self, text: str) -> None:
        """Send a frame.

        Raises:
            DisconnectedError: the connection has ended.
            StoppedError: so, and it is not to be opened again.
        """

    async def receive(self, within_s: float) -> str:
        """The next frame.

        Raises:
            DisconnectedError: the connection has ended, or nothing came within so many seconds.
            StoppedError: it has ended, and is not to be opened again.
        """


Opener = Callable[[], AbstractAsyncContextManager[Socket]]


@asynccontextmanager
async def open_socket(address: Address) -> AsyncIterator[Socket]:
    """Connect; the connection ends with the context.

    Raises:
        DisconnectedError: the server is not there, or cannot answer now.
        StoppedError, UnreachableError, ProtocolError: trying again would not help.
    """
    connection = await _connected(address)
    async with connection:
        yield _WebSocket(connection)


async def _connected(address: Address) -> ClientConnection:
    try:
        connection = await connect(
            address.socket,
            subprotocols=[Subprotocol(SUB_PROTOCOL)],
            additional_headers=address.headers,
            compression=None,
            ping_interval=None,  # the server's heartbeats are watched
            open_timeout=_OPEN_S,
            close_timeout=_CLOSE_S,
            max_size=_LARGEST,
            logger=_LOG,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        if status not in _COME_BACK:
            raise StoppedError(status, error.response.reason_phrase) from None
        waits_s = retry_after_s(error.response.headers)
        raise DisconnectedError(f"the server answered {status}", waits_s) from None
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(f"its certificate is not accepted: {error.reason}") from error
    except (OSError, InvalidHandshake) as error:
        raise DisconnectedError(f"{type(error).__name__}: {error}") from error
    if connection.subprotocol != SUB_PROTOCOL:
        await connection.close()
        raise ProtocolError(f"{address.url} does not speak {SUB_PROTOCOL}")
    return connection


class _WebSocket:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, text: str) -> None:
        try:
            await self._connection.send(text)
        except ConnectionClosed as closed:
            raise _ending(closed) from None

    async def receive(self, within_s: float) -> str:
        try:
            async with asyncio.timeout(within_s):
                return await self._connection.recv(decode=True)
        except TimeoutError:
            raise DisconnectedError(f"nothing was heard for {within_s:g} s") from None
        except ConnectionClosed as closed:
            raise _ending(closed) from None


def _ending(closed: ConnectionClosed) -> Exception:
    """44xx: stop; 45xx and whatever a network does: come back."""
    if closed.rcvd is None:
        return DisconnectedError("the connection was cut")
    try:
        said = json.loads(closed.rcvd.reason or "{}")
        reason, retry_ms = str(said.get("code", "")), said.get("retry_ms")
    except (ValueError, AttributeError):
        reason, retry_ms = "", None
    if closed.rcvd.code in _STOP:
        return StoppedError(closed.rcvd.code, reason)
    retry_s = retry_ms / 1_000 if isinstance(retry_ms, int | float) else None
    code = closed.rcvd.code
    return DisconnectedError(f"closed with {code} {reason}".rstrip(), retry_s, code)
