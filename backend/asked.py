"""Which sources are asked, and why the others are not: from settings to adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import aiohttp

from backend.settings import SourceSettings
from collectors.sources import cryptopanic, fear_greed, gdelt, reddit, rss
from collectors.sources.ccxt_metrics import CcxtDerivatives
from collectors.sources.kinds import SourceKind
from domain.market import Instrument
from domain.ports import Clock, Source
from domain.sources import Answer

SWITCHED_OFF: Final = "switched off"
NO_KEY: Final = "no key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which sources are asked, and how."""

    sources: Sequence[Source] = ()
    off: Mapping[str, str] = field(default_factory=dict)  # name → why it is not asked
    least: timedelta = timedelta(0)  # between two polls of a source, in market time
    past: Sequence[Answer] = ()  # of a simulated market: what had been told before it began
    assets: Callable[[], Iterable[str]] = tuple  # tickers that texts may speak of, now
    keep_posts: timedelta = timedelta(hours=48)  # how long their texts are


def web_sources(
    settings: SourceSettings,
    session: aiohttp.ClientSession,
    clock: Clock,
    plugins: Iterable[SourceKind],
) -> list[Source]:
    """The sources of the web that are switched on, and those that there is a key for."""
    asked: list[Source] = []
    if settings.fear_greed:
        asked.append(fear_greed.fear_greed(session, clock))
    asked += [
        rss.news(name, session, clock, url=settings.feeds.get(name)) for name in feeds(settings)
    ]
    if settings.gdelt:
        asked.append(gdelt.gdelt(session, clock))
    if settings.cryptopanic_token is not None:
        token = settings.cryptopanic_token
        asked.append(cryptopanic.cryptopanic(session, clock, token=token))
    if settings.reddit is not None:
        about = settings.reddit
        key = reddit.RedditKey(
            client_id=about.client_id, client_secret=about.client_secret, username=about.username
        )
        asked.append(reddit.reddit(session, clock, application=key, communities=about.communities))
    told = [kind for kind in plugins if not kind.key or kind.name in settings.keys]
    asked += [kind.source(session, clock, settings.keys.get(kind.name)) for kind in told]
    return asked


def feeds(settings: SourceSettings) -> list[str]:
    """The names of the feeds that are read."""
    return list(dict.fromkeys([*settings.news, *settings.feeds]))


def not_asked(settings: SourceSettings, plugins: Iterable[SourceKind]) -> dict[str, str]:
    """The sources of the web that are off, and why."""
    reasons = {
        fear_greed.NAME: None if settings.fear_greed else SWITCHED_OFF,
        gdelt.NAME: None if settings.gdelt else SWITCHED_OFF,
        cryptopanic.NAME: None if settings.cryptopanic_token else NO_KEY,
        reddit.NAME: None if settings.reddit else NO_KEY,
        **{one.name: NO_KEY for one in plugins if one.key and one.name not in settings.keys},
    }
    return {name: why for name, why in reasons.items() if why is not None}


def nothing_asked(settings: SourceSettings, why: str) -> Asked:
    """All sources are off for one reason."""
    names = (fear_greed.NAME, *feeds(settings), gdelt.NAME, cryptopanic.NAME, reddit.NAME)
    return Asked(off=dict.fromkeys((*names, *settings.plugins), why))


def metric_sources(
    exchange: CcxtDerivatives, instruments: Callable[[], Iterable[Instrument]], clock: Clock
) -> list[Source]:
    """What the exchange tells of the perpetuals of these pairs; nothing where it tells nothing."""

    def perpetuals() -> list[Instrument]:
        return sorted({one.perpetual for one in instruments()})

    return [exchange.source(metric, perpetuals, clock) for metric in exchange.metrics()]
