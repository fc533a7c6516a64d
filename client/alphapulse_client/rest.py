"""REST: requests that are repeated while that can help, and pages one after another."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import httpx

from alphapulse_client.address import Address
from alphapulse_client.backoff import Backoff
from alphapulse_client.errors import (
    ChainBrokenError,
    ClientError,
    ProblemError,
    ProtocolError,
    UnreachableError,
)
from alphapulse_client.problems import problem_of
from alphapulse_client.quota import pause_s, retry_after_s
from alphapulse_client.times import spelt

log = logging.getLogger(__name__)

JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_TEMPORARY: Final = (408, 425, 429)
_TIMEOUT_S: Final = 60.0

Filters = Mapping[str, Any]


class Rest:
    """The requests of a client, none before its quota allows it.

    Args:
        address: of the server.
        backoff: how long to wait between the attempts of a request, and how many there are.
    """

    def __init__(self, address: Address, backoff: Backoff) -> None:
        self._backoff = backoff
        self._url = address.url
        self._pause_s = 0.0  # before the next request
        self._http = httpx.AsyncClient(headers=address.headers, timeout=_TIMEOUT_S)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def get(self, path: str, filters: Filters, accept: str = JSON) -> httpx.Response:
        """The answer to a request.

        Args:
            path: `/v1/signals`.
            filters: parameter → value, several values, or None for none.
            accept: media types, the best first.

        Raises:
            ProblemError: the server refuses it, or could not answer it in any attempt.
            ChainBrokenError: of events the next one was edited, and cannot be told.
            UnreachableError: it could not be asked.
        """
        failures = 0
        while True:
            try:
                return await self._once(path, filters, accept)
            except (ProblemError, UnreachableError) as error:
                failures += 1
                asked_s = _again_after_s(error)
                if asked_s is None or failures >= self._backoff.attempts:
                    raise
                delay_s = self._backoff.delay_s(failures, asked_s)
                log.info("%s; asked again in %.1f s", error, delay_s)
            await self._backoff.sleep(delay_s)

    async def pages(
        self, path: str, filters: Filters, accept: str = JSON
    ) -> AsyncGenerator[httpx.Response]:
        """The answer to a request and those that follow on it, each asked for when it is needed.

        Raises:
            ProblemError, UnreachableError, ProtocolError: as `get`.
        """
        following: dict[str, Any] = {}
        while True:
            answer = await self.get(path, {**filters, **following}, accept)
            yield answer
            cursor = _cursor(answer)
            if cursor is None:
                return
            following = {"cursor": cursor}

    async def _once(self, path: str, filters: Filters, accept: str) -> httpx.Response:
        pause, self._pause_s = self._pause_s, 0.0
        if pause:
            await self._backoff.sleep(pause)
        parameters = {name: _text(one) for name, one in filters.items() if one is not None}
        try:
            answer = await self._http.get(
                f"{self._url}{path}", params=parameters, headers={"Accept": accept}
            )
        except httpx.TransportError as error:
            raise UnreachableError(f"{self._url}: {type(error).__name__}: {error}") from error
        if answer.is_success:
            self._pause_s = pause_s(answer.headers)
            return answer
        raise _problem(answer)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return spelt(value)
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(_text(one) for one in value)
    return str(value)


def _cursor(answer: httpx.Response) -> str | None:
    """Where the next page begins, by the header that all spellings carry."""
    following = answer.links.get("next", {}).get("url")
    if following is None:
        return None
    cursor: str | None = httpx.URL(following).params.get("cursor")
    if not cursor:
        raise ProtocolError("a list says that a page follows, and not where")
    return cursor


def _problem(answer: httpx.Response) -> ProblemError | ChainBrokenError:
    status = answer.status_code
    asked_s = retry_after_s(answer.headers)
    if answer.headers.get("content-type", "").startswith(_PROBLEM):
        try:
            return problem_of(answer.json(), retry_after_s=asked_s)
        except (ValueError, AttributeError, TypeError):
            pass  # it is none after all
    return ProblemError(
        f"http_{status}",
        f"{answer.request.url.path} was answered {status} {answer.reason_phrase}",
        status=status,
        temporary=status in _TEMPORARY or answer.is_server_error,
        retry_after_s=asked_s,
    )


def _again_after_s(error: ClientError) -> float | None:
    """How long the server asks to wait before the same request; None: it would not help."""
    if isinstance(error, ProblemError):
        return (error.retry_after_s or 0.0) if error.temporary else None
    return 0.0
