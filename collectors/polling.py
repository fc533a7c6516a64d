"""Candles that an exchange does not stream: which they are, and what asking for them takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from domain.market import Timeframe

MINUTE: Final = timedelta(minutes=1)
ANSWER: Final = timedelta(seconds=1)  # of a slow one
QUICKEST: Final = timedelta(milliseconds=100)  # a request of some 0.4 s, four of them at a time
# Whose sockets tell days that begin at midnight in Hong Kong; their REST has those of UTC too.
# OKX, WS / Candlesticks channel: candle1D and candle1Dutc; ccxt subscribes to the former.
_OTHER_DAYS: Final = frozenset({"okx", "okxus", "myokx"})


def is_streamed(client: Any, timeframe: Timeframe) -> bool:  # noqa: ANN401 - ccxt has no types
    """Whether ccxt's `client` tells candles of `timeframe` by socket, and on our grid."""
    if client.id in _OTHER_DAYS and timeframe is Timeframe.D1:
        return False
    return timeframe.value in (client.timeframes or {}) and bool(client.has.get("watchOHLCV"))


def longest_round(instruments: int, cost: timedelta) -> timedelta:
    """Wall time until the last of `instruments` has answered, if requests `cost` so much each."""
    return ANSWER + instruments * max(cost, QUICKEST)


def lines(
    exchange_id: str, polled: Sequence[Timeframe], *, instruments: int, cost: timedelta
) -> Iterator[str]:
    """What is said of the candles that are asked for at each close.

    Args:
        exchange_id: Whose.
        polled: Timeframes that it does not stream.
        instruments: That are watched on it.
        cost: Of a request, in time until the next may be sent.
    """
    if not polled:
        return
    minutely = sum(instruments * MINUTE / one.duration for one in polled)
    allowed = MINUTE / cost if cost else float("inf")
    names = ", ".join(polled)
    if minutely <= allowed:
        took = longest_round(instruments, cost).total_seconds()
        yield (
            f"{exchange_id} streams no candles of {names}: each is asked for at its close, "
            f"{instruments} requests a timeframe, which take up to {took:.0f} s"
        )
        return
    yield (
        f"{exchange_id} streams no candles of {names} and allows {allowed:.0f} requests a minute, "
        f"{minutely:.0f} would be needed: each series is asked in turn, with all that closed "
        "meanwhile; predictions come late. Watch fewer symbols or a longer timeframe"
    )
