"""Many messages of one socket in one write."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

SEND_MANY = "alphapulse.websocket.send_many"


class BatchingProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol with one more ASGI message: `texts`, a frame each, written together.

    A write is a system call, and the loop may lose the interpreter to another thread in each.
    """

    async def send(self, message: Any) -> None:  # noqa: ANN401 - an ASGI message
        """Send one ASGI message.

        Raises:
            ClientDisconnected: the peer is gone.
        """
        if message["type"] != SEND_MANY:
            await super().send(message)
            return
        await self.writable.wait()
        if self.disconnected:
            raise ClientDisconnected
        try:
            for text in message["texts"]:
                self.conn.send_text(text)
        except InvalidState as error:
            raise ClientDisconnected from error
        self.transport.write(b"".join(self.conn.data_to_send()))
