"""Pages of texts with their scores, as they were known, and the states of their sources."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import asyncpg

from backend.api import cursors, rows, schemas
from backend.api.parameters import TextSelection
from backend.api.shelves import Shelf
from backend.store.sources import STATES
from domain.errors import UnknownSourceError
from domain.market import from_ms

TEXTS: Final = Shelf(
    table="sentiment_items",
    history="sentiment_items",
    series=("source",),
    time="known_at",
    key=("source", "item_id"),
    known="t.known_at",
    newest="t.known_at DESC",
    columns="source, item_id, known_at, published_at, dating, kind, title, url, language, cluster,"
    " engagement",
    described=schemas.TextRow,
    spell=lambda row, _at: rows.plain(row),
)
_SOURCES: Final = """
    SELECT source FROM source_states UNION SELECT source FROM sentiment_items ORDER BY 1
    """
_SCORES: Final = """
    SELECT s.source, s.item_id, s.known_at, s.asset, s.scorer, s.polarity, s.confidence,
           s.relevance
    FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS asked (source, item_id, known_at)
    JOIN sentiment_scores s USING (source, item_id, known_at)
    ORDER BY s.scorer, s.asset
    """


async def read_texts(
    connection: asyncpg.Connection, selection: TextSelection
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of versions of texts, each with its scores, and the mark of the next.

    A text that was changed is there once for each version.

    Raises:
        UnknownSourceError: nobody has been asked under that name, with the closest.
    """
    known = [row["source"] for row in await connection.fetch(_SOURCES)]
    for source in selection.source:
        if source not in known:
            raise UnknownSourceError(source, known)
    made_for = cursors.fingerprint(TEXTS, selection, {})
    after = cursors.decode(selection.cursor, made_for, TEXTS) if selection.cursor else None
    place = (from_ms(after[0]), *after[1:]) if after else (None, None, None)
    found = await connection.fetch(
        _page(ascending=selection.ascending),
        selection.source or None, selection.asset or None, selection.start, selection.end,
        selection.as_of, *place, selection.limit + 1,
    )  # fmt: skip
    kept = found[: selection.limit]
    more = len(found) > selection.limit
    mark = [kept[-1][name] for name in ("known_at", "source", "item_id")] if more else None
    data = await _with_scores(connection, kept)
    return data, cursors.encode(mark, made_for) if mark else None


async def read_states(connection: asyncpg.Connection, at: datetime) -> list[dict[str, Any]]:
    """How each source was doing at a moment, by name."""
    return [dict(row) for row in await connection.fetch(STATES, at)]


async def _with_scores(
    connection: asyncpg.Connection, texts: list[asyncpg.Record]
) -> list[dict[str, Any]]:
    data = [{**row, "scores": []} for row in texts]
    named = {_name(row): row["scores"] for row in data}
    columns = [list(column) for column in zip(*named, strict=True)] or [[], [], []]
    for row in await connection.fetch(_SCORES, *columns):
        said = {
            name: row[name] for name in ("asset", "scorer", "polarity", "confidence", "relevance")
        }
        named[_name(row)].append({**said, "asset": said["asset"] or None})
    return data


def _name(row: rows.Row) -> tuple[str, str, datetime]:
    return row["source"], row["item_id"], row["known_at"]


def _page(*, ascending: bool) -> str:
    direction, beyond = ("ASC", ">") if ascending else ("DESC", "<")
    keys = ("known_at", "source", "item_id")
    return f"""
    SELECT {TEXTS.columns} FROM sentiment_items t
    WHERE ($1::text[] IS NULL OR source = ANY($1))
      AND ($2::text[] IS NULL OR EXISTS (
          SELECT FROM sentiment_scores s
          WHERE (s.source, s.item_id, s.known_at) = (t.source, t.item_id, t.known_at)
            AND s.asset = ANY($2)))
      AND ($3::timestamptz IS NULL OR known_at >= $3)
      AND ($4::timestamptz IS NULL OR known_at < $4)
      AND ($5::timestamptz IS NULL OR known_at <= $5)
      AND ($6::timestamptz IS NULL OR ({", ".join(keys)}) {beyond} ($6, $7::text, $8::text))
    ORDER BY {", ".join(f"{key} {direction}" for key in keys)} LIMIT $9
    """  # noqa: S608 - names are ours, values are parameters
