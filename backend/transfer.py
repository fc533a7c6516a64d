"""Recorded candles into the store, and tables out of it as Parquet or CSV."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from backend.exported import KINDS, REPLAYED
from backend.progress import Progress
from backend.settings import Settings
from backend.store.candles import store_candles
from backend.store.state import StateFolder
from backend.wiring import Store, database_of, open_store
from collectors.recorded import Recording, read_folder
from domain.errors import DataFolderError, UnknownNameError, UnknownSymbolError, UsageError
from domain.events import Candle, Source
from domain.market import from_ms
from domain.sources import MARKET

_ROWS_PER_PAGE: Final = 50_000


class UnknownKindError(UnknownNameError):
    """A kind of export that there is not."""

    noun = "kind"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPlan:
    """What to write where."""

    kind: str
    out: Path
    since: datetime | None
    until: datetime | None
    symbols: list[str] | None


async def import_candles(folder: Path, settings: Settings) -> None:
    """Read every file of `folder` into the store; list what was refused, and the totals."""
    found = read_folder(folder)
    lines: list[str] = list(found.problems)
    used = rejected = stored = 0
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(database_of(settings))
        store = await stack.enter_async_context(open_store(url, settings.state / "artifacts"))
        with Progress("import", len(found.files)) as progress:
            for number, file in enumerate(found.files, start=1):
                try:
                    recording = file.read()
                except DataFolderError as error:
                    lines.append(str(error))
                else:
                    stored += await _import(store, recording)
                    used, rejected = used + 1, rejected + len(recording.rejected)
                    lines += [*recording.notes(), _total(recording)]
                progress.report(number)
    misnamed = f", {len(found.problems)} left out by their names" if found.problems else ""
    lines.append(
        f"{len(found.files) + len(found.problems)} files: {used} used, "
        f"{len(found.files) - used} without a usable candle{misnamed}, "
        f"{rejected} rows refused in the used ones; {stored} candles new or changed"
    )
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _total(recording: Recording) -> str:
    return f"{recording.file}: {len(recording)} rows used, {len(recording.rejected)} refused"


async def _import(store: Store, recording: Recording) -> int:
    candles = [
        Candle(
            instrument=recording.instrument,
            timeframe=recording.timeframe,
            open_ms=open_ms,
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=volume,
            confirmed=True,
            source=Source.BACKFILL,
        )
        for open_ms, (opened, high, low, close, volume) in zip(
            recording.open_ms.tolist(), recording.values.tolist(), strict=True
        )
    ]
    known_at = from_ms(candles[-1].close_ms)
    changes = await store_candles(store.writers, store.instruments, candles, known_at=known_at)
    return len(changes)


async def export_table(plan: ExportPlan, settings: Settings) -> None:
    """Write one table.

    Raises:
        UnknownKindError, UnknownSymbolError: with what there is.
        StateFolderError: no system has run on the state folder.
        UsageError: the file's ending is neither .parquet nor .csv, or it cannot be written.
    """
    if plan.kind not in KINDS:
        raise UnknownKindError(plan.kind, KINDS)
    if plan.out.suffix not in (".parquet", ".csv"):
        raise UsageError(f"{plan.out}: write to a .parquet or a .csv file")
    if settings.database_url is None:
        StateFolder(settings.state).exists()
    make_room([plan.out])
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(database_of(settings))
        store = await stack.enter_async_context(open_store(url, settings.state / "artifacts"))
        entered = await store.readers.fetch(
            "SELECT symbol FROM instruments WHERE exchange <> $1", MARKET.exchange
        )
        known = {row["symbol"] for row in entered}
        if strange := set(plan.symbols or ()) - known:
            raise UnknownSymbolError(min(strange), known)
        rows = await write_table(store, plan)
    sys.stdout.write(f"{plan.out}: {rows} rows\n")


def make_room(files: Sequence[Path]) -> None:
    """See that files can be written, before what is to be in them is made; folders are made.

    Raises:
        UsageError: one cannot.
    """
    try:
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
        taken = [file for file in files if file.is_dir()]
        places = [file if file.exists() else file.parent for file in files]
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be made: {error.strerror}") from error
    if taken:
        raise UsageError(f"{taken[0]} is a folder; a file is to be written there")
    closed = [place for place in places if not os.access(place, os.W_OK)]
    if closed:
        raise UsageError(f"{closed[0]}: no permission to write")


async def write_replay_tables(store: Store, folder: Path) -> None:
    """The Parquet files of `replay --out`."""
    for kind in REPLAYED:
        await write_table(
            store,
            ExportPlan(
                kind=kind, out=folder / f"{kind}.parquet", since=None, until=None, symbols=None
            ),
        )


async def write_table(store: Store, plan: ExportPlan) -> int:
    """Write the rows in the order of their keys; how many there were."""
    columns, tables, moment = KINDS[plan.kind]
    names = [part.split(" AS ")[-1].strip().strip('"') for part in columns.split(",")]
    keys = [n for n in ("exchange", "symbol", "timeframe", "horizon") if n in names]
    order = [moment, *keys, *(n for n in ("revision", "role", "model", "name") if n in names)]
    query = (
        f"SELECT {columns} FROM {tables} "  # noqa: S608 - names of ours
        f"WHERE ($1::timestamptz IS NULL OR {moment} >= $1)"
        f" AND ($2::timestamptz IS NULL OR {moment} < $2)"
        + (" AND ($3::text[] IS NULL OR symbol = ANY($3))" if "JOIN" in tables else "")
        + f" ORDER BY {', '.join(order)}"
    )
    arguments: list[Any] = [plan.since, plan.until]
    if "JOIN" in tables:
        arguments.append(plan.symbols)
    rows = 0
    async with store.readers.acquire() as connection, connection.transaction():
        statement = await connection.prepare(query)
        sink = _Sink(plan.out, {one.name: one.type.name for one in statement.get_attributes()})
        with sink:
            page: list[asyncpg.Record] = []
            async for record in statement.cursor(*arguments, prefetch=5_000):
                page.append(record)
                if len(page) == _ROWS_PER_PAGE:
                    sink.write(page)
                    rows, page = rows + len(page), []
            sink.write(page)
    return rows + len(page)


class _Sink:
    """A Parquet or CSV file, by its ending.

    Args:
        path: of the file.
        types: of its columns, as PostgreSQL names them: a page may hold nothing of one.
    """

    def __init__(self, path: Path, types: Mapping[str, str]) -> None:
        self._path = path
        self._schema = pa.schema([(name, _TYPES[kind]) for name, kind in types.items()])
        self._writer: Any = None

    def __enter__(self) -> _Sink:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, rows: Sequence[asyncpg.Record]) -> None:
        """Append; the first page, empty or not, gives the file its columns."""
        if not rows and self._writer is not None:
            return
        columns = zip(*rows, strict=True) if rows else ((),) * len(self._schema)
        arrays = [
            _array(list(values), field.type)
            for values, field in zip(columns, self._schema, strict=True)
        ]
        if self._writer is None:
            self._writer = self._open(self._schema)
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def _open(self, schema: pa.Schema) -> Any:  # noqa: ANN401 - one of two writers
        if self._path.suffix == ".csv":
            return pyarrow.csv.CSVWriter(self._path, schema)
        return pyarrow.parquet.ParquetWriter(self._path, schema)


_TIME: Final = pa.timestamp("us", tz="UTC")
# By PostgreSQL's name of a type; lists and JSON as JSON text.
_TYPES: Final = {
    **dict.fromkeys(("float4", "float8", "numeric"), pa.float64()),
    **dict.fromkeys(("int2", "int4", "int8"), pa.int64()),
    **dict.fromkeys(("text", "varchar", "json", "jsonb", "text[]", "float8[]"), pa.string()),
    "bool": pa.bool_(),
    "timestamptz": _TIME,
}


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if kind == pa.string():
        values = [orjson.dumps(one).decode() if isinstance(one, list) else one for one in values]
    return pa.array(values, type=kind)
