"""Two forecasters on the rows that both were scored on: by block, instrument, volatility, hour."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import numpy as np
import orjson

from domain.events import Floats, Ints, Target
from domain.losses import LOSS_OF
from domain.market import Horizon, Timeframe, from_ms
from services.scores.blocks import block_ms, block_test

_NAMED: Final = re.compile(r"(?P<model>[^@]*)(@(?P<version>[1-9][0-9]{0,8}))?")
DECISIONS: Final = 50  # the newest
BOUND: Final = 0.975  # one-sided, so that both bounds together are a 95 % interval
TERCILES: Final = {1: "low", 2: "middle", 3: "high"}
# Whether a time was volatile is told by the forecast that was served then: what came true was not
# known. Rows of one version have one role, `served` alone is the champion's.
_PAIRS: Final = """
WITH pairs AS (
    SELECT symbol, one.as_of, one.{loss} AS a, other.{loss} AS b, said.volatility
    FROM ml_prediction_outcomes AS one
    JOIN ml_prediction_outcomes AS other
        USING (instrument_id, timeframe, horizon, as_of, revision, origin)
    JOIN instruments ON instruments.instrument_id = one.instrument_id
    LEFT JOIN ml_predictions AS said
        ON (said.instrument_id, said.timeframe, said.horizon, said.as_of, said.revision, said.role)
         = (one.instrument_id, one.timeframe, one.horizon, one.as_of, one.revision, 'champion')
    WHERE exchange = $1 AND one.timeframe = $2 AND one.horizon = $3 AND one.origin = 'live'
      AND one.model = $4 AND ($5::text IS NULL OR one.version = $5)
      AND other.model = $6 AND ($7::text IS NULL OR other.version = $7)
      AND (one.role = 'champion') = (one.model = 'served')
      AND (other.role = 'champion') = (other.model = 'served')
      AND one.{loss} IS NOT NULL AND other.{loss} IS NOT NULL
      AND ($8::timestamptz IS NULL OR one.as_of >= $8)
      AND ($9::timestamptz IS NULL OR one.as_of < $9)
), placed AS (
    SELECT *, CASE WHEN volatility IS NOT NULL THEN
        ntile(3) OVER (PARTITION BY volatility IS NULL ORDER BY volatility, as_of, symbol)
    END AS tercile FROM pairs
)
"""
_BY_CLOSE: Final = """
SELECT (extract(epoch FROM as_of) * 1000)::bigint AS at, coalesce(tercile, 0) AS part,
       sum(a) AS a, sum(b) AS b, count(*) AS count
FROM placed GROUP BY as_of, tercile ORDER BY as_of, tercile
"""
_BY_INSTRUMENT: Final = """
SELECT (extract(epoch FROM as_of) * 1000)::bigint / $10 * $10 AS at, symbol AS part,
       sum(a) AS a, sum(b) AS b, count(*) AS count
