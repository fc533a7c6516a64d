"""Outages: of sources, as their states follow each other; of predictions, as they grow old."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby

import orjson

from domain.market import SeriesKey, rfc3339
from domain.notifications import Notice
from domain.sources import UNASKED, SourceState, SourceStatus


def tells(status: SourceStatus) -> bool:
    """Whether a state says how the source is; off, or not asked yet, says nothing of it."""
    return status.state is not SourceState.OFF and status.reason != UNASKED


class SourceWatch:
    """What was last said of each source; one that nobody spoke of is taken to be fine.

    A restart within an outage is no end of it: states that say nothing are passed over.
    """

    def __init__(self, said: Iterable[SourceStatus] = ()) -> None:
        self._said = {one.source: one.state for one in said if tells(one)}

    def on_state(self, status: SourceStatus, known_at: datetime) -> Notice | None:
        """What a change of a state tells; None where it is the one that was said last."""
        if not tells(status) or status.state is self._said.get(status.source, SourceState.OK):
            return None
        self._said[status.source] = status.state
        row = {
            "source": status.source,
            "state": status.state.value,
            "since": rfc3339(status.since),
            "reason": status.reason,
        }
        return Notice(
            event=f"source.{status.state.value}",
            at=known_at,
            subject=status.source,
            key=(status.source, known_at.isoformat()),
            data=orjson.dumps(row),
        )


def of_predictions(
    event: str, told: Mapping[SeriesKey, datetime], at: datetime, why: Mapping[str, str]
) -> Iterator[Notice]:
    """One notice for each exchange and timeframe: whose predictions are stale, or fresh again.

    Args:
        event: `predictions.stale` or `predictions.fresh`.
        told: the close that the newest prediction of each is of; where they are fresh again, the
            one with which they had grown stale.
        at: the market's time.
        why: by exchange, where it is known.
    """
    ordered = sorted(told, key=_panel)
    for (exchange, timeframe), group in groupby(ordered, key=_panel):
        series = sorted(group)
        row = {
            "exchange": exchange,
            "timeframe": timeframe,
            "instruments": [
                {"symbol": one.symbol, "as_of": rfc3339(told[one, each])} for one, each in series
            ],
            "reason": why.get(exchange, ""),
        }
        yield Notice(
            event=event,
            at=at,
            subject=f"{exchange} {timeframe}",
            key=(exchange, timeframe, rfc3339(at), *(one.symbol for one, _ in series)),
            data=orjson.dumps(row),
            instruments=tuple(instrument for instrument, _ in series),
            timeframe=timeframe,
        )


def _panel(series: SeriesKey) -> tuple[str, str]:
    return series[0].exchange, series[1].value
