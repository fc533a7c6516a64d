"""A server for this machine answers to this machine's names only."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
import websockets

from backend.api.app import create_app
from backend.api.server import listen, serve
from tests.served_market import ServedMarket

PATHS = ("/healthz", "/readyz", "/metrics", "/", "/v1/status", "/v1/candles", "/nothing")


def port_of(market: ServedMarket) -> int:
    return int(market.url.rpartition(":")[2])


async def shakes_hands(market: ServedMarket, host: str, origin: str | None = None) -> bool:
    """Whether a handshake that names `host` is accepted."""
    connection = socket.create_connection(("127.0.0.1", port_of(market)))
    connection.setblocking(False)  # noqa: FBT003 - the socket module's own shape
    headers = {"Origin": origin} if origin else {}
    handshake = websockets.connect(f"ws://{host}/ws", sock=connection, additional_headers=headers)
    try:
        await (await handshake).close()
    except websockets.InvalidStatus as refused:
        if refused.response.status_code != 403:
            raise
        return False
    return True


async def test_a_request_to_another_hosts_name_is_refused_at_every_path(
    rest: httpx.AsyncClient,
) -> None:
    for host in ("evil.example:8000", "localhost.evil.example", "192.168.0.7:8000", "[::1", ""):
        for path in PATHS:
            answer = await rest.get(path, headers={"Host": host})

            assert answer.status_code == 421, (host, path)
            assert answer.json()["code"] == "misdirected"
            assert "127.0.0.1" in answer.json()["detail"]


async def test_every_name_of_this_machine_is_answered_at_any_port(rest: httpx.AsyncClient) -> None:
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "[::1]"):
        answer = await rest.get("/healthz", headers={"Host": host})

        assert answer.status_code == 200, host


async def test_a_handshake_to_another_hosts_name_is_refused(market: ServedMarket) -> None:
    port = port_of(market)

    evil = f"evil.example:{port}"
    assert not await shakes_hands(market, evil, f"http://{evil}")
    assert not await shakes_hands(market, evil)
    assert await shakes_hands(market, f"localhost:{port}", f"http://localhost:{port}")


async def test_the_names_of_this_machine_are_one_origin(market: ServedMarket) -> None:
    port = port_of(market)

    assert await shakes_hands(market, f"127.0.0.1:{port}", f"http://localhost:{port}")
    assert await shakes_hands(market, f"localhost:{port}", f"http://[::1]:{port}")
    for origin in (f"http://localhost:{port + 1}", "http://localhost", "null", "http://[::1"):
        assert not await shakes_hands(market, f"127.0.0.1:{port}", origin), origin


@pytest.mark.parametrize("host", ["evil.example:8000", "api.example"])
async def test_a_server_that_others_reach_answers_to_any_name(
    market: ServedMarket, host: str
) -> None:
    listener = listen("0.0.0.0", 0)  # noqa: S104 - what is tested
    running = asyncio.create_task(serve(create_app(market.state), listener))
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, timeout=60.0) as client:
            assert (await client.get("/healthz", headers={"Host": host})).status_code == 200
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_is_written_leaves_at_once() -> None:
    """Where it does not, the body of an answer waits 40 ms for the peer's acknowledgement."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[int] = loop.create_future()

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted = transport.get_extra_info("socket")
            made.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    listener = listen("127.0.0.1", 0)
    server = await loop.create_server(Accepted, sock=listener)
    _, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        assert await made
    finally:
        writer.close()
        server.close()
