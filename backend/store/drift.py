"""What drift is judged by, read from the record; and the events that it leaves there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import asyncpg
import numpy as np
import orjson

from domain.events import Floats, Ints, Target
from domain.market import Horizon

_LOSSES: Final = """
SELECT model, (extract(epoch FROM as_of) * 1000)::bigint AS as_of_ms, count(*) AS rows,
    avg(log_loss ORDER BY instrument_id) AS log_loss,
    avg(pinball ORDER BY instrument_id) AS pinball,
    avg(qlike ORDER BY instrument_id) AS qlike, avg(covered ORDER BY instrument_id) AS covered
FROM ml_prediction_outcomes JOIN instruments USING (instrument_id)
WHERE exchange = $1 AND timeframe = $2 AND horizon = $3 AND as_of > $4 AND as_of <= $5
    AND origin = 'live' AND role = 'member' AND model = ANY($6)
GROUP BY model, as_of ORDER BY as_of
"""
# The index: ml_predictions_pkey, then that of the labels.
_SAID: Final = """
SELECT (extract(epoch FROM said.as_of) * 1000)::bigint AS as_of_ms, p_down, p_flat, p_up, outcome
FROM ml_predictions AS said JOIN instruments USING (instrument_id) LEFT JOIN LATERAL (
    SELECT outcome FROM ml_labels AS label
    WHERE (label.instrument_id, label.timeframe, label.horizon, label.as_of)
        = (said.instrument_id, said.timeframe, said.horizon, said.as_of)
        AND label.known_at <= $5 AND NOT label.void
    ORDER BY label.revision DESC LIMIT 1
) AS came ON true
WHERE exchange = $1 AND said.timeframe = $2 AND said.horizon = $3 AND said.as_of > $4
    AND said.as_of <= $5 AND origin = 'live' AND role = 'member' AND model = $6
    AND p_up IS NOT NULL
ORDER BY said.as_of, instrument_id
"""
# Of every $7-th close; the index: ml_features_ohlcv_pkey.
_ROWS: Final = """
SELECT DISTINCT ON (instrument_id, as_of) "values" AS row
FROM ml_features_ohlcv JOIN instruments USING (instrument_id)
WHERE exchange = $1 AND timeframe = $2 AND feature_set = $3 AND as_of > $4 AND as_of <= $5
    AND known_at <= $6 AND extract(epoch FROM as_of)::bigint / $8::bigint % $7::bigint = 0
ORDER BY instrument_id, as_of, revision DESC
"""
_ENTER: Final = """
INSERT INTO drift_events (
    exchange, timeframe, horizon, target, kind, at, statistic, threshold, window_n, action, evidence
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (exchange, timeframe, horizon, target, kind, at) DO NOTHING
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoolLosses:
    """Of one pool, live: means over the instruments of each close."""

    as_of_ms: Ints  # (m,)
    losses: Mapping[str, Floats]  # log_loss, pinball, qlike, covered → (m,), NaN where none
    counts: Ints  # (m,) instruments


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Said:
    """What the pool of direction said live, with what came."""

    as_of_ms: Ints  # (n,)
    probabilities: Floats  # (n, 3) down, flat, up
    outcome: Floats  # (n,) NaN while it is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftEvent:
    """A trigger that fired, with its numbers and what was done."""

    exchange: str
    horizon: Horizon
    target: str  # empty where it is of none
    kind: str  # schedule, request, feature, prediction, error, calibration, coverage, volume
    at: datetime
    statistic: float
    threshold: float
    window_n: int
    action: str  # retrain, report, cool_down
    evidence: Mapping[str, Any] = field(default_factory=dict)


class DriftRecord:
    """Reads and writes at one database."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def enter(self, events: Sequence[DriftEvent]) -> None:
        """Record what fired; a second time at the same close changes nothing."""
        await self._pool.executemany(
            _ENTER,
            [
                (
                    one.exchange,
                    one.horizon.timeframe.value,
                    one.horizon.steps,
                    one.target,
                    one.kind,
                    one.at,
                    one.statistic,
                    one.threshold,
                    one.window_n,
                    one.action,
                    orjson.dumps(one.evidence, option=orjson.OPT_SERIALIZE_NUMPY).decode(),
                )
                for one in events
            ],
        )

    async def losses(
        self, exchange: str, horizon: Horizon, *, since: datetime, until: datetime
    ) -> dict[Target, PoolLosses]:
        """What the pools lost at the closes in (since, until]."""
        pools = {f"pool.{target}": target for target in Target if target is not Target.SERVED}
        rows = await self._pool.fetch(
            _LOSSES, exchange, horizon.timeframe.value, horizon.steps, since, until, list(pools)
        )
        of: dict[Target, list[asyncpg.Record]] = {target: [] for target in pools.values()}
        for row in rows:
            of[pools[row["model"]]].append(row)
        return {target: _losses(found) for target, found in of.items()}

    async def said(
        self, exchange: str, horizon: Horizon, *, since: datetime, until: datetime
    ) -> Said:
        """The pool of direction at the closes in (since, until], as known at `until`."""
        rows = await self._pool.fetch(
            _SAID,
            exchange,
            horizon.timeframe.value,
            horizon.steps,
            since,
            until,
            f"pool.{Target.DIRECTION}",
        )
        table = np.array([tuple(row) for row in rows], dtype=np.float64).reshape(-1, 5)
        return Said(
            as_of_ms=table[:, 0].astype(np.int64), probabilities=table[:, 1:4], outcome=table[:, 4]
        )

    async def features(  # noqa: PLR0913 - what one query is asked
        self,
        exchange: str,
        horizon: Horizon,
        *,
        feature_set: str,
        since: datetime,
        until: datetime,
        known_by: datetime,
        every: int,
    ) -> Floats:
        """(n, columns) rows of every `every`-th close in (since, until]; NaN = unknown."""
        timeframe = horizon.timeframe
        rows = await self._pool.fetch(
            _ROWS, exchange, timeframe.value, feature_set, since, until, known_by, every,
            timeframe.ms // 1000,
        )  # fmt: skip
        if not rows:
            return np.empty((0, 0))
        return np.array([row["row"] for row in rows], dtype=np.float64)


def _losses(rows: Sequence[asyncpg.Record]) -> PoolLosses:
    names = ("log_loss", "pinball", "qlike", "covered")
    table = np.array([[row[name] for name in names] for row in rows], dtype=np.float64)
    table = table.reshape(-1, len(names))
    return PoolLosses(
        as_of_ms=np.array([row["as_of_ms"] for row in rows], dtype=np.int64),
        losses=dict(zip(names, table.T, strict=True)),
        counts=np.array([row["rows"] for row in rows], dtype=np.int64),
    )