FROM placed GROUP BY 1, symbol ORDER BY symbol, 1
"""
_DECISIONS: Final = """
SELECT decided_at, name, champion_version, challenger_version, verdict, trigger, evidence
FROM promotion_decisions
WHERE (exchange, timeframe, horizon, target) = ($1, $2, $3, $4) AND (
    (name = $5 AND ($6::int IS NULL OR $6 IN (champion_version, challenger_version)))
    OR (name = $7 AND ($8::int IS NULL OR $8 IN (champion_version, challenger_version)))
) ORDER BY id DESC LIMIT $9
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecaster:
    """Who is compared; without a version all of its versions, one after the other."""

    model: str
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> Forecaster:
        """From `NAME` or `NAME@VERSION`.

        Raises:
            ValueError: the version is none.

        >>> Forecaster.parse("lightgbm.direction@3").version
        3
        """
        found = _NAMED.fullmatch(text)
        if found is None:
            raise ValueError(text)
        version = found["version"]
        return cls(model=found["model"], version=None if version is None else int(version))

    def __str__(self) -> str:
        return self.model if self.version is None else f"{self.model}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What is compared, where and when."""

    one: Forecaster
    other: Forecaster
    target: Target
    exchange: str
    horizon: Horizon
    start: datetime | None
    end: datetime | None

    async def read(self, connection: asyncpg.Connection) -> dict[str, Any]:
        """Losses of both beside each other, and the decisions that name either, newest first."""
        pairs = _PAIRS.format(loss=LOSS_OF[self.target])
        key = (self.exchange, self.horizon.timeframe.value, self.horizon.steps)
        asked = (
            *key, self.one.model, _word(self.one.version), self.other.model,
            _word(self.other.version), self.start, self.end,
        )  # fmt: skip
        by_close = Sums.of(await connection.fetch(pairs + _BY_CLOSE, *asked))
        step = block_ms(self.horizon)
        by_instrument = Sums.of(await connection.fetch(pairs + _BY_INSTRUMENT, *asked, step))
        decided = await connection.fetch(
            _DECISIONS, *key, self.target.value, self.one.model, self.one.version,
            self.other.model, self.other.version, DECISIONS,
        )  # fmt: skip
        found = await asyncio.to_thread(self._beside, by_close, by_instrument)
        return {**found, "decisions": [_decision(row) for row in decided]}

    def _beside(self, by_close: Sums, by_instrument: Sums) -> dict[str, Any]:
        step, hours = block_ms(self.horizon), by_close.at // Timeframe.H1.ms % 24
        return {
            "a": str(self.one),
            "b": str(self.other),
            "target": self.target.value,
            "loss_name": LOSS_OF[self.target],
            "losses": by_close.beside(step),
            "blocks": by_close.blocks(step),
            "slices": {
                "instrument": by_instrument.slices(by_instrument.part, step),
                "volatility": [
                    {**one, "name": TERCILES[one["name"]]}
                    for one in by_close.slices(by_close.part, step)
                    if one["name"] in TERCILES
                ],
                "hour": by_close.slices(hours, step),
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums:
    """Sums of the losses of two over groups of rows; arrays of shape (n,)."""

    at: Ints  # ms
    part: Any  # which slice of some kind
    a: Floats
    b: Floats
    count: Ints

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Sums:
        columns = {name: np.array([row[name] for row in rows]) for name in cls.__slots__}
        return cls(**columns)

    def where(self, rows: Any) -> Sums:  # noqa: ANN401 - whatever an array can be indexed by
        return Sums(**{name: getattr(self, name)[rows] for name in self.__slots__})

    def beside(self, step: int) -> dict[str, Any]:
        """Means of both, and of their difference with its interval, by blocks of `step` ms."""
        total = int(self.count.sum())
        if not total:
            empty = {"count": 0, "n_blocks": 0, "a": None, "b": None}
            return {**empty, "difference": None, "interval95": None}
        means = self._means(step)
        test = block_test(means[:, 0] - means[:, 1])
        bounds = test.bounds(BOUND)
        return {
            "count": total,
            "n_blocks": len(means),
            "a": float(self.a.sum() / total),
            "b": float(self.b.sum() / total),
            "difference": test.mean,
            "interval95": list(bounds) if math.isfinite(bounds[0]) else None,
        }

    def blocks(self, step: int) -> list[dict[str, Any]]:
        """Means of both in each block."""
        return [
            {"from": from_ms(number * step), "to": from_ms((number + 1) * step), "a": a, "b": b}
            for number, (a, b) in zip(
                np.unique(self.at // step).tolist(), self._means(step).tolist(), strict=True
            )
        ]

    def slices(self, by: Any, step: int) -> list[dict[str, Any]]:  # noqa: ANN401 - words or numbers
        """The same for the rows of each value of `by`."""
        return [
            {"name": name, **self.where(by == name).beside(step)} for name in np.unique(by).tolist()
        ]

    def _means(self, step: int) -> Floats:
        numbers, which = np.unique(self.at // step, return_inverse=True)
        n = len(numbers)
        counts = np.bincount(which, weights=self.count, minlength=n)
        sums = [np.bincount(which, weights=each, minlength=n) for each in (self.a, self.b)]
        means: Floats = np.stack(sums, axis=1) / counts[:, None]
        return means


def _decision(row: Mapping[str, Any]) -> dict[str, Any]:
    evidence = orjson.loads(row["evidence"])
    return {**row, "words": evidence.pop("words", None), "evidence": evidence}


def _word(version: int | None) -> str | None:
    return None if version is None else str(version)
