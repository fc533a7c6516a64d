"""A client of the socket that checks every frame."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import orjson
import websockets
from pydantic import BaseModel, ValidationError
from websockets.asyncio.client import ClientConnection

from backend.api import messages


class Client:
    """A subscriber that checks each frame against its model and the count of frames."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seq = 0

    async def next(self) -> dict[str, Any]:
        """The next frame that is no mark of being live."""
        while (frame := await self.frame())["type"] == "live":
            pass
        return frame

    async def frame(self) -> dict[str, Any]:
        frame = await asyncio.wait_for(self.socket.recv(), 60)
        message: dict[str, Any] = orjson.loads(frame)
        fitting = [model for model in messages.SERVER_MESSAGES if _fits(model, message)]

        assert len(fitting) == 1, message
        assert message["seq"] == self.seq
        self.seq += 1
        return message

    async def ask(self, method: str, number: int | str = 1, **params: Any) -> dict[str, Any]:
        await self.socket.send(
            orjson.dumps({"id": number, "method": method, "params": params}).decode()
        )
        return await self.next()


async def ending(socket: ClientConnection) -> tuple[int | None, Any]:
    """Read to the end; the code and reason that the server gave."""
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            await socket.recv()
    return socket.close_code, orjson.loads(socket.close_reason or "null")


def _fits(model: type[BaseModel], message: dict[str, Any]) -> bool:
    try:
        model.model_validate(message)
    except ValidationError:
        return False
    return True
