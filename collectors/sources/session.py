"""The HTTP session of the sources: no answer fills the memory, whoever reads it."""

from __future__ import annotations

from typing import Final

import aiohttp

LARGEST: Final = 32 * 2**20  # bytes; the list of an exchange's markets has up to 10 MB
CHUNK: Final = 65_536  # bytes


class OversizedError(aiohttp.ClientPayloadError):
    """A body beyond the bound."""


class BoundedResponse(aiohttp.ClientResponse):
    """An answer whose `read`, `text` and `json` end at `largest` bytes."""

    largest = LARGEST

    async def read(self) -> bytes:
        """The body, unpacked.

        Raises:
            OversizedError: it is larger.
        """
        if self._body is None:
            body = bytearray()
            async for chunk in self.content.iter_chunked(CHUNK):
                body += chunk
                if len(body) > self.largest:
                    self.close()
                    raise OversizedError(f"more than {self.largest} bytes")
            self._body = bytes(body)
        return self._body


def open_session(*, largest: int = LARGEST) -> aiohttp.ClientSession:
    """A session whose answers are at most `largest` bytes; the caller closes it."""
    bounded = type("BoundedResponse", (BoundedResponse,), {"largest": largest})
    return aiohttp.ClientSession(response_class=bounded)
