"""What a server says of how often it may be asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_LEFT: Final = re.compile(r";\s*r=(\d{1,9})\b", re.ASCII)
_QUOTA: Final = re.compile(r";\s*q=(\d{1,9})\b", re.ASCII)
_WINDOW: Final = re.compile(r";\s*w=(\d{1,9})\b", re.ASCII)
_SECONDS: Final = re.compile(r"\d{1,9}", re.ASCII)


def pause_s(headers: Mapping[str, str]) -> float:
    """Seconds until the next request would be met: 0 unless the quota is used up.

    The headers are those of draft-ietf-httpapi-ratelimit-headers-10; a quota comes back evenly.

    >>> policy = '"default";q=600;w=60'
    >>> pause_s({"RateLimit-Policy": policy, "RateLimit": '"default";r=0;t=60'})
    0.1
    >>> pause_s({"RateLimit-Policy": policy, "RateLimit": '"default";r=9;t=59'}), pause_s({})
    (0.0, 0.0)
    """
    left = _LEFT.search(headers.get("RateLimit", ""))
    policy = headers.get("RateLimit-Policy", "")
    quota, window = _QUOTA.search(policy), _WINDOW.search(policy)
    if left is None or int(left[1]) or quota is None or window is None:
        return 0.0
    return int(window[1]) / max(1, int(quota[1]))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """What `Retry-After` asks for, in seconds; None where it does not, or names a date.

    >>> [retry_after_s({"Retry-After": one}) for one in ("20", "\N{SUPERSCRIPT TWO}", "9" * 99)]
    [20.0, None, None]
    """
    said = headers.get("Retry-After", "")
    return float(said) if _SECONDS.fullmatch(said) else None
