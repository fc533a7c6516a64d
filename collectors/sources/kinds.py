"""The port of sources that plug-ins add: one address, and a way to read its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from collectors.sources.feeds import FEEDS
from domain.sources import Answer

if TYPE_CHECKING:
    import aiohttp
    from pydantic import SecretStr

    from domain.ports import Clock, Source


SHIPPED: Final = frozenset({*FEEDS, "fear_greed", "gdelt", "cryptopanic", "reddit"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKind:
    """A source of texts or measurements on the web.

    How it is asked is ours: pauses, bounds, ETag and If-Modified-Since, Retry-After, a key that
    nobody sees. How it is read is `parse`, which is pure.

    Args:
        name: on each of its items; `tells` says of it what it tells (`desk`: news,
            `desk.funding_rate`: that metric).
        url: what is asked for, with https.
        parse: the body of an answer, and when it was fetched in ms → what it tells; raises
            `collectors.sources.payloads.UnreadableError` where it is no answer of this source.
        example: an answer of the source, with at least one fact; its check reads it.
        every: how often there may be something new.
        stale_after: the age from which its newest fact says that it does not work.
        parameters: of the address.
        key: the parameter that a key goes into, of `sources.keys`; empty: it needs none.
    """

    name: str
    url: str
    parse: Callable[[bytes, int], Answer]
    example: bytes
    every: timedelta = timedelta(minutes=15)
    stale_after: timedelta = timedelta(hours=24)
    parameters: Mapping[str, str] = field(default_factory=dict)
    key: str = ""

    def source(
        self, session: aiohttp.ClientSession, clock: Clock, secret: SecretStr | None = None
    ) -> Source:
        """The source, ready to be asked."""
        from collectors.sources.web import Address, WebSource  # noqa: PLC0415 - where it is asked

        told = "" if secret is None else secret.get_secret_value()
        address = Address(
            source=self.name,
            url=self.url,
            every=self.every,
            stale_after=self.stale_after,
            parameters={**self.parameters, **({self.key: told} if told else {})},
            secrets=(told,) if told else (),
        )
        return WebSource(address, self.parse, session=session, clock=clock)
