"""Where the paper accounts stand, as the report, REST and the page say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import numpy as np
import orjson

from backend.store.tables import ledger_marks, named
from domain.market import Timeframe
from services.ledger.risk import BARS, LEVEL, risk_of

POINTS: Final = 200  # of a curve, evenly over the marks
METHOD: Final = "normal distribution, EWMA covariance with correlations shrunk towards 0"

_NEWEST: Final = f"""
SELECT {named(ledger_marks, "m")}, p.first_at FROM (
    SELECT exchange, timeframe, min(at) AS first_at FROM ledger_marks GROUP BY exchange, timeframe
) AS p CROSS JOIN LATERAL (
    SELECT * FROM ledger_marks m
    WHERE (m.exchange, m.timeframe) = (p.exchange, p.timeframe)
      AND ($1::timestamptz IS NULL OR known_at <= $1)
    ORDER BY at DESC LIMIT 1
) AS m
WHERE ($2::text[] IS NULL OR m.exchange = ANY($2))
  AND ($3::text[] IS NULL OR m.timeframe = ANY($3))
ORDER BY m.exchange, m.timeframe
"""  # noqa: S608 - words of ours
_CURVE: Final = f"""
SELECT at, equity, hold_equity FROM (
    SELECT at, equity, hold_equity, row_number() OVER (ORDER BY at DESC) - 1 AS place,
        count(*) OVER () AS whole
    FROM ledger_marks WHERE exchange = $1 AND timeframe = $2 AND at <= $3
) AS marks
WHERE place % greatest(1, ceil(whole / {POINTS}.0)::int) = 0 ORDER BY at
"""  # noqa: S608 - a number of ours
_IDS: Final = """
SELECT instrument_id, symbol FROM instruments WHERE exchange = $1 AND symbol = ANY($2::text[])
"""
_CLOSES: Final = """
SELECT DISTINCT ON (instrument_id, close_time) instrument_id, close_time, close
FROM candle_history
WHERE instrument_id = ANY($1::int[]) AND timeframe = $2 AND open_time >= $3 AND open_time < $4
  AND CASE WHEN source = 'backfill' THEN close_time ELSE known_at END <= $5
ORDER BY instrument_id, close_time, revision DESC
"""


async def read_accounts(
    connection: asyncpg.Connection,
    at: datetime | None = None,
    *,
    exchanges: Sequence[str] = (),
    timeframes: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The newest mark of each account that was known at `at`, with its benchmarks and risk."""
    rows = await connection.fetch(_NEWEST, at, list(exchanges) or None, list(timeframes) or None)
    return [await _account(connection, row) for row in rows]


async def read_curves(
    connection: asyncpg.Connection, accounts: Sequence[Mapping[str, Any]]
) -> list[list[dict[str, Any]]]:
    """For each account its equity and that of the benchmark, up to its mark."""
    return [
        [
            dict(row)
            for row in await connection.fetch(
                _CURVE, one["exchange"], one["timeframe"], one["as_of"]
            )
        ]
        for one in accounts
    ]


async def _account(connection: asyncpg.Connection, mark: asyncpg.Record) -> dict[str, Any]:
    capital, equity = mark["capital"], mark["equity"]
    held: dict[str, float] = orjson.loads(mark["positions"])
    return {
        "exchange": mark["exchange"],
        "timeframe": mark["timeframe"],
        "from": mark["first_at"],
        "as_of": mark["at"],
        "known_at": mark["known_at"],
        "currency": mark["currency"],
        "capital": capital,
        "equity": equity,
        "return": equity / capital - 1,
        "drawdown": mark["drawdown"],
        "max_drawdown": mark["max_drawdown"],
        "turnover": mark["traded"] / capital,
        "exposure": _share(sum(map(abs, held.values())), equity),
        "mean_exposure": mark["mean_exposure"],
        **{name: mark[name] for name in ("realized", "unrealized", "fees", "slippage", "funding")},
        "funding_not_charged": mark["funding_not_charged"],
        "trades": mark["trades"],
        "refused": orjson.loads(mark["refused"]),
        "positions": [
            {"symbol": symbol, "notional": notional, "share": _share(notional, equity)}
            for symbol, notional in held.items()
        ],
        "benchmarks": {
            "buy_and_hold": _benchmark(capital, mark["hold_equity"], mark["hold_max_drawdown"]),
            "flat": _benchmark(capital, capital, 0.0),
        },
        "risk": await _risk(connection, mark, held) if held and equity > 0 else None,
    }


def _share(notional: float, equity: float) -> float | None:
    """None where nothing is left that it were a share of."""
    return notional / equity if equity > 0 else None


def _benchmark(capital: float, equity: float, max_drawdown: float) -> dict[str, float]:
    return {"equity": equity, "return": equity / capital - 1, "max_drawdown": max_drawdown}


async def _risk(
    connection: asyncpg.Connection, mark: asyncpg.Record, held: Mapping[str, float]
) -> dict[str, Any] | None:
    """What the open positions may lose within a candle; None where too little is known."""
    bar = Timeframe(mark["timeframe"]).duration
    numbers = await connection.fetch(_IDS, mark["exchange"], list(held))
    symbol_of = {row["instrument_id"]: row["symbol"] for row in numbers}
    begin = mark["at"] - (BARS + 1) * bar
    rows = await connection.fetch(
        _CLOSES, list(symbol_of), mark["timeframe"], begin, mark["at"], mark["known_at"]
    )
    column = {symbol: place for place, symbol in enumerate(held)}
    closes = np.full((BARS + 1, len(held)), np.nan)
    for row in rows:
        place = (row["close_time"] - begin) // bar - 1
        closes[place, column[symbol_of[row["instrument_id"]]]] = row["close"]
    shares = np.array(list(held.values())) / mark["equity"]
    risk = risk_of(shares, np.diff(np.log(closes), axis=0))
    if risk is None:
        return None
    return {
        "level": LEVEL,
        "candles": 1,
        "method": METHOD,
        "value_at_risk": risk.value_at_risk,
        "expected_shortfall": risk.expected_shortfall,
        "shrinkage": risk.shrinkage,
        "symbols": list(held),
        "correlation": risk.correlation.tolist(),
    }
