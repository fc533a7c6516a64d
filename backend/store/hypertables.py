"""The tables that are hypertables where the server has TimescaleDB's columnstore.

Which they are, and by what their old chunks are stored as columns. Statements, keys and answers are
those of plain PostgreSQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import asyncpg

from backend.store.server import ASK, Server

if TYPE_CHECKING:
    from sqlalchemy import Connection

CHUNK_DAYS: Final = 30
CONVERTED_WITHIN_S: Final = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypertable:
    """How a table is cut.

    Attributes:
        time: the column by which it is cut into chunks.
        series: columns of which a batch of stored values has one combination.
        order: columns by which a batch is sorted.
    """

    time: str
    series: tuple[str, ...]
    order: tuple[str, ...]


_SERIES: Final = ("instrument_id", "timeframe")
_FEATURES: Final = Hypertable(
    time="as_of", series=(*_SERIES, "feature_set"), order=("as_of", "revision")
)
_SAID: Final = Hypertable(
    time="as_of", series=(*_SERIES, "horizon", "role", "model"), order=("as_of", "revision")
)
HYPERTABLES: Final = {
    "candles": Hypertable(time="open_time", series=_SERIES, order=("open_time",)),
    "ml_features_ohlcv": _FEATURES,
    "ml_features_sentiment": _FEATURES,
    "ml_labels": Hypertable(
        time="as_of", series=(*_SERIES, "label_set", "horizon"), order=("as_of", "revision")
    ),
    "ml_predictions": _SAID,
    "ml_prediction_outcomes": _SAID,
}

# By what the rows of a table are told apart beside their time; a view, `<table>_series`, has each
# once. On plain PostgreSQL it steps over the primary key, which takes ages on packed chunks, and
# TimescaleDB does so by itself where it is asked for what is distinct, which PostgreSQL does not.
SERIES: Final = {
    "candles": _SERIES,
    "ml_features_ohlcv": (*_SERIES, "feature_set"),
    "ml_predictions": (*_SERIES, "horizon"),
    "ml_prediction_outcomes": (*_SERIES, "horizon"),
}
_STEPPING: Final = """
SELECT viewname FROM pg_views
WHERE schemaname = current_schema() AND viewname = ANY(:names) AND definition ~ 'RECURSIVE'
"""
_EXISTING: Final = """
SELECT hypertable_name FROM timescaledb_information.hypertables
WHERE hypertable_schema = current_schema() AND compression_enabled
"""
# Corrections of the past touch more rows of old chunks than the server's default lets them.
_LIMIT: Final = "timescaledb.max_tuples_decompressed_per_dml_transaction"
_OWNED: Final = """
SELECT quote_ident(datname) FROM pg_database
WHERE datname = current_database() AND pg_has_role(datdba, 'USAGE')
"""
_ROWS: Final = """
SELECT format('%I.%I', c.chunk_schema, c.chunk_name) FROM timescaledb_information.chunks AS c
JOIN _timescaledb_catalog.chunk AS known
    ON (known.schema_name, known.table_name) = (c.chunk_schema, c.chunk_name)
WHERE c.hypertable_schema = current_schema() AND c.hypertable_name = ANY($1::text[])
    AND c.range_end < $2 AND (NOT c.is_compressed OR known.status & 10 <> 0)
ORDER BY c.range_end, 1
"""


def arrange(connection: Connection) -> None:
    """Make hypertables of the tables where the server can, moving their rows; nothing elsewhere."""
    from sqlalchemy import text  # noqa: PLC0415 - only where something is migrated

    if not Server(**connection.execute(text(ASK)).mappings().one()).has_columnstore:
        return
    there = set(connection.execute(text(_EXISTING)).scalars())
    for name in HYPERTABLES.keys() - there:
        for statement in _statements(name, HYPERTABLES[name]):
            connection.execute(text(statement))
    views = {f"{name}_series": name for name in SERIES}
    for view in connection.execute(text(_STEPPING), {"names": [*views]}).scalars().all():
        distinct = f"SELECT DISTINCT {', '.join(SERIES[views[view]])} FROM {views[view]}"  # noqa: S608 - ours
        connection.execute(text(f"CREATE OR REPLACE VIEW {view} AS {distinct}"))
    for database in connection.execute(text(_OWNED)).scalars():
        connection.execute(text(f"ALTER DATABASE {database} SET {_LIMIT} = 0"))


def _statements(name: str, how: Hypertable) -> tuple[str, str]:
    return (
        f"SELECT create_hypertable('{name}', by_range('{how.time}', INTERVAL '{CHUNK_DAYS} days'),"
        " create_default_indexes => false, migrate_data => true, if_not_exists => true)",
        f"ALTER TABLE {name} SET (timescaledb.enable_columnstore,"
        f" timescaledb.segmentby = '{', '.join(how.series)}',"
        f" timescaledb.orderby = '{', '.join(how.order)}')",
    )


async def chunks_of_rows(connection: asyncpg.Connection, *, before: datetime) -> list[str]:
    """The chunks that end before and have rows that are not stored as columns, oldest first."""
    rows = await connection.fetch(_ROWS, [*HYPERTABLES], before)
    return [row[0] for row in rows]


async def store_as_columns(connection: asyncpg.Connection, chunk: str) -> None:
    """Store the rows of a chunk as columns; they are read and written as before."""
    convert = "CALL convert_to_columnstore($1::text::regclass)"
    await connection.execute(convert, chunk, timeout=CONVERTED_WITHIN_S)
