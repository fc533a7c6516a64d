"""The sources of the synthetic market, read by the adapters that read the real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from collectors.simulated.market import START_MS, SyntheticMarket
from collectors.simulated.past import DELAY_MS, told_before
from collectors.simulated.press import ARTICLE_MS, DAY_MS, HOUR_MS, Press
from collectors.simulated.server import Play, SimulatedExchange
from collectors.sources.ccxt_metrics import CcxtDerivatives
from collectors.sources.fear_greed import fear_greed
from collectors.sources.rss import news
from collectors.sources.session import open_session
from domain.market import Instrument, Timeframe, from_ms
from domain.ports import Source
from domain.sources import Answer, Measurement, Metric
from tests.doubles import ManualClock

SYMBOLS = ("BTC/USDT", "SIM012/USDT")
BTC, SIM = (Instrument("simulated", symbol) for symbol in SYMBOLS)
NOW_MS = START_MS + 30 * DAY_MS
PRESS = Press(7)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def answers() -> AsyncIterator[dict[str, Answer]]:
    """What each adapter makes of one poll of a clock that stands."""
    market = SyntheticMarket(SYMBOLS, seed=7, timeframe=Timeframe.H1, start_ms=START_MS)
    clock = ManualClock(from_ms(NOW_MS))
    async with (
        SimulatedExchange(market, Play(clock_ms=NOW_MS, held=True, press=7)) as exchange,
        open_session() as session,
    ):
        site = f"http://127.0.0.1:{exchange.port}"
        derivatives = CcxtDerivatives(
            "binance", session=session, name="simulated", rest_url=site, rate_limited=False
        )
        perpetuals = [BTC.perpetual]
        sources = [
            derivatives.source(one, lambda: perpetuals, clock) for one in derivatives.metrics()
        ]
        alone = [await source.poll() for source in sources]
        assert all(len(one.measurements) == 1 for one in alone)
        perpetuals.append(SIM.perpetual)  # it is followed from the next poll on
        asked: list[Source] = [
            fear_greed(session, clock, url=f"{site}/fng/"),
            news("simulated_news", session, clock, url=f"{site}/news/feed"),
            *sources,
        ]
        yield {source.name: await source.poll() for source in asked}
        await derivatives.close()


def past(since_ms: int) -> Answer:
    return told_before(
        PRESS, [BTC, SIM], feed="simulated_news", since_ms=since_ms, until_ms=NOW_MS + DELAY_MS
    )


def newest(answer: Answer, metric: Metric) -> dict[Instrument, Measurement]:
    return {one.instrument: one for one in answer.measurements if one.metric is metric}


async def test_every_source_of_the_synthetic_market_is_read_to_the_last_row(
    answers: dict[str, Answer],
) -> None:
    assert {name: len(one.items) or len(one.measurements) for name, one in answers.items()} == {
        "fear_greed": 30,
        "simulated_news": 20,
        "simulated.funding_rate": 2,
        "simulated.open_interest": 2,
        "simulated.long_short_ratio": 2,
    }
    assert not any(one.refused for one in answers.values())
    assert all(0 <= one.value <= 100 for one in answers["fear_greed"].measurements)


async def test_what_was_told_before_is_what_the_sources_tell(answers: dict[str, Answer]) -> None:
    before, index = past(NOW_MS - 19 * ARTICLE_MS), answers["fear_greed"]

    told = {replace(one, known_ms=0) for one in answers["simulated_news"].items}
    assert {replace(one, known_ms=0) for one in before.items} <= told
    assert len(before.items) in (18, 19, 20)
    assert newest(before, Metric.FEAR_GREED)[index.measurements[0].instrument].value == (
        index.measurements[0].value
    )
    for metric in (Metric.FUNDING_RATE, Metric.OPEN_INTEREST, Metric.LONG_SHORT_RATIO):
        live = newest(answers[f"simulated.{metric}"], metric)
        for instrument, one in newest(before, metric).items():
            assert one.value == pytest.approx(live[instrument].value, rel=1e-3), metric


def test_nothing_of_the_past_is_known_before_it_was_or_after_somebody_listens() -> None:
    facts = past(NOW_MS - 90 * HOUR_MS)

    for one in facts.items:
        assert one.published_ms < one.known_ms <= NOW_MS + DELAY_MS
    for fact in facts.measurements:
        assert fact.event_ms < fact.known_ms <= NOW_MS + DELAY_MS


def test_another_seed_says_something_else() -> None:
    one, other = (Press(seed).articles(START_MS, NOW_MS) for seed in (7, 8))

    assert [a.title for a in one] != [a.title for a in other]
    assert [a.title for a in one] == [a.title for a in PRESS.articles(START_MS, NOW_MS)]
