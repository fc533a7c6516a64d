"""What can go wrong, as types: each says what was refused, lost or altered, and never the key."""

from __future__ import annotations

from collections.abc import Sequence


class ClientError(Exception):
    """Whatever this package raises about a server or about what it keeps."""


class ProblemError(ClientError):
    """The server answered a request with a problem object.

    Attributes:
        code: a stable word, `unknown_symbol`; `http_502` where the answer was no problem object.
        detail: one line for people.
        status: the HTTP status.
        temporary: whether the same request may succeed later.
        retry_after_s: how long the server asks to wait, in seconds; None where it does not say.
        suggestions: names that may have been meant.
        request_id: finds the request in the server's log; None where the server does not say.
    """

    def __init__(  # noqa: PLR0913 - the members of a problem object
        self,
        code: str,
        detail: str,
        *,
        status: int = 0,
        temporary: bool = False,
        retry_after_s: float | None = None,
        suggestions: Sequence[str] = (),
        request_id: str | None = None,
    ) -> None:
        hint = f"; did you mean {', '.join(suggestions)}?" if suggestions else ""
        super().__init__(f"{code}: {detail}{hint}")
        self.code = code
        self.detail = detail
        self.status = status
        self.temporary = temporary
        self.retry_after_s = retry_after_s
        self.suggestions = list(suggestions)
        self.request_id = request_id


class StoppedError(ClientError):
    """The server ended the socket and does not want to be asked again (44xx, or HTTP 4xx).

    Attributes:
        code: the close code, or the HTTP status of a handshake that was refused.
        reason: the server's word, `unauthorized`; may be empty.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the server ended the connection for good: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class UnreachableError(ClientError):
    """The server could not be reached, as often as was allowed."""


class ProtocolError(ClientError):
    """What was received is not what the protocol says."""


class HistoryLostError(ClientError):
    """Events behind a position can no longer be had; nothing of the stream was skipped.

    Attributes:
        stream: whose events.
        reason: `epoch_changed`, `not_as_it_was`, `offset_expired` or `unknown_offset`.
    """

    def __init__(self, stream: str, reason: str) -> None:
        super().__init__(f"{stream}: what followed the last event received is gone: {reason}")
        self.stream = stream
        self.reason = reason


class ChainBrokenError(ClientError):
    """An event is not as it was published: edited, missing, or dated otherwise.

    Attributes:
        stream: whose chain.
        offset: of the first event that does not hold.
        reason: what does not.
    """

    def __init__(self, stream: str, offset: int, reason: str) -> None:
        super().__init__(f"stream {stream}: offset {offset}: {reason}")
        self.stream = stream
        self.offset = offset
        self.reason = reason


class PositionsError(ClientError):
    """Kept positions cannot be read; whoever keeps them decides where to begin."""
