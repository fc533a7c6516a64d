"""What had been told of the synthetic market before somebody began to listen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from collectors.simulated.press import DAY_MS, FUNDING_MS, HOUR_MS, Press
from domain.events import Floats, Ints
from domain.market import Instrument
from domain.sources import MARKET, Answer, Measurement, Metric, TextItem

TOLD_MS: Final = 2 * HOUR_MS  # between two facts of the open interest, or of the ratio
DELAY_MS: Final = 180_000  # between a fact and who would have asked for it


def told_before(
    press: Press,
    instruments: Sequence[Instrument],
    *,
    feed: str,
    since_ms: int,
    until_ms: int,
) -> Answer:
    """The facts known with since < time ≤ until, known as if somebody had listened.

    That past is as synthetic as the facts are.

    Args:
        press: what tells them.
        instruments: spot, of the synthetic market; measured are their perpetuals.
        feed: the name of the source of articles.
        since_ms: end of what nobody asks for.
        until_ms: when somebody begins to listen.
    """
    first_ms, last_ms = since_ms - DELAY_MS, until_ms - DELAY_MS
    days = _steps(first_ms - DAY_MS, last_ms, DAY_MS)
    told = _measured(MARKET, Metric.FEAR_GREED, days, press.fear_greed(days))
    for one in instruments:
        times, slots = (_steps(first_ms, last_ms, step) for step in (TOLD_MS, FUNDING_MS))
        funding = press.funding_rate(one.symbol, slots)
        interest = press.open_interest(one.symbol, times)
        ratio = press.long_short_ratio(one.symbol, times)
        told += _measured(one.perpetual, Metric.FUNDING_RATE, slots, funding)
        told += _measured(one.perpetual, Metric.OPEN_INTEREST, times, interest)
        told += _measured(one.perpetual, Metric.LONG_SHORT_RATIO, times, ratio)
    items = tuple(
        TextItem(
            source=feed,
            item_id=one.identity,
            published_ms=one.published_ms,
            known_ms=one.published_ms + DELAY_MS,
            title=one.title,
            body=one.summary,
            url=one.url,
        )
        for one in press.articles(first_ms, last_ms)
    )
    return Answer(items=items, measurements=tuple(told))


def _steps(since_ms: int, until_ms: int, step_ms: int) -> Ints:
    """The whole steps with since < time ≤ until."""
    return np.arange(since_ms // step_ms + 1, until_ms // step_ms + 1) * step_ms


def _measured(
    instrument: Instrument, metric: Metric, times: Ints, values: Floats
) -> list[Measurement]:
    return [
        Measurement(
            instrument=instrument,
            metric=metric,
            event_ms=event_ms,
            known_ms=event_ms + DELAY_MS,
            value=value,
        )
        for event_ms, value in zip(times.tolist(), values.tolist(), strict=True)
    ]
