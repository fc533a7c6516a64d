"""A list of rows, and its spellings: objects, columns, CSV, Arrow.

In CSV and Arrow a list of words (`degraded`) is joined by commas, as in files, and what else is
nested (`members`, `votes`, `scores`) is JSON text. Features are columns of their own,
`values.NAME`, in all but objects. Null is an empty field in CSV; an empty text is `""`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from backend.api import rows
from backend.api.formats import Format
from domain.market import rfc3339, to_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAnswer:
    """Rows with what is said of them.

    Attributes:
        data: the rows.
        described: the model of a row; its fields are the columns, rows or none.
        as_of, watermark, coverage, revision: members of `meta`.
        following: where the next page begins.
        final: whether no later moment can see other bytes.
        rejected: what was asked for and is not there, with the reason; None: nothing can be.
        spread: of members whose own members are columns, the names of those.
    """

    data: Sequence[Mapping[str, Any]]
    described: type[BaseModel]
    as_of: datetime
    watermark: datetime | None = None
    coverage: Mapping[str, Any] | None = None
    revision: int | None = None
    following: str | None = None
    final: bool = False
    rejected: Sequence[Mapping[str, Any]] | None = None
    spread: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def spelled(self, how: Format) -> bytes:
        """The body; takes milliseconds where there are thousands of rows."""
        match how:
            case Format.OBJECTS:
                return self._enveloped(self.data)
            case Format.COLUMNS:
                return self._enveloped({name: values for name, values, _ in self._columns()})
            case Format.CSV:
                return _csv(self._columns())
            case Format.ARROW:
                return _arrow(self._columns())

    def headers(self) -> dict[str, str]:
        """What of `meta` fits into a line, for spellings that carry the rows alone."""
        told = {"As-Of": rfc3339(self.as_of)}
        if self.watermark is not None:
            told["Watermark"] = rfc3339(self.watermark)
        if self.revision is not None:
            told["Revision"] = str(self.revision)
        if self.coverage is not None and "expected" in self.coverage:
            counts = {**self.coverage, "gaps": len(self.coverage["gaps"])}
            told["Coverage"] = ", ".join(f"{name}={count}" for name, count in counts.items())
        if self.rejected is not None:
            told["Rejected"] = str(len(self.rejected))
        return {f"AlphaPulse-{name}": value for name, value in told.items()}

    def _enveloped(self, data: object) -> bytes:
        names = ("as_of", "watermark", "coverage", "revision")
        meta = {name: getattr(self, name) for name in names}
        more = {} if self.rejected is None else {"rejected": self.rejected}
        return enveloped(data, meta, self.following, **more)

    def _columns(self) -> list[tuple[str, list[Any], Any]]:
        """Name, values and type of each column; the type of words is list, None what is nested."""
        found: list[tuple[str, list[Any], Any]] = []
        for name, about in self.described.model_fields.items():
            known = about.alias or name
            if known in self.spread:
                found.extend(
                    (f"{known}.{inner}", [row[known].get(inner) for row in self.data], float)
                    for inner in self.spread[known]
                )
            else:
                found.append((known, [row[known] for row in self.data], _kind(about.annotation)))
        return found


def enveloped(
    data: object, meta: Mapping[str, Any], following: str | None = None, **more: object
) -> bytes:
    """The JSON of every list."""
    return rows.dumps({"data": data, "meta": meta, "next": following, **more})


def _kind(annotation: Any) -> type | None:  # noqa: ANN401 - whatever a field is annotated with
    """The plain type of a field, list of words among them; None for objects and other lists."""
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (one for one in get_args(annotation) if one is not NoneType)
    if get_origin(annotation) is Literal:
        return str
    if annotation == list[str]:
        return list
    return annotation if annotation in (bool, int, float, str, datetime) else None


def _csv(columns: Sequence[tuple[str, list[Any], Any]]) -> bytes:
    import pyarrow.csv  # noqa: PLC0415 - only who asks for it pays for its import

    spelled = [
        (name, [None if one is None else rfc3339(one) for one in values], str)
        if kind is datetime
        else (name, values, kind)
        for name, values, kind in columns
    ]
    sink = io.BytesIO()
    pyarrow.csv.write_csv(_table(spelled), sink)
    return sink.getvalue()


def _arrow(columns: Sequence[tuple[str, list[Any], Any]]) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - as above

    table, sink = _table(columns), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _table(columns: Sequence[tuple[str, list[Any], Any]]) -> Any:  # noqa: ANN401 - a pyarrow table
    import pyarrow as pa  # noqa: PLC0415 - as above

    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    arrays = {}
    for name, values, kind in columns:
        if kind is datetime:
            moments = [None if one is None else to_ms(one) for one in values]
            arrays[name] = pa.array(moments, pa.int64()).cast(pa.timestamp("ms", tz="UTC"))
        elif kind is list or kind is None:
            told = ",".join if kind else _json
            texts = [None if one is None else told(one) for one in values]
            arrays[name] = pa.array(texts, pa.string())
        else:
            arrays[name] = pa.array(values, types[kind], from_pandas=True)  # NaN is null
    return pa.table(arrays)


def _json(value: object) -> str:
    return rows.dumps(value).decode()
