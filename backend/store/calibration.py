"""Whether what was said of direction came as often as it was said."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from backend.store.score_days import Scope, prepare
from backend.store.tables import LABEL_SET
from domain.events import Role, Target

BINS: Final = 10  # of equal width, from 0 to 1
SERVED: Final = "served"
POOL: Final = f"pool.{Target.DIRECTION}"


async def read_calibration(connection: asyncpg.Connection, scope: Scope) -> list[dict[str, Any]]:
    """A row for each (exchange, timeframe, horizon, model, class, bin) that something was said in.

    Of the live rows that were scored: those served, and the pool's, whether it was served or not.
    `said` is the mean chance of the bin, `happened` how often the class came.
    """
    async with connection.transaction():
        await prepare(connection)
        found = await connection.fetch(
            _BINS,
            [SERVED, POOL], [Role.CHAMPION.value, Role.MEMBER.value],
            list(scope.exchanges) or None, list(scope.timeframes) or None,
            list(scope.horizons) or None, scope.instruments, scope.start, scope.end,
            scope.scored_by,
        )  # fmt: skip
    return [dict(row) for row in found]


# The label that scored a row is the first that was complete.
_BINS: Final = f"""
SELECT i.exchange, o.timeframe, o.horizon, o.model, c.class,
       least(floor(c.p * {BINS})::int, {BINS - 1}) AS bin, count(*)::int AS count,
       avg(c.p) AS said, avg(c.came::int)::float8 AS happened
FROM ml_prediction_outcomes o
JOIN instruments i USING (instrument_id)
JOIN ml_predictions p USING (instrument_id, timeframe, horizon, as_of, revision, role, model)
JOIN LATERAL (
    SELECT outcome FROM ml_labels l
    WHERE (l.instrument_id, l.timeframe, l.label_set, l.horizon, l.as_of)
        = (o.instrument_id, o.timeframe, '{LABEL_SET}', o.horizon, o.as_of)
      AND l.log_return IS NOT NULL
    ORDER BY l.revision LIMIT 1
) l ON l.outcome IS NOT NULL
CROSS JOIN LATERAL (VALUES
    ('down', p.p_down, l.outcome = -1), ('flat', p.p_flat, l.outcome = 0),
    ('up', p.p_up, l.outcome = 1)
) AS c (class, p, came)
WHERE o.origin = 'live' AND o.log_loss IS NOT NULL AND c.p IS NOT NULL
  AND o.model = ANY($1) AND o.role = ANY($2)
  AND ($3::text[] IS NULL OR i.exchange = ANY($3))
  AND ($4::text[] IS NULL OR o.timeframe = ANY($4))
  AND ($5::int[] IS NULL OR o.horizon = ANY($5))
  AND ($6::int[] IS NULL OR o.instrument_id = ANY($6))
  AND ($7::timestamptz IS NULL OR o.as_of >= $7) AND ($8::timestamptz IS NULL OR o.as_of < $8)
  AND ($9::timestamptz IS NULL OR o.scored_at <= $9)
GROUP BY i.exchange, o.timeframe, o.horizon, o.model, c.class, bin
ORDER BY i.exchange, o.timeframe, o.horizon, o.model, c.class, bin
"""  # noqa: S608 - names are ours
