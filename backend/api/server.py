"""Runs the API in the process's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from fastapi import FastAPI

from backend.api.bodies import PunctualProtocol
from backend.api.frames import BatchingProtocol
from backend.api.hosts import LoopbackHosts, is_loopback
from backend.api.state import ApiState
from backend.api.tls import Certificate
from domain.errors import AlphaPulseError, UsageError

BACKLOG: Final = 2_048
LARGEST_FRAME: Final = 1_048_576  # beyond it the connection ends; up to it there is an answer
GRACE_S: Final = 3  # for requests in progress when the server stops


class PortTakenError(AlphaPulseError):
    """Another program listens there, or it needs more rights."""


class _Server(uvicorn.Server):
    """Leaves signals to the process that it runs in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """The bound socket; port 0 picks a free one.

    Raises:
        UsageError: the address is none of this machine's.
        PortTakenError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise _refused(error, host, port) from error
    listener.settimeout(0)
    return listener


def _refused(error: Exception, host: str, port: int) -> AlphaPulseError:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return PortTakenError(f"port {port} on {host} is in use; pass another --port")
        case errno.EACCES:
            return PortTakenError(f"port {port} on {host} needs more rights; pass one above 1023")
        case errno.EADDRNOTAVAIL:
            return UsageError(f"{host} is no address of this machine")
        case _:
            return UsageError(f"cannot listen on {host}:{port}: {error}")


async def serve(
    app: FastAPI, listener: socket.socket, certificate: Certificate | None = None
) -> None:
    """Answer on `listener` until cancelled; then say goodbye to sockets and finish requests.

    On loopback only requests to this machine's names are answered, unless all callers need keys,
    which no page has whose name leads here. uvicorn's deflate is on by default: for small frames
    it costs more than it saves.
    """
    state: ApiState = app.state.alphapulse
    context = None if certificate is None else certificate.context()
    alone = is_loopback(listener.getsockname()[0]) and not state.access.rules.require_keys
    config = uvicorn.Config(
        LoopbackHosts(app) if alone else app,
        http=PunctualProtocol,
        ws=BatchingProtocol,
        ws_per_message_deflate=False,
        ws_max_size=LARGEST_FRAME,
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        # Who connects from loopback may be a proxy, and tells for whom it asks.
        proxy_headers=True,
        forwarded_allow_ips=["127.0.0.1", "::1"],
        ssl_context_factory=None if context is None else lambda _config, _default: context,
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await state.hub.drain()
        server.should_exit = True
        await running
        raise
