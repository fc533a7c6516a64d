"""The sources of the synthetic market: asked like real ones, with a past of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

from backend.asked import Asked, metric_sources
from backend.feed import Feed
from backend.wiring import Store
from collectors.simulated.past import told_before
from collectors.simulated.press import Press
from collectors.sources.ccxt_metrics import CcxtDerivatives
from collectors.sources.fear_greed import fear_greed
from collectors.sources.rss import news
from collectors.sources.session import open_session
from domain.market import Instrument, to_ms
from domain.sources import Answer

NEWS: Final = "simulated_news"
ASK_EVERY_S: Final = 2  # wall seconds, at least, however fast the market's clock runs
BEFORE: Final = timedelta(days=2)  # what is known at the first candle goes back so far


async def simulated_sources(  # noqa: PLR0913 - what each is, by name
    stack: AsyncExitStack,
    store: Store,
    feed: Feed,
    instruments: Callable[[], Sequence[Instrument]],
    *,
    site: str,
    seed: int,
    history: int,
) -> Asked:
    """What to ask; nothing that was told before is missing from the first candle on.

    Args:
        stack: closes what is opened.
        store: where nobody has been asked before, the past is told.
        feed: of the synthetic market.
        instruments: that are watched, whenever that is asked.
        site: address of the simulated exchange.
        seed: of the market.
        history: candles before the market's clock starts.
    """
    clock = feed.pace.clock
    session = await stack.enter_async_context(open_session())
    exchange = await asyncio.to_thread(
        CcxtDerivatives,
        "binance",
        session=session,
        name=feed.exchange.id,
        rest_url=site,
        rate_limited=False,
    )
    stack.push_async_callback(exchange.close)
    first = not await store.sources.states(clock.now())
    return Asked(
        sources=[
            fear_greed(session, clock, url=f"{site}/fng/"),
            news(NEWS, session, clock, url=f"{site}/news/feed"),
            *metric_sources(exchange, instruments, clock),
        ],
        least=timedelta(seconds=ASK_EVERY_S * feed.pace.speed),
        past=_past(feed, seed, history) if first else (),
        assets=lambda: {one.base for one in instruments()},
    )


def _past(feed: Feed, seed: int, history: int) -> Sequence[Answer]:
    now = feed.pace.clock.now()
    span = history * min(timeframe.duration for timeframe in feed.timeframes)
    told = told_before(
        Press(seed),
        feed.instruments,
        feed=NEWS,
        since_ms=to_ms(now - span - BEFORE),
        until_ms=to_ms(now),
    )
    return (told,)
