"""What the system that runs on a state folder says of itself, by its own API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

from backend.settings import Settings
from backend.store.state import Runtime, StateFolder
from domain.errors import AlphaPulseError, StateFolderError

ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a server may listen


class NoAnswerError(AlphaPulseError):
    """The running system does not say what it was asked."""


@asynccontextmanager
async def questions_to(settings: Settings, path: str) -> AsyncIterator[Any]:
    """A function that sends a request to `path` and gives the `data` of the answer.

    Args:
        settings: name the state folder of the system.
        path: of the API, like `/v1/instruments`.

    Raises:
        StateFolderError: no system runs.
        NoAnswerError: it does not answer, or refuses to.
    """
    runtime = StateFolder(settings.state).attach()
    if runtime is None:
        raise StateFolderError(f"no system runs on the state folder {settings.state}")
    headers = {"Authorization": f"Bearer {runtime.api_token}"}
    shown = runtime.api_certificate
    # Its name is that of another address; we know the certificate itself.
    trusted = aiohttp.Fingerprint(bytes.fromhex(shown)) if shown else True
    async with aiohttp.ClientSession(headers=headers) as session:

        async def ask(method: str, **more: Any) -> Any:  # noqa: ANN401 - JSON
            try:
                address = _address(runtime, path)
                async with session.request(method, address, ssl=trusted, **more) as response:
                    answer = await response.json(content_type=None)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise NoAnswerError(f"the system does not answer: {error}") from error
            if response.ok:
                return answer["data"]
            raise NoAnswerError(answer["detail"])

        yield ask


def _address(runtime: Runtime, path: str) -> str:
    host = ANYWHERE.get(runtime.api_host, runtime.api_host)
    scheme = "https" if runtime.api_certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{runtime.api_port}{path}"
