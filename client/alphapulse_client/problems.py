"""Problem objects of the server, on REST and on the socket alike, as errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alphapulse_client.errors import ChainBrokenError, ProblemError

_EDITED = "not_as_it_was"


def problem_of(
    said: Mapping[str, Any], *, stream: str | None = None, retry_after_s: float | None = None
) -> ProblemError | ChainBrokenError:
    """The error that says what a problem object says; of an event that was edited, which it is.

    Args:
        said: the object.
        stream: what it is about, where it does not say so itself.
        retry_after_s: what the answer's header asks for, where the object does not.
    """
    if said.get("code") == _EDITED and "offset" in said:
        reason = "it was edited and is no row any more"
        return ChainBrokenError(str(said.get("stream")), int(said["offset"]), reason)
    rejected = said.get("rejected") or [{}]
    first = rejected[0].get("error", {}) if len(rejected) == 1 else {}
    detail = str(said.get("detail", "")) if stream is None else f"{stream}: {said.get('detail')}"
    waits_ms = said.get("retry_after_ms")
    return ProblemError(
        str(said.get("code", "unknown")),
        detail,
        status=int(said.get("status", 0)),
        temporary=bool(said.get("temporary")),
        retry_after_s=retry_after_s if waits_ms is None else waits_ms / 1_000,
        suggestions=said.get("suggestions") or first.get("suggestions", ()),
        request_id=said.get("request_id"),
    )
