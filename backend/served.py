"""The served API of a process: who may call, where it listens, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg

from backend.api.access import Access, AccessRules
from backend.api.app import create_app
from backend.api.hosts import is_loopback
from backend.api.hub import Hub
from backend.api.server import serve
from backend.api.state import ApiState
from backend.api.status import Status
from backend.api.tls import Certificate
from backend.clock import SystemClock
from backend.settings import Settings
from backend.store.audit import AuditLog
from backend.store.database import connect
from backend.store.keys import KeyStore, any_key
from backend.wiring import database_of
from domain.errors import UsageError
from domain.ports import Clock

log = logging.getLogger(__name__)


def api_of(
    settings: Settings, clock: Clock, status: Status, *, allow_no_keys: bool, token: str
) -> ApiState:
    """What the API stands on before there is a store."""
    rules = AccessRules(
        require_keys=settings.api.require_keys,
        allow_no_keys=allow_no_keys,
        token=token,
        origins=settings.api.origins,
        quota=settings.api.quota,
    )
    return ApiState(clock=clock, hub=Hub(clock), status=status, access=Access(rules))


def stand_on(api: ApiState, readers: asyncpg.Pool, writers: asyncpg.Pool) -> None:
    """There is a store: requests are answered from now on."""
    api.access.keyring.store = KeyStore(readers, writers)
    api.access.trail.log = AuditLog(writers)
    api.reader = readers


@asynccontextmanager
async def served(
    api: ApiState, listener: socket.socket, shown: Certificate | None
) -> AsyncIterator[None]:
    """Answer on `listener`, with a certificate where there is one."""
    host, port = listener.getsockname()[:2]
    if not (shown or is_loopback(host)):
        log.warning("keys travel readably: pass --tls-cert and --tls-key, or put a proxy before it")
    say(f"page and API at http{'s' if shown else ''}://{host}:{port}/")
    serving = asyncio.create_task(serve(create_app(api), listener, shown))
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def refuse_keyless(settings: Settings, *, allow_no_keys: bool) -> None:
    """See that somebody can call from another machine, where one may.

    Raises:
        UsageError: no key is valid.
    """
    if allow_no_keys or is_loopback(settings.host):
        return
    if settings.database_url is not None or (settings.state / "version").exists():
        async with database_of(settings) as url:
            connection = await connect(url)
            try:
                if await any_key(connection, SystemClock().now()):
                    return
            finally:
                await connection.close()
    raise UsageError(
        f"{settings.host} can be reached from other machines and there is no valid key; make one"
        " with `alphapulse keys create NAME`, use 127.0.0.1, or pass --allow-no-keys"
    )


@contextmanager
def until_signalled() -> Iterator[None]:
    """Ctrl-C and SIGTERM end what runs within in good order: state kept, servers stopped."""
    loop, task, asked = asyncio.get_running_loop(), asyncio.current_task(), []

    def stop(number: signal.Signals) -> None:
        asked.append(number)
        if task is not None and len(asked) == 1:
            task.cancel()  # first: where nobody reads any more, saying it fails
            say(f"stopping on {number.name}")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    except asyncio.CancelledError:
        if not asked or task is None:
            raise
        task.uncancel()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def say(line: str) -> None:
    """One line for the person at the terminal."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
