"""Where the server is, and the header that says who asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Address:
    """A server, and the key that is shown to it; the key is in no text of this object.

    Attributes:
        url: `http://127.0.0.1:8000`, with a path where a proxy puts the server below one.
        key: `ap_…`; None on the server's own machine.
    """

    url: str
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must be http://… or https://…")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("url may hold no credentials and no query; pass the key as `key`")
        object.__setattr__(self, "url", self.url.rstrip("/"))

    @property
    def socket(self) -> str:
        """The address of the socket, pinned to the version of the protocol."""
        return f"ws{self.url.removeprefix('http')}/ws/v1"

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
