"""Database rows as JSON: one spelling of every field, on REST as in the stream log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from domain.market import Timeframe, rfc3339

Row = Mapping[str, Any]


def dumps(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """JSON bytes: floats in shortest round-trip form, times as RFC 3339, NaN as null."""
    return orjson.dumps(value, default=_spell, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _spell(value: object) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no JSON spelling")


def plain(row: Row) -> dict[str, Any]:
    """Every column as it is."""
    return dict(row)


def json_columns(row: Row, *names: str) -> dict[str, Any]:
    """Every column, those in `names` parsed from JSON text."""
    return {
        **row,
        **{name: orjson.loads(row[name]) if row[name] is not None else None for name in names},
    }


def prediction(row: Row) -> dict[str, Any]:
    """A row of `ml_predictions`; `degraded` becomes a list of codes."""
    codes = row["degraded"]
    return {
        **json_columns(row, "members"),
        "degraded": codes.split(",") if codes else [],
    }


def feature(row: Row) -> dict[str, Any]:
    """A row of features with its values under their names."""
    named = dict(row)
    columns, values = named.pop("columns"), named.pop("values")
    return {**named, "values": dict(zip(columns, values, strict=True))}


def signal(row: Row, at: datetime | None) -> dict[str, Any]:
    """A row of `trading_signals`, as it is or as it was known at `at`."""
    spelt = json_columns(row, "votes")
    return spelt if at is None else signal_as_known(spelt, at)


def signal_as_known(row: Row, at: datetime) -> dict[str, Any]:
    """A signal without what the market answered after `at`.

    The entry is the open of the next candle, which is known when that candle closes.
    """
    known = dict(row)
    closed_at = known["closed_at"]
    if known["side"] == "flat" or (closed_at is not None and closed_at <= at):
        return known
    known.update(status="active", closed_at=None, exit_price=None, realized_return=None)
    filled_at = known["as_of"] + Timeframe.parse(known["timeframe"]).duration
    if known["entry_price"] is None or at < filled_at:
        known.update(status="pending", entry_price=None, stop=None, take=None)
    return known
