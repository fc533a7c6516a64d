"""What the system that runs on a state folder says of itself, by its own API."""

from __future__ import annotations

from typing import Any, Final

import aiohttp

from backend.store.state import Runtime
from domain.errors import AlphaPulseError

ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a server may listen


class NoAnswerError(AlphaPulseError):
    """The running system does not say what it was asked."""


async def status_of(runtime: Runtime) -> dict[str, Any]:
    """The row of `/v1/status`.

    Args:
        runtime: of the system, as its state folder has it.

    Raises:
        NoAnswerError: it does not answer, or refuses to.
    """
    headers = {"Authorization": f"Bearer {runtime.api_token}"}
    shown = runtime.api_certificate
    # Its name is that of another address; we know the certificate itself.
    trusted = aiohttp.Fingerprint(bytes.fromhex(shown)) if shown else True
    try:
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{_address(runtime)}/v1/status", ssl=trusted) as response,
        ):
            answer = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NoAnswerError(f"the system does not answer: {error}") from error
    if not response.ok:
        raise NoAnswerError(answer["detail"])
    row: dict[str, Any] = answer["data"][0]
    return row


def _address(runtime: Runtime) -> str:
    host = ANYWHERE.get(runtime.api_host, runtime.api_host)
    scheme = "https" if runtime.api_certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{runtime.api_port}"
