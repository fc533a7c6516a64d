"""A channel to a program: JSON by POST, signed as Standard Webhooks 1.0.0 has it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

import aiohttp
from yarl import URL

from collectors.pacing import retry_after
from domain.errors import ChannelGoneError, UndeliveredError
from domain.notifications import Notification
from domain.ports import Clock

TIMEOUT: Final = aiohttp.ClientTimeout(total=20)  # seconds of wall time; the standard has 15 to 30
AGENT: Final = "AlphaPulse/0.1"
OK: Final = range(200, 300)
GONE: Final = 410


def signature(key: bytes, identity: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`.

    The vector that the standard's libraries are tested with:

    >>> key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    >>> body = b'{"test": 2432232314}'
    >>> signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = f"{identity}.{timestamp}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


class Webhook:
    """A `Channel` that is one address; redirections are not followed.

    Args:
        session: shared by all webhooks; stays open.
        url: of http or https. An operator wrote it, so it may be of this machine.
        key: that the receiver has too.
        clock: of the timestamps, by which a receiver refuses what is old.
        timeout: of a try.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        key: bytes,
        *,
        clock: Clock,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
    ) -> None:
        self._session = session
        self._url, self._key = url, key
        self._clock = clock
        self._timeout = timeout
        self._where = f"{url.host}:{url.port}"  # the rest of an address may be a secret

    async def send(self, notification: Notification) -> None:
        """POST it; any 2xx has taken it."""
        try:
            status, asked = await self._post(notification)
        except TimeoutError:
            problem = f"no answer within {self._timeout.total or 0:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:  # they may hold the address
            problem = f"no answer ({type(error).__name__})"
        else:
            if status not in OK:
                raise self._refusal(status, asked)
            return
        # Outside the `except`, so that no traceback holds the address either.
        raise UndeliveredError(f"{self._where}: {problem}")

    async def close(self) -> None:
        """The session is not ours to close."""

    async def _post(self, told: Notification) -> tuple[int, str]:
        """The status, and what it says of when to come again."""
        timestamp = int(self._clock.now().timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": AGENT,
            "webhook-id": told.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._key, told.id, timestamp, told.body),
        }
        async with self._session.post(
            self._url,
            data=told.body,
            headers=headers,
            timeout=self._timeout,
            allow_redirects=False,
        ) as response:
            return response.status, response.headers.get("Retry-After", "")

    def _refusal(self, status: int, asked: str) -> UndeliveredError:
        said = f"{self._where}: HTTP {status}"
        if status == GONE:
            return ChannelGoneError(said)
        return UndeliveredError(said, retry_after(asked, self._clock.now()))
