"""History that an exchange does not have: for the gap ledger, and in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from collectors.backfill import Unserved
from collectors.gaps import Cause, Gap, GapState, count


def notices(unserved: Sequence[Unserved]) -> list[Gap]:
    """They are missing, were asked for, and are not to be had."""
    return [
        Gap(
            instrument=one.instrument,
            timeframe=one.timeframe,
            from_ms=one.span.from_ms,
            to_ms=one.span.to_ms,
            cause=Cause.START,
            state=state,
        )
        for one in unserved
        for state in (GapState.FOUND, GapState.ASKED, GapState.ABSENT)
    ]


def lines(unserved: Sequence[Unserved], *, bars: int) -> Iterator[str]:
    """One line for each exchange, timeframe and number of candles.

    Args:
        unserved: of `bars` candles that were asked for.
        bars: of each series.
    """
    alike: dict[tuple[str, str, int], list[str]] = {}
    for one in unserved:
        lacking = count(one.span, one.timeframe)
        key = (one.instrument.exchange, one.timeframe.value, lacking)
        alike.setdefault(key, []).append(one.instrument.symbol)
    for (exchange, timeframe, lacking), symbols in alike.items():
        yield (
            f"{exchange} serves {bars - lacking} of the {bars} candles of {timeframe} asked for "
            f"({', '.join(symbols)}): the {lacking} before them are unfillable, and models train "
            "on those and on what comes"
        )
