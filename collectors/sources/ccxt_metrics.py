"""Funding rate, open interest and long/short ratio of any exchange that ccxt has them for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Final, NamedTuple

import aiohttp
from pydantic import BaseModel, Field

from collectors.budget import Budget, Urgency, drawing
from collectors.ccxt_frames import draw_on
from collectors.ccxt_import import ccxt_module, exchange_class, moved
from collectors.pacing import retry_after
from collectors.sources.payloads import (
    EARLIEST_MS,
    Milliseconds,
    Number,
    fault,
    refusal,
    rows,
    spelled,
)
from collectors.sources.session import OversizedError
from domain.errors import SourceUnavailableError
from domain.market import Instrument, from_ms, to_ms
from domain.ports import Clock
from domain.sources import Answer, Measurement, Metric, Refused

EVERY: Final = timedelta(minutes=5)
STALE_AFTER: Final = timedelta(hours=3)  # the long/short ratio is told by the hour
PERIOD: Final = "1h"  # of the long/short ratio
TIMEOUT: Final = timedelta(seconds=10)  # of a request
REST: Final = timedelta(seconds=30)  # of all requests, where an exchange says «too many», no more
ELSEWHERE: Final = {"binance": "binanceusdm"}  # ccxt's name of an exchange's perpetuals


class _Funding(BaseModel):
    value: Number = Field(alias="fundingRate")
    timestamp: Milliseconds | None = None


class _OpenInterest(BaseModel):
    value: Annotated[Number, Field(ge=0)] = Field(alias="openInterestAmount")
    timestamp: Milliseconds | None = None


class _LongShort(BaseModel):
    value: Annotated[Number, Field(ge=0)] = Field(alias="longShortRatio")
    timestamp: Milliseconds | None = None


# For each metric its schema, and ccxt's calls: for all symbols at once, and for one.
_SCHEMAS: Final[Mapping[Metric, type[_Funding | _OpenInterest | _LongShort]]] = {
    Metric.FUNDING_RATE: _Funding,
    Metric.OPEN_INTEREST: _OpenInterest,
    Metric.LONG_SHORT_RATIO: _LongShort,
}
_CALLS: Final[Mapping[Metric, tuple[tuple[str, str], tuple[str, str]]]] = {
    Metric.FUNDING_RATE: (
        ("fetchFundingRates", "fetch_funding_rates"),
        ("fetchFundingRate", "fetch_funding_rate"),
    ),
    Metric.OPEN_INTEREST: (
        ("fetchOpenInterests", "fetch_open_interests"),
        ("fetchOpenInterest", "fetch_open_interest"),
    ),
    Metric.LONG_SHORT_RATIO: (
        ("", ""),
        ("fetchLongShortRatioHistory", "fetch_long_short_ratio_history"),
    ),
}


class Row(NamedTuple):
    """What ccxt made of an answer, and the bytes that it made it of."""

    value: Any
    raw: bytes


class CcxtDerivatives:
    """What an exchange tells in public of its perpetuals; its sources share one connection.

    Args:
        exchange_id: ccxt's.
        session: stays open.
        name: on every row and of the sources; `exchange_id` where not given.
        rest_url: takes the place of scheme and host in the exchange's addresses.
        rate_limited: whether requests keep the exchange's pace by themselves.
        budget: that they draw on instead, when nobody else waits.

    Raises:
        UnknownExchangeError: ccxt does not have `exchange_id`.
    """

    def __init__(
        self,
        exchange_id: str,
        *,
        session: aiohttp.ClientSession,
        name: str | None = None,
        rest_url: str | None = None,
        rate_limited: bool = True,
        budget: Budget | None = None,
    ) -> None:
        self.id = name or exchange_id
        self._turn = asyncio.Lock()  # `last_http_response` is of one request
        self._budget = budget
        self._client: Any = exchange_class(ELSEWHERE.get(exchange_id, exchange_id))(
            {
                "session": session,
                "enableRateLimit": rate_limited,
                "timeout": round(TIMEOUT.total_seconds() * 1000),
                "options": {"fetchCurrencies": False},
            }
        )
        if rest_url:
            self._client.urls["api"] = moved(self._client.urls["api"], rest_url)
        if budget is not None:
            draw_on(budget, self._client)

    def metrics(self) -> tuple[Metric, ...]:
        """What it serves."""
        return tuple(metric for metric in _CALLS if any(map(self._has, _CALLS[metric])))

    def source(
        self, metric: Metric, instruments: Callable[[], Iterable[Instrument]], clock: Clock
    ) -> CcxtMetricSource:
        """One metric of the `instruments` at each poll, named as ccxt names their markets."""
        return CcxtMetricSource(self, metric, instruments, clock)

    async def fetch(
        self, metric: Metric, symbols: Sequence[str]
    ) -> tuple[dict[str, Any], list[Refused]]:
        """Ccxt's row of each symbol that has one, and what cannot be read.

        Raises:
            SourceUnavailableError: no answer.
        """
        async with self._turn:
            with drawing(Urgency.BACKFILL):
                return await self._fetch(metric, symbols)

    async def _fetch(
        self, metric: Metric, symbols: Sequence[str]
    ) -> tuple[dict[str, Any], list[Refused]]:
        _, refused = await self._ask("load_markets")
        listed = [symbol for symbol in symbols if symbol in (self._client.markets or {})]
        found: dict[str, Row] = {}
        for call, *arguments in self._calls(metric, listed):
            told, unread = await self._ask(call, *arguments)
            refused += unread
            if isinstance(told, dict) and isinstance(arguments[0], list):
                found |= {one: Row(told[one], spelled(told[one])) for one in listed if one in told}
            elif told:  # the newest of a history
                row = told[-1] if isinstance(told, list) else told
                found[arguments[0]] = Row(row, self._raw())
        missing = [symbol for symbol in symbols if symbol not in found]
        if missing and not refused:
            refused = [self._refused(f"nothing of {', '.join(missing[:3])}")]
        return found, refused

    def _calls(self, metric: Metric, symbols: list[str]) -> list[tuple[Any, ...]]:
        """The calls to make, each with its arguments."""
        several, one = _CALLS[metric]
        if not symbols:
            return []
        if self._has(several):
            return [(several[1], symbols)]
        more = (PERIOD, None, 1) if metric is Metric.LONG_SHORT_RATIO else ()
        return [(one[1], symbol, *more) for symbol in symbols]

    async def close(self) -> None:
        await self._client.close()

    def _has(self, call: tuple[str, str]) -> bool:
        return self._client.has.get(call[0]) is True

    async def _ask(self, call: str, *arguments: object) -> tuple[Any, list[Refused]]:
        """What a call of ccxt brings; what it cannot read, or an exchange's «no», is refused."""
        self._client.last_http_response = self._client.last_response_headers = None  # of before
        errors = ccxt_module("base.errors")
        try:
            return await getattr(self._client, call)(*arguments), []
        except errors.NetworkError as error:
            line, wait = f"{self.id}: {fault(error)}", self._retry_after()
            too_many = isinstance(error, errors.DDoSProtection | errors.RateLimitExceeded)
            if too_many and self._budget is not None:
                self._budget.pause(wait or REST)
            raise SourceUnavailableError(line, wait) from error
        except Exception as error:  # ccxt stumbles over answers in many ways
            cause = error.__cause__
            if isinstance(cause, aiohttp.ClientError) and not isinstance(cause, OversizedError):
                line = f"{self.id}: no answer ({type(cause).__name__})"
                raise SourceUnavailableError(line) from error
            error = cause if isinstance(cause, OversizedError) else error
            return None, [self._refused(fault(error))]

    def _refused(self, reason: str) -> Refused:
        return refusal(self.id, reason, self._raw())

    def _raw(self) -> bytes:
        return (self._client.last_http_response or "").encode("utf-8", "surrogatepass")

    def _retry_after(self) -> timedelta | None:
        headers = self._client.last_response_headers or {}
        told = {name.lower(): value for name, value in headers.items()}.get("retry-after", "")
        return retry_after(told, from_ms(self._client.milliseconds()))


