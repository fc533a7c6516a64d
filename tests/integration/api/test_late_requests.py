"""Who does not send what was announced is not waited for."""

from __future__ import annotations

import asyncio

import pytest

from backend.api import bodies
from backend.api.bodies import PunctualProtocol, WholeBodies
from tests.served_market import ServedMarket

SOON_S = 0.1
ORDER = (
    b"POST /v1/predictions/query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PunctualProtocol, "within_s", SOON_S)


async def said(market: ServedMarket, *pieces: bytes, over: bool = False) -> bytes:
    """All that the server says until it closes; the client closes its half if `over`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(market.url.rpartition(":")[2]))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if over:
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


async def _end(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass


@pytest.mark.usefixtures("soon")
async def test_a_connection_that_sends_no_whole_head_is_closed(market: ServedMarket) -> None:
    assert await said(market) == b""
    assert await said(market, b"GET /healthz HTTP/1.1\r\n", b"Host: 127") == b""
    asked = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    answer = await said(market, asked, b"GET /hea")
    assert answer.count(b"HTTP/1.1 200 OK") == 1


@pytest.mark.usefixtures("soon")
async def test_a_request_that_is_whole_may_take_its_time(market: ServedMarket) -> None:
    """The socket's own hello, its pings and its events go on after the head."""
    port = int(market.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert b"101 Switching Protocols" in await reader.readuntil(b"\r\n\r\n")
    with pytest.raises(TimeoutError):  # it is not closed
        await asyncio.wait_for(_end(reader), 3 * SOON_S)
    writer.close()


async def test_a_body_that_does_not_come_is_answered_and_closed(
    market: ServedMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "WITHIN_S", SOON_S)

    answer = await said(market, ORDER, b"Content-Length: 30\r\n\r\n", b'{"timeframe": ')

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_late"' in body
    assert b"the body of 30 bytes did not come within 0.1 s" in body
    assert b"connection: close" in head.lower()


async def test_half_a_body_of_a_client_that_left_reaches_nobody() -> None:
    reached: list[object] = []

    async def app(scope: object, receive: object, send: object) -> None:
        reached.append(scope)

    told: list[dict[str, object]] = [
        {"type": "http.request", "body": b'{"symbol":', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, object]:
        return told.pop(0)

    async def send(message: object) -> None:
        reached.append(message)

    scope = {"type": "http", "path": "/v1/jobs", "headers": [(b"content-length", b"20")]}
    await WholeBodies(app)(scope, receive, send)

    assert reached == []
