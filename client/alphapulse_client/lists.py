"""REST's lists: their rows one after another over all pages, or as one frame."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, overload
from urllib.parse import quote

import httpx

from alphapulse_client.frames import ACCEPTED, Library, check, framed, objects
from alphapulse_client.rest import JSON, Rest
from alphapulse_client.rows import CandleRow, FeatureRow, GapRow, PredictionRow, SignalRow, row_of

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

Filter = str | int | float | datetime | Sequence[str] | Sequence[int] | None

PAGE: Final = 5_000  # rows; the server's bound
PAGED: Final = frozenset(
    {"candles", "features", "gaps", "jobs", "measurements", "models", "notifications",
     "predictions", "sentiment", "signals"}
)  # fmt: skip  # and events of streams: of others the server says how long a page is
_KINDS: Final[Mapping[str, type[Any]]] = {
    "candles": CandleRow,
    "features": FeatureRow,
    "gaps": GapRow,
    "predictions": PredictionRow,
    "predictions/latest": PredictionRow,
    "signals": SignalRow,
}


class Lists:
    """What a client reads of `GET /v1/NAME`.

    Args:
        rest: asks for it.
        page: how many rows a page has, 5,000 at most.
    """

    def __init__(self, rest: Rest, page: int = PAGE) -> None:
        self._rest = rest
        self._page = page

    @overload
    def rows(
        self, name: Literal["candles"], *, limit: int | None = None, **filters: Filter
    ) -> AsyncGenerator[CandleRow]: ...

    @overload
    def rows(
        self, name: Literal["features"], *, limit: int | None = None, **filters: Filter
    ) -> AsyncGenerator[FeatureRow]: ...

    @overload
    def rows(
        self, name: Literal["gaps"], *, limit: int | None = None, **filters: Filter
    ) -> AsyncGenerator[GapRow]: ...

    @overload
    def rows(
        self,
        name: Literal["predictions", "predictions/latest"],
        *,
        limit: int | None = None,
        **filters: Filter,
    ) -> AsyncGenerator[PredictionRow]: ...

    @overload
    def rows(
        self, name: Literal["signals"], *, limit: int | None = None, **filters: Filter
    ) -> AsyncGenerator[SignalRow]: ...

    @overload
    def rows(
        self, name: str, *, limit: int | None = None, **filters: Filter
    ) -> AsyncGenerator[Any]: ...

    async def rows(
        self, name: str, *, limit: int | None = None, **filters: Filter
    ) -> AsyncGenerator[Any]:
        """The rows of a list, newest first, or oldest first where `start` is given.

        A page is asked for when its first row is needed. Rows that are added meanwhile move none.

        Args:
            name: `predictions`, `scores/days`: the path behind `/v1/`.
            limit: how many rows at most; None: all.
            **filters: the list's parameters by REST's names: `symbol`, `timeframe`, `start`, `end`,
                `as_of`, …

        Returns:
            Objects of `rows.py`; of other lists mappings, their times as datetimes.

        Raises:
            ProblemError: the server refuses it: an unknown symbol, a parameter that there is not.
            UnreachableError, ProtocolError: it cannot be had.
        """
        left = limit
        async with aclosing(self._pages(name, limit, filters, JSON)) as pages:
            async for answer in pages:
                for row in objects(answer)[:left]:
                    left = None if left is None else left - 1
                    yield _typed(name, row)
                if left == 0:
                    return

    @overload
    async def frame(
        self,
        name: str,
        library: Literal["pandas"] = "pandas",
        *,
        limit: int | None = None,
        **filters: Filter,
    ) -> pd.DataFrame: ...

    @overload
    async def frame(
        self,
        name: str,
        library: Literal["polars"],
        *,
        limit: int | None = None,
        **filters: Filter,
    ) -> pl.DataFrame: ...

    async def frame(
        self,
        name: str,
        library: Library = "pandas",
        *,
        limit: int | None = None,
        **filters: Filter,
    ) -> pd.DataFrame | pl.DataFrame:
        """All rows of a list as a frame of pandas or polars, in the order of `rows`.

        The columns are REST's, read from Arrow where the list has that spelling: times in UTC to
        the millisecond, features as `values.NAME`, words (`degraded`) joined by commas, what else
        is nested (`members`, `votes`) as JSON text, null where nothing is known.

        Raises:
            ImportError: the library is not installed.
            ProblemError, UnreachableError, ProtocolError: as `rows`.
        """
        check(library)
        async with aclosing(self._pages(name, limit, filters, ACCEPTED)) as pages:
            answers = [answer async for answer in pages]
        # In a thread: many rows take longer than a feed beside them should wait.
        return await asyncio.to_thread(framed, library, answers, limit)

    async def _pages(
        self, name: str, limit: int | None, filters: Mapping[str, Filter], accept: str
    ) -> AsyncGenerator[httpx.Response]:
        """As many pages as hold `limit` rows, or all where their length is the server's."""
        if limit is not None and limit < 1:
            raise ValueError("limit must be 1 or more")
        page = self._page if limit is None else min(limit, self._page)
        bounded = name in PAGED or name.endswith("/events")
        asked = {**filters, "limit": page} if bounded else filters
        left = limit if bounded else None
        path = f"/v1/{quote(name, safe='/@')}"
        async with aclosing(self._rest.pages(path, asked, accept)) as pages:
            async for answer in pages:
                yield answer
                left = None if left is None else left - page
                if left is not None and left <= 0:
                    return


def _typed(name: str, row: Mapping[str, Any]) -> Any:  # noqa: ANN401 - by the name
    kind = _KINDS.get(name)
    return row if kind is None else row_of(kind, row)