class CcxtMetricSource:
    """A `Source` of one metric of one exchange."""

    every = EVERY
    stale_after = STALE_AFTER

    def __init__(
        self,
        exchange: CcxtDerivatives,
        metric: Metric,
        instruments: Callable[[], Iterable[Instrument]],
        clock: Clock,
    ) -> None:
        self._exchange = exchange
        self._metric = metric
        self._instruments = instruments
        self._clock = clock

    @property
    def name(self) -> str:
        return f"{self._exchange.id}.{self._metric}"

    async def poll(self) -> Answer:
        instruments = {one.symbol: one for one in self._instruments()}
        found, refused = await self._exchange.fetch(self._metric, list(instruments))
        known_ms = to_ms(self._clock.now())
        measured: list[Measurement] = []
        for symbol, (row, raw) in found.items():
            read, unread = rows(_SCHEMAS[self._metric], [row], self.name)
            refused += [refusal(self.name, one.reason, raw) for one in unread]
            measured += [
                Measurement(
                    instrument=instruments[symbol],
                    metric=self._metric,
                    event_ms=_event_ms(one.timestamp, known_ms),
                    known_ms=known_ms,
                    value=one.value,
                )
                for one in read
            ]
        named = tuple(replace(one, source=self.name) for one in refused)
        return Answer(measurements=tuple(measured), refused=named)

    async def close(self) -> None:
        """The exchange is closed by whoever opened it."""


def _event_ms(told_ms: int | None, known_ms: int) -> int:
    if told_ms is None or told_ms < EARLIEST_MS:
        return known_ms
    return min(told_ms, known_ms)
