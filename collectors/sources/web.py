"""One address that is asked again and again: politely, within bounds, for what has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Protocol
from urllib.parse import quote, quote_plus, urlsplit

import aiohttp
from yarl import URL

from collectors.pacing import retry_after
from collectors.sources.payloads import UnreadableError, refusal
from domain.errors import SourceUnavailableError
from domain.market import to_ms
from domain.ports import Clock
from domain.sources import Answer, Refused

AGENT: Final = "AlphaPulse/0.1 (market research; polls a few times an hour)"
TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=10)  # seconds of wall time
LARGEST: Final = 4 * 2**20  # bytes of an answer; the fullest list has 1 MB
CHUNK: Final = 65_536  # bytes
REDIRECTS: Final = 5
FEW: Final = 20  # rows of one answer that are refused one by one
MASK: Final = b"***"

OK, NOT_MODIFIED, UNAUTHORIZED, FORBIDDEN = 200, 304, 401, 403

Parse = Callable[[bytes, int], Answer]  # the body, when it was fetched → what it tells


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What to ask for, and how often.

    `secrets` are parts of the parameters that nobody may see: they are masked wherever they
    come back, and no redirection is followed with them.
    """

    source: str
    url: str
    every: timedelta
    stale_after: timedelta
    pause: timedelta = timedelta(seconds=5)  # between two requests, at least
    largest: int = LARGEST
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = field(default=(), repr=False)


class Authority(Protocol):
    """Gives the headers that let us in, where an address needs them."""

    async def headers(self) -> Mapping[str, str]:
        """Asks for them where it has none.

        Raises:
            SourceUnavailableError: it gets none.
            aiohttp.ClientError, TimeoutError: no answer.
        """
        ...

    def refused(self) -> None:
        """The headers were not good any more."""


class WebSource:
    """A `Source` that is one address and a way to read its answers.

    Args:
        address: what is asked for.
        parse: raises UnreadableError for an answer that is not of this source; pure.
        session: shared by all sources; stays open.
        clock: gives `known_ms`; politeness waits by it.
        authority: None where everybody is let in.
    """

    def __init__(
        self,
        address: Address,
        parse: Parse,
        *,
        session: aiohttp.ClientSession,
        clock: Clock,
        authority: Authority | None = None,
    ) -> None:
        self._address = address
        self._parse = parse
        self._session = session
        self._clock = clock
        self._authority = authority
        self._spellings = [one for secret in address.secrets for one in _spellings(secret)]
        self._asked_at: datetime | None = None
        self._validators: dict[str, str] = {}  # of the newest answer that could be read
        self._turn = asyncio.Lock()

    @property
    def name(self) -> str:
        return self._address.source

    @property
    def every(self) -> timedelta:
        return self._address.every

    @property
    def stale_after(self) -> timedelta:
        return self._address.stale_after

    async def poll(self) -> Answer:
        async with self._turn:
            await self._wait()
            try:
                return await self._ask()
            except TimeoutError:
                problem = f"no answer within {TIMEOUT.total} s"
            except aiohttp.ClientError as error:  # its text may hold the address
                problem = f"no answer ({type(error).__name__})"
            finally:
                self._asked_at = self._clock.now()
        # Outside the `except`, so that no traceback holds the address either.
        raise SourceUnavailableError(f"{self._where}: {problem}")

    async def close(self) -> None:
        """The session is not ours to close."""

    @property
    def _where(self) -> str:
        return f"{self.name} ({urlsplit(self._address.url).netloc})"

    async def _wait(self) -> None:
        if self._asked_at is not None:
            left = self._asked_at + self._address.pause - self._clock.now()
            await self._clock.sleep(max(left, timedelta(0)))

    async def _ask(self) -> Answer:
        key = {} if self._authority is None else await self._authority.headers()
        async with self._session.get(
            self._address.url,
            params=self._address.parameters,
            headers={"User-Agent": AGENT, **self._address.headers, **self._validators, **key},
            timeout=TIMEOUT,
            max_redirects=REDIRECTS,
            allow_redirects=not self._address.secrets,  # they would travel on
        ) as response:
            if response.status == NOT_MODIFIED:
                return Answer()
            if response.status != OK:
                raise self._refusal(response)
            body, whole = await _bounded(response, self._address.largest)
            answer = await self._read(body, whole=whole)
            if answer.items or answer.measurements or not answer.refused:
                self._validators = _validators(response)
            return answer

    async def _read(self, body: bytes, *, whole: bool) -> Answer:
        body = self._masked(body)
        try:
            if not whole:
                raise UnreadableError(f"more than {self._address.largest} bytes")  # noqa: TRY301 - one way to refuse
            answer = await asyncio.to_thread(self._parse, body, to_ms(self._clock.now()))
        except UnreadableError as error:
            return Answer(refused=(refusal(self.name, str(error), body),))
        return replace(answer, refused=_few(answer.refused, self.name))

    def _masked(self, body: bytes) -> bytes:
        for spelling in self._spellings:
            body = body.replace(spelling, MASK)
        return body

    def _refusal(self, response: aiohttp.ClientResponse) -> SourceUnavailableError:
        said = f"{self._where}: HTTP {response.status}"
        if response.status in {UNAUTHORIZED, FORBIDDEN}:
            if self._authority is not None:
                self._authority.refused()
            said += ", it does not let us in" + (" with this key" if self._address.secrets else "")
        asked = response.headers.get("Retry-After", "")
        return SourceUnavailableError(said, retry_after(asked, self._clock.now()))


def _spellings(secret: str) -> list[bytes]:
    """How a secret may come back: as it is, in JSON, and in the query of an address."""
    in_query = URL.build(query={"": secret}).raw_query_string[1:]
    spellings = {secret, secret.replace("/", "\\/"), in_query, quote(secret, safe="")}
    return sorted((one.encode() for one in {*spellings, quote_plus(secret)}), key=len)[::-1]


def _few(refused: tuple[Refused, ...], source: str) -> tuple[Refused, ...]:
    """The first of them, and how many more there were."""
    if len(refused) <= FEW:
        return refused
    return (*refused[:FEW], refusal(source, f"{len(refused) - FEW} more rows like these", b""))


async def _bounded(response: aiohttp.ClientResponse, largest: int) -> tuple[bytes, bool]:
    """The body up to `largest` bytes, and whether that is all of it."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK):
        body += chunk
        if len(body) > largest:
            response.close()
            return bytes(body[:largest]), False
    return bytes(body), True


def _validators(response: aiohttp.ClientResponse) -> dict[str, str]:
    """The headers by which the same answer need not be sent again (RFC 9110, 13.1).

    One that we may not send back as it came is left: each later request would fail with it.
    """
    told = (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified"))
    values = ((ours, response.headers.get(theirs, "")) for ours, theirs in told)
    return {ours: one for ours, one in values if one and one.isascii() and one.isprintable()}
