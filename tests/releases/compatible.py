"""What becomes of a running program's statements when the schema below it is migrated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

TEMPORARY: Final = "CREATE TEMP TABLE"
PLANNED_WITHOUT_VALUES: Final = "SET LOCAL plan_cache_mode = force_generic_plan"
_COPIED: Final = re.compile(r"COPY (\S+?)\s*\((.*)\) (?:FROM|TO) STD", re.DOTALL)

_COLUMNS: Final = """
SELECT relname AS table, attname AS name, attnotnull AS needed,
       atthasdef OR attidentity <> '' AS by_default
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
  AND attnum > 0 AND NOT attisdropped
"""
_RULES: Final = """
SELECT relname AS table, pg_get_constraintdef(one.oid) AS rule FROM pg_constraint AS one
JOIN pg_class ON pg_class.oid = conrelid WHERE contype IN ('c', 'f', 'x') AND NOT relispartition
UNION SELECT relname, 'of ' || conrelid::regclass || ': ' || pg_get_constraintdef(one.oid)
FROM pg_constraint AS one JOIN pg_class ON pg_class.oid = confrelid WHERE contype = 'f'
UNION SELECT relname, regexp_replace(pg_get_indexdef(indexrelid), 'INDEX .*? ON', 'ON')
FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE indisunique AND NOT relispartition
UNION SELECT relname, pg_get_triggerdef(one.oid) FROM pg_trigger AS one
JOIN pg_class ON pg_class.oid = tgrelid WHERE NOT tgisinternal
"""


@dataclass(frozen=True, slots=True)
class Described:
    """What the server says of a statement: the types of its parameters, its columns and theirs."""

    parameters: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table: whether a row needs a value in it, and gets one that nobody names."""

    needed: bool
    by_default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What a program meets.

    Attributes:
        said: of each statement, or why it cannot be planned.
        columns: of each table.
        rules: what rows of a table must keep: checks, references, what is unique, triggers.
    """

    said: dict[str, Described | str]
    columns: dict[tuple[str, str], Column]
    rules: frozenset[tuple[str, str]]


async def met(connection: asyncpg.Connection, statements: Sequence[str]) -> Schema:
    """The schema of a database, as a program with these statements meets it."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(PLANNED_WITHOUT_VALUES)
        first = [one for one in statements if one.startswith(TEMPORARY)]
        said = {one: await _made(connection, one) for one in first}
        rest = [one for one in statements if one not in said]
        said |= {one: await _described(connection, _asking(one)) for one in rest}
        columns = await connection.fetch(_COLUMNS)
        rules = await connection.fetch(_RULES)
    finally:
        await transaction.rollback()
    return Schema(
        said=said,
        columns={
            (row["table"], row["name"]): Column(row["needed"], row["by_default"]) for row in columns
        },
        rules=frozenset((row["table"], row["rule"]) for row in rules),
    )


def _asking(statement: str) -> str:
    """A COPY names columns of a table, whose types it trusts."""
    copied = _COPIED.match(statement)
    return f"SELECT {copied[2]} FROM {copied[1]}" if copied else statement  # noqa: S608 - ours


async def _made(connection: asyncpg.Connection, statement: str) -> Described | str:
    """A table of the transaction's, which later statements name."""
    try:
        async with connection.transaction():
            await connection.execute(statement)
    except asyncpg.PostgresError as error:
        return str(error)
    return Described((), ())


async def _described(connection: asyncpg.Connection, statement: str) -> Described | str:
    try:
        async with connection.transaction():
            prepared = await connection.prepare(statement)
            values = ", ".join("NULL" for _ in prepared.get_parameters())
            name = prepared.get_name() + (f"({values})" if values else "")
            await connection.execute(f"EXPLAIN EXECUTE {name}")
    except asyncpg.PostgresError as error:
        return str(error)
    return Described(
        tuple(one.name for one in prepared.get_parameters()),
        tuple((one.name, one.type.name) for one in prepared.get_attributes()),
    )


def breaks(before: Schema, after: Schema) -> list[str]:
    """What a program that ran on `before` cannot do on `after`, a line for each."""
    return sorted({*_misunderstood(before, after), *_stricter(before, after)})


def _misunderstood(before: Schema, after: Schema) -> Iterator[str]:
    for statement, was in before.said.items():
        if (now := after.said[statement]) != was:
            yield f"{' '.join(statement.split())}: {now}, was {was}"


def _stricter(before: Schema, after: Schema) -> Iterator[str]:
    tables = {table for table, _ in before.columns}
    for (table, name), column in after.columns.items():
        was = before.columns.get((table, name))
        if table not in tables or not column.needed or column.by_default:
            continue
        if was is None:
            yield f"{table}.{name} is new, and needed in every row"
        elif was.by_default or not was.needed:
            yield f"{table}.{name} is needed in every row now"
    yield from _new(tables, before, after)


def _new(tables: Iterable[str], before: Schema, after: Schema) -> Iterator[str]:
    for table, rule in after.rules - before.rules:
        if table in tables:
            yield f"{table} has a new rule: {rule}"
