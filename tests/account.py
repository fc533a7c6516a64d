"""What a record must account for, whatever happened while it was written."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg

from backend.store import database
from backend.store.chain import verify
from tests.processes import LOOK_EVERY_S, WITHIN_S, Exchange, System

HOLES = "holes that stayed open"
# Each answers with what is wrong; nothing is the right answer. `$1`: the close up to which every
# tick has been worked off.
QUESTIONS = {
    "candles are missing": """
        SELECT symbol, open_time FROM (
            SELECT symbol, open_time,
                   lag(open_time) OVER (PARTITION BY instrument_id ORDER BY open_time) AS before
            FROM candles JOIN instruments USING (instrument_id) WHERE close_time <= $1
        ) AS candle WHERE open_time - before <> interval '1 minute'""",
    "candles were revised, and nothing was to be revised": """
        SELECT symbol, open_time, revision FROM candles JOIN instruments USING (instrument_id)
        WHERE revision > 1 AND close_time <= $1""",
    "closes without the one served row": """
        SELECT candles.instrument_id, close_time, count(served) FROM candles
        JOIN instruments AS watched USING (instrument_id)
        LEFT JOIN ml_predictions AS served ON served.instrument_id = candles.instrument_id
            AND served.as_of = close_time AND served.role = 'champion'
        WHERE close_time <= $1
          AND close_time >= (SELECT min(as_of) FROM ml_predictions
            JOIN instruments USING (instrument_id)
            WHERE role = 'champion' AND exchange = watched.exchange)
        GROUP BY 1, 2 HAVING count(served) <> 1""",
    "closes without a feature row": """
        SELECT candles.instrument_id, close_time, count(made) FROM candles
        JOIN instruments AS watched USING (instrument_id)
        LEFT JOIN ml_features_ohlcv AS made ON made.instrument_id = candles.instrument_id
            AND made.as_of = close_time
        WHERE close_time <= $1
          AND close_time >= (SELECT min(as_of) FROM ml_features_ohlcv
            JOIN instruments USING (instrument_id) WHERE exchange = watched.exchange)
        GROUP BY 1, 2 HAVING count(made) = 0""",
    "origins that the time of making belies": """
        SELECT as_of, made_at, origin FROM ml_predictions WHERE role = 'champion'
          AND origin <> CASE WHEN made_at < as_of - interval '10 seconds' THEN 'impossible'
            WHEN made_at < as_of + interval '1 minute' THEN 'live'
            WHEN made_at < as_of + horizon * interval '1 minute' THEN 'late'
            ELSE 'backtest' END""",
    "live rows without the one signal, or others with one": """
        SELECT as_of, origin, count(made) FROM ml_predictions AS served
        LEFT JOIN trading_signals AS made USING (instrument_id, timeframe, horizon, as_of, revision)
        WHERE role = 'champion' AND as_of <= $1
        GROUP BY instrument_id, as_of, origin
        HAVING count(made) <> CASE origin WHEN 'live' THEN 1 ELSE 0 END""",
    "signals that never ended": """
        SELECT as_of, status, expires_at FROM trading_signals
        WHERE status IN ('pending', 'active')
          AND expires_at < $1::timestamptz - interval '2 minutes'""",
    "labels that are missing or void": """
        SELECT instrument_id, as_of FROM ml_predictions AS served
        WHERE role = 'champion' AND as_of + horizon * interval '1 minute' <= $1 AND NOT EXISTS (
            SELECT FROM ml_labels AS label WHERE NOT void AND log_return IS NOT NULL
              AND (label.instrument_id, label.timeframe, label.horizon, label.as_of)
                = (served.instrument_id, served.timeframe, served.horizon, served.as_of))""",
    "served rows that were not scored once, as what they are": """
        SELECT served.instrument_id, as_of, count(outcome) FROM ml_predictions AS served
        LEFT JOIN ml_prediction_outcomes AS outcome
            USING (instrument_id, timeframe, horizon, as_of, revision, role, model, origin)
        WHERE role = 'champion'
          AND as_of + horizon * interval '1 minute' <= $1
        GROUP BY 1, 2 HAVING count(outcome) <> 1""",
    "served rows that were not told once": """
        SELECT exchange, symbol, served.as_of, count(told) FROM ml_predictions AS served
        JOIN instruments USING (instrument_id)
        LEFT JOIN stream_events AS told ON told.as_of = served.as_of
          AND stream = 'predictions.1m.' || exchange || '.' || symbol
        WHERE role = 'champion' AND served.as_of <= $1
        GROUP BY 1, 2, 3 HAVING count(told) <> 1""",
    HOLES: "SELECT * FROM ingest_gaps WHERE state <> 'filled' AND to_time <= $1",
    "rows set aside": "SELECT * FROM quarantine WHERE received_at <= $1",
}

# The ledger hears of a candle a moment after it is stored; a backlog may be answered meanwhile.
LOOKS = {HOLES: round(WITHIN_S / LOOK_EVERY_S)}


def complaints(system: System, exchange: Exchange) -> list[str]:
    """What the record of a running system does not account for, in the end."""
    return lasting(lambda: unaccounted(system, exchange))


def lasting(ask: Callable[[], list[str]]) -> list[str]:
    """What is still complained of once there was time for repairs; those of a busy machine last."""
    deadline, look = time.monotonic() + WITHIN_S, threading.Event()
    while (found := ask()) and time.monotonic() < deadline:
        look.wait(LOOK_EVERY_S)
    return found


def unaccounted(system: System, exchange: Exchange) -> list[str]:
    """What the record does not account for now, the last two closes aside."""
    until = system.newest() - timedelta(minutes=2)
    return asyncio.run(complaints_of(system.database_url(), exchange, until))


async def complaints_of(
    database_url: str, exchange: Exchange, until: datetime, *, but: str = ""
) -> list[str]:
    """Everything that is missing, doubled, invented or unaccountable up to the close `until`.

    Args:
        database_url: the record's.
        exchange: that was collected.
        until: a close.
        but: a symbol whose candles a test has taken from the record.
    """
    connection = await database.connect(database_url)
    try:
        found = [
            f"{what}: {[tuple(row) for row in rows[:5]]} ({len(rows)})"
            for what, question in QUESTIONS.items()
            if (rows := await _rows(connection, question, until, LOOKS.get(what, 1)))
        ]
        if broken := await verify(connection):
            found.append(str(broken))
        for row in await connection.fetch("SELECT instrument_id, symbol FROM instruments"):
            if row["symbol"] != but:
                found += await _unlike(connection, exchange, row, until)
    finally:
        await connection.close()
    return found


async def _rows(
    connection: asyncpg.Connection, question: str, until: datetime, looks: int
) -> list[asyncpg.Record]:
    """The answer; of several looks the first that finds nothing, or the last."""
    rows: list[asyncpg.Record] = []
    for _ in range(looks):
        rows = await connection.fetch(question, *([until] * ("$1" in question)))
        if not rows:
            break
        await asyncio.sleep(LOOK_EVERY_S)
    return rows


async def _unlike(
    connection: asyncpg.Connection, exchange: Exchange, named: asyncpg.Record, until: datetime
) -> list[str]:
    """Candles that are not what the exchange says they are."""
    instrument_id, symbol = named
    stored = {
        row[0]: row[1:]
        for row in await connection.fetch(
            "SELECT open_time, open, high, low, close, volume FROM candles "
            "WHERE instrument_id = $1 AND close_time <= $2",
            instrument_id,
            until,
        )
    }
    theirs = exchange.candles(symbol, min(stored), until)
    wrong = [
        row
        for row in theirs
        if stored.get(datetime.fromtimestamp(row[0] / 1000, until.tzinfo))
        != tuple(map(float, row[1:6]))
    ]
    if wrong or len(theirs) != len(stored):
        return [f"{symbol}: {len(stored)} candles of {len(theirs)}, unlike: {wrong[:3]}"]
    return []
