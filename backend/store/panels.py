"""The dashboard's panels: each a function of the base tables and a point in time.

`dashboard_data` only caches what these functions say; rebuilding it gives the same rows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import orjson

from backend.store.accounts import read_accounts, read_curves
from backend.store.score_days import Scope
from backend.store.sources import STATES
from backend.store.track_record import read_record
from domain.market import Timeframe, rfc3339

Panel = Callable[[asyncpg.Connection, datetime], Awaitable[Any]]

SCOPE: Final = "all"
SCORES: Final = "model_scores"  # the panel that is slow to read while days wait to be folded
RECORD_DAYS: Final = 60  # of candle time in the scores panel
STRIP_BARS: Final = 96  # candles that the strip of a series shows
LATENCY_TICKS: Final = 500  # of each timeframe in the latency panel
NEWEST_TEXTS: Final = 12  # in the sentiment panel


async def latest_predictions(connection: asyncpg.Connection, at: datetime) -> Any:  # noqa: ANN401
    """The newest served row of each series, its close, and what became of its signal."""
    return [
        {**row, "degraded": row["degraded"].split(",") if row["degraded"] else []}
        for row in await connection.fetch(_LATEST, at)
    ]


async def active_signals(connection: asyncpg.Connection, at: datetime) -> Any:  # noqa: ANN401
    """Signals with a side whose end had not come at `at`, as they were known then."""
    found = []
    for row in await connection.fetch(_ACTIVE, at):
        filled_at = row["as_of"] + Timeframe(row["timeframe"]).duration
        open_yet = {"status": "pending", "entry_price": None, "stop": None, "take": None}
        found.append({**row, **(open_yet if at < filled_at else {"status": "active"})})
    return found


async def model_scores(connection: asyncpg.Connection, at: datetime) -> Any:  # noqa: ANN401
    """The track record of the last days before `at`."""
    start = at - timedelta(days=RECORD_DAYS)
    return await read_record(connection, Scope(start=start, end=at, scored_by=at))


async def coverage(connection: asyncpg.Connection, at: datetime) -> Any:  # noqa: ANN401
    """Candles expected since the first of each series, those present, and open gaps.

    `newest` tells the same of the last STRIP_BARS candles of the grid, and where its holes are.
    """
    found = await connection.fetch(_COVERAGE, at)
    steps = [Timeframe(row["timeframe"]).duration for row in found]
    begins = [
        max(row["first_close"], row["last_close"] - (STRIP_BARS - 1) * step) - step
        for row, step in zip(found, steps, strict=True)
    ]
    series = [row["instrument_id"] for row in found], [row["timeframe"] for row in found]
    ends = [row["last_close"] for row in found]
    holes: dict[int, list[dict[str, Any]]] = {}
    for row in await connection.fetch(_HOLES, *series, begins, ends, at):
        span = {name: row[name] for name in ("from", "to", "state")}
        holes.setdefault(row["number"] - 1, []).append(span)
    counted = await connection.fetch(_NEWEST_PRESENT, *series, begins, ends, at)
    return [
        {
            **{name: value for name, value in row.items() if name != "instrument_id"},
            "expected": (row["last_close"] - row["first_close"]) // step + 1,
            "newest": {
                "from": begin,
                "to": row["last_close"],
                "expected": (row["last_close"] - begin) // step,
                "present": counted[number]["present"],
                "holes": holes.get(number, []),
            },
        }
        for number, (row, step, begin) in enumerate(zip(found, steps, begins, strict=True))
    ]


async def freshness(connection: asyncpg.Connection, at: datetime) -> Any:  # noqa: ANN401
    """The newest candle and the newest served prediction of each series."""
    return [dict(row) for row in await connection.fetch(_FRESHNESS, at)]


async def latency(connection: asyncpg.Connection, at: datetime) -> Any:  # noqa: ANN401
    """Microseconds of each stage over the last ticks: median, 99th percentile, count."""
    return [dict(row) for row in await connection.fetch(_LATENCY, at, LATENCY_TICKS)]


async def sentiment(connection: asyncpg.Connection, at: datetime) -> Any:  # noqa: ANN401
    """The states of the sources, the newest fear & greed index, and the newest texts."""
    index = await connection.fetchrow(_FEAR_GREED, at)
    return {
        "sources": [dict(row) for row in await connection.fetch(STATES, at)],
        "fear_greed": None if index is None else dict(index),
        "texts": [dict(row) for row in await connection.fetch(_TEXTS, at, NEWEST_TEXTS)],
    }


async def ledger(connection: asyncpg.Connection, at: datetime) -> Any:  # noqa: ANN401
    """The paper accounts, each with its curve."""
    accounts = await read_accounts(connection, at)
    curves = await read_curves(connection, accounts)
    return [{**one, "curve": curve} for one, curve in zip(accounts, curves, strict=True)]


PANELS: Final[Mapping[str, Panel]] = {
    "latest_predictions": latest_predictions,
    "active_signals": active_signals,
    SCORES: model_scores,
    "coverage": coverage,
    "freshness": freshness,
    "latency": latency,
    "sentiment": sentiment,
    "ledger": ledger,
}


async def refresh(connection: asyncpg.Connection, name: str, at: datetime) -> bool:
    """Write one panel as of `at`; whether its payload changed.

    An unchanged panel keeps its version and its time.
    """
    payload = await PANELS[name](connection, at)
    text = orjson.dumps(payload, default=_spell, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()
    return bool(await connection.fetchval(_WRITE, name, SCOPE, at, text))


async def rebuild(connection: asyncpg.Connection, at: datetime | None = None) -> list[str]:
    """Write every panel from the base tables; the names of those that changed.

    Args:
        connection: any; everything happens in one transaction.
        at: the point in time; None for each panel's own, which must change nothing.
    """
    async with connection.transaction():
        times = dict(await connection.fetch("SELECT panel, as_of FROM dashboard_data"))
        return [
            name
            for name in PANELS
            if (moment := at or times.get(name)) and await refresh(connection, name, moment)
        ]


def _spell(value: object) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    raise TypeError(f"{type(value).__name__} has no JSON spelling")


_WRITE: Final = """
    INSERT INTO dashboard_data AS d (panel, scope, as_of, version, payload)
    VALUES ($1, $2, $3, 1, $4::jsonb)
    ON CONFLICT (panel, scope) DO UPDATE
        SET as_of = excluded.as_of, version = d.version + 1, payload = excluded.payload
        WHERE d.payload IS DISTINCT FROM excluded.payload
    RETURNING true
    """

_LATEST: Final = """
    SELECT i.exchange, i.symbol, p.timeframe, p.horizon, p.as_of, p.revision, p.origin,
           p.p_down, p.p_flat, p.p_up, p.q10, p.q50, p.q90, p.volatility, p.degraded,
           c.close, g.side, g.gate, g.strength
    FROM ml_predictions_series s
    JOIN instruments i USING (instrument_id)
    CROSS JOIN LATERAL (
        SELECT * FROM ml_predictions t
        WHERE t.instrument_id = s.instrument_id AND t.timeframe = s.timeframe
          AND t.horizon = s.horizon AND t.role = 'champion' AND t.made_at <= $1
        ORDER BY t.as_of DESC, t.revision DESC LIMIT 1
    ) p
    LEFT JOIN LATERAL (
        SELECT t.close FROM candles t
        WHERE t.instrument_id = s.instrument_id AND t.timeframe = s.timeframe
          AND t.open_time < p.as_of ORDER BY t.open_time DESC LIMIT 1
    ) c ON true
    LEFT JOIN trading_signals g
      ON g.instrument_id = s.instrument_id AND g.timeframe = s.timeframe
     AND g.horizon = s.horizon AND g.as_of = p.as_of AND g.revision = p.revision
     AND g.made_at <= $1
    ORDER BY i.exchange, i.symbol, p.timeframe, p.horizon
    """

_ACTIVE: Final = """
    SELECT i.exchange, i.symbol, t.timeframe, t.horizon, t.as_of, t.revision, t.side,
           t.strength, t.size_fraction, t.entry_price, t.stop, t.take, t.expires_at,
           t.model, t.version
    FROM trading_signals t JOIN instruments i USING (instrument_id)
    WHERE t.side <> 'flat' AND t.made_at <= $1 AND (t.closed_at IS NULL OR t.closed_at > $1)
    ORDER BY t.as_of DESC, i.exchange, i.symbol, t.timeframe, t.horizon, t.revision
    """

_COVERAGE: Final = """
    SELECT i.exchange, i.symbol, c.instrument_id, c.timeframe, min(c.close_time) AS first_close,
           max(c.close_time) AS last_close, count(*)::int AS present,
           (SELECT count(*)::int FROM ingest_gaps g
            WHERE g.instrument_id = c.instrument_id AND g.timeframe = c.timeframe
              AND g.detected_at <= $1 AND (g.filled_at IS NULL OR g.filled_at > $1)) AS gaps
    FROM candles c JOIN instruments i USING (instrument_id)
    WHERE c.close_time <= $1
      AND CASE WHEN c.source = 'backfill' THEN c.close_time ELSE c.known_at END <= $1
    GROUP BY i.exchange, i.symbol, c.instrument_id, c.timeframe
    ORDER BY i.exchange, i.symbol, c.timeframe
    """

_HOLES: Final = """
    SELECT s.number, greatest(g.from_time, s.begins) AS "from", least(g.to_time, s.ends) AS "to",
           CASE WHEN g.filled_at > $5 THEN 'open' ELSE g.state END AS state
    FROM unnest($1::int[], $2::text[], $3::timestamptz[], $4::timestamptz[])
        WITH ORDINALITY AS s (instrument_id, timeframe, begins, ends, number)
    JOIN ingest_gaps g USING (instrument_id, timeframe)
    WHERE g.from_time < s.ends AND g.to_time > s.begins AND g.detected_at <= $5
      AND (g.filled_at IS NULL OR g.filled_at > $5)
    ORDER BY s.number, g.from_time
    """

_NEWEST_PRESENT: Final = """
    SELECT (
        SELECT count(*)::int FROM candles c
        WHERE c.instrument_id = s.instrument_id AND c.timeframe = s.timeframe
          AND c.open_time >= s.begins AND c.close_time <= s.ends
          AND CASE WHEN c.source = 'backfill' THEN c.close_time ELSE c.known_at END <= $5
    ) AS present
    FROM unnest($1::int[], $2::text[], $3::timestamptz[], $4::timestamptz[])
        WITH ORDINALITY AS s (instrument_id, timeframe, begins, ends, number)
    ORDER BY s.number
    """

_FRESHNESS: Final = """
    SELECT i.exchange, i.symbol, s.timeframe, s.horizon, p.as_of AS prediction_as_of, p.origin,
           c.close_time AS candle_close
    FROM ml_predictions_series s
    JOIN instruments i USING (instrument_id)
    LEFT JOIN LATERAL (
        SELECT t.as_of, t.origin FROM ml_predictions t
        WHERE t.instrument_id = s.instrument_id AND t.timeframe = s.timeframe
          AND t.horizon = s.horizon AND t.role = 'champion' AND t.made_at <= $1
        ORDER BY t.as_of DESC, t.revision DESC LIMIT 1
    ) p ON true
    LEFT JOIN LATERAL (
        SELECT t.close_time FROM candles t
        WHERE t.instrument_id = s.instrument_id AND t.timeframe = s.timeframe
          AND t.open_time < $1 AND t.close_time <= $1
        ORDER BY t.open_time DESC LIMIT 1
    ) c ON true
    ORDER BY i.exchange, i.symbol, s.timeframe, s.horizon
    """

_LATENCY: Final = """
    SELECT x.exchange, x.timeframe, stage.key AS stage, count(*)::int AS ticks,
           percentile_disc(0.5) WITHIN GROUP (ORDER BY stage.value::float8) AS p50_us,
           percentile_disc(0.99) WITHIN GROUP (ORDER BY stage.value::float8) AS p99_us
    FROM (
        SELECT exchange, timeframe, stage_us,
               row_number() OVER (PARTITION BY exchange, timeframe ORDER BY as_of DESC) AS n
        FROM cross_sections WHERE arrived_at <= $1
    ) x, jsonb_each_text(x.stage_us) AS stage
    WHERE x.n <= $2
    GROUP BY x.exchange, x.timeframe, stage.key
    ORDER BY x.exchange, x.timeframe, stage.key
    """

_FEAR_GREED: Final = """
    SELECT m.value, m.event_time, m.known_at
    FROM market_metrics m JOIN instruments i USING (instrument_id)
    WHERE i.exchange = 'market' AND m.metric = 'fear_greed' AND m.known_at <= $1
    ORDER BY m.event_time DESC, m.known_at DESC LIMIT 1
    """

# The index: sentiment_items_known_at_idx.
_TEXTS: Final = """
    SELECT t.source, t.item_id, t.known_at, t.published_at, t.title, t.url,
           s.scorer, s.polarity, s.confidence, s.assets
    FROM (
        SELECT * FROM sentiment_items WHERE known_at <= $1
        ORDER BY known_at DESC, source, item_id LIMIT $2
    ) t
    LEFT JOIN LATERAL (
        SELECT scorer, polarity, confidence,
               array_agg(asset ORDER BY relevance DESC, asset) FILTER (WHERE asset <> '') AS assets
        FROM sentiment_scores s
        WHERE (s.source, s.item_id, s.known_at) = (t.source, t.item_id, t.known_at)
        GROUP BY scorer, polarity, confidence ORDER BY scorer LIMIT 1
    ) s ON true
    ORDER BY t.known_at DESC, t.published_at DESC, t.source, t.item_id
    """
