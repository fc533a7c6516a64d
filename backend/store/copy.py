"""Numpy columns to and from PostgreSQL's binary COPY format, without a Python loop over rows.

A row on the wire is a 16-bit count of fields, then for each field a 32-bit length (−1 for
NULL) and its bytes, all big-endian. Rows of equal width are one structured array; where a
field is NULL or varies in width, every row is laid out at full width and the bytes that
are not there are dropped through a mask. Source: PostgreSQL manual, COPY, «Binary Format».
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import numpy as np
from numpy.typing import DTypeLike, NDArray
from sqlalchemy import Table
from sqlalchemy.types import TypeEngine

from domain.events import Floats, Ints
from domain.market import EPOCH, MILLISECOND, to_ms

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
POSTGRES_EPOCH_MS: Final = 946_684_800_000  # 2000-01-01
FLOAT8_OID: Final = 701
# As a moment has; a later number of milliseconds would go around to another time.
_FIRST_MS: Final = to_ms(datetime.min.replace(tzinfo=UTC))
_LAST_MS: Final = to_ms(datetime.max.replace(tzinfo=UTC))
INT_OIDS: Final = {4: 23, 8: 20}  # by the width of the numbers in bytes

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows for one table, as columns; a column is one value for all rows, or an array.

    Times are datetimes, or integer milliseconds since 1970. NULL is NaN in float columns,
    None among texts and bytes, and a masked element (`numpy.ma`) in the others; a column
    that is None is NULL throughout. Columns of the table that are absent get its default.
    """

    table: Table
    count: int
    columns: Mapping[str, Any]

    def take(self, positions: Ints) -> Rows:
        """The rows at `positions`."""
        chosen = {name: _take(values, positions) for name, values in self.columns.items()}
        return Rows(self.table, len(positions), chosen)

    def describe(self, position: int) -> dict[str, Any]:
        """One row for people."""
        row = self.take(np.array([position], dtype=np.int64))
        return {name: _describe(values) for name, values in row.columns.items()}

    def encode(self, *, numbered: bool = False) -> bytes:
        """The rows as COPY sends them, without header and trailer.

        Args:
            numbered: an integer column with the row's position comes first.
        """
        fields = [
            _field(self.table.c[name].type, values, self.count)
            for name, values in self.columns.items()
        ]
        if numbered:
            fields.insert(0, _Field(np.dtype(">i4"), np.arange(self.count), 4))
        return _lay_out(fields, self.count)


@dataclass(frozen=True, slots=True, eq=False)
class _Field:
    """A column at full width; `keep` marks the bytes that are really there."""

    dtype: np.dtype[Any] | None  # None: no bytes in any row
    values: Any
    lengths: int | Ints
    keep: NDArray[np.bool_] | None = None
    varies: bool = False  # `values` are bytes of `lengths`, or None

    def padded(self) -> _Field:
        """The same at full width."""
        if not self.varies or self.dtype is None:
            return self
        width = self.dtype.itemsize
        whole = np.array([value or b"" for value in self.values], dtype=f"S{width}")
        keep = np.arange(width) < np.asarray(self.lengths)[:, None]
        return _Field(self.dtype, whole.view(np.uint8).reshape(-1, width), self.lengths, keep)


def joined(batches: Sequence[Rows]) -> Rows:
    """The rows of several batches of one table and the same columns, in their order."""
    first = batches[0]
    if len(batches) == 1:
        return first
    columns = {
        name: _joined([(batch.columns[name], batch.count) for batch in batches])
        for name in first.columns
    }
    return Rows(first.table, sum(batch.count for batch in batches), columns)


def _joined(parts: Sequence[tuple[Any, int]]) -> Any:  # noqa: ANN401 - a column of any type
    """One column of several; a value that all share stays one value."""
    values = [value for value, _ in parts]
    if not any(isinstance(value, np.ndarray | list | tuple) for value in values):
        if all(value == values[0] for value in values):
            return values[0]
        if all(isinstance(value, datetime) for value in values):
            moments = [_microseconds(value) for value in values]
            repeated = np.repeat(moments, [count for _, count in parts])
            return repeated.astype("datetime64[us]")
    if all(isinstance(value, np.ndarray) for value in values):
        masked = any(np.ma.isMaskedArray(value) for value in values)
        return np.ma.concatenate(values) if masked else np.concatenate(values)  # type: ignore[no-untyped-call]  # numpy has no types for it
    if any(isinstance(value, np.ndarray) for value in values):
        return np.concatenate([np.broadcast_to(value, count) for value, count in parts])
    spread: list[Any] = []
    for value, count in parts:
        spread += value if isinstance(value, list | tuple) else [value] * count
    return spread


def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // (MILLISECOND / 1000)


def message(parts: Iterable[bytes]) -> memoryview:
    """Encoded rows of one table as a whole COPY message."""
    return memoryview(b"".join((HEADER, *parts, TRAILER)))


def _take(values: Any, positions: Ints) -> Any:  # noqa: ANN401 - a column of any type
    if isinstance(values, np.ndarray):
        return values[positions]
    if isinstance(values, list | tuple):
        return [values[int(position)] for position in positions]
    return values


def _describe(values: Any) -> Any:  # noqa: ANN401 - a column of any type
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, list):
        values = values[0]
    return values.hex() if isinstance(values, bytes) else values


def _field(sql_type: TypeEngine[Any], values: Any, count: int) -> _Field:  # noqa: ANN401 - a column of any type
    if values is None:
        return _Field(None, None, -1)
    return _ENCODERS[type(sql_type).__name__](values, count)


def _number(code: str) -> Callable[[Any, int], _Field]:
    """Integers, times and booleans: NULL where masked."""

    def encode(values: Any, _count: int) -> _Field:  # noqa: ANN401 - a column of any type
        return _fixed(np.dtype(code), np.ma.getdata(values), np.ma.getmaskarray(values))

    return encode


def _float(values: Any, _count: int) -> _Field:  # noqa: ANN401 - a column of any type
    return _fixed(np.dtype(">f8"), values, np.isnan(values))


def _time(values: Any, count: int) -> _Field:  # noqa: ANN401 - a column of any type
    if isinstance(values, datetime):
        microseconds: Any = _microseconds(values) - POSTGRES_EPOCH_MS * 1000
    elif values.dtype.kind == "M":
        microseconds = values.astype(np.int64) - POSTGRES_EPOCH_MS * 1000
    else:
        told = np.ma.getdata(values)
        if count and not (told.min() >= _FIRST_MS and told.max() <= _LAST_MS):
            raise asyncpg.DatetimeFieldOverflowError("a time that no calendar has")
        microseconds = (values - POSTGRES_EPOCH_MS) * 1000
    return _number(">i8")(microseconds, count)


def _fixed(dtype: np.dtype[Any], values: Any, missing: NDArray[np.bool_]) -> _Field:  # noqa: ANN401 - a column of any type
    if not missing.any():
        return _Field(dtype, values, dtype.itemsize)
    if missing.all():
        return _Field(None, None, -1)
    keep = np.repeat(~missing[:, None], dtype.itemsize, axis=1)
    filled = np.where(missing, np.zeros(1, dtype.newbyteorder("=")), values)
    return _Field(dtype, filled, np.where(missing, -1, dtype.itemsize), keep)


def _text(values: Any, count: int) -> _Field:  # noqa: ANN401 - a column of any type
    if isinstance(values, str):
        return _constant(str.encode(values))
    spelt = {value: None if value is None else str.encode(value) for value in set(values)}
    if len(spelt) == 1:
        value = next(iter(spelt.values()))
        return _Field(None, None, -1) if value is None else _constant(value)
    return _bytes([spelt[value] for value in values], count)


def _json(values: Any, count: int) -> _Field:  # noqa: ANN401 - a column of any type
    """Binary jsonb is a version byte and the text."""
    if isinstance(values, bytes):
        return _constant(b"\x01" + values)
    return _bytes([None if value is None else b"\x01" + value for value in values], count)


def _bytes(values: Any, _count: int) -> _Field:  # noqa: ANN401 - a column of any type
    if isinstance(values, bytes):
        return _constant(values)
    lengths = np.array([-1 if value is None else len(value) for value in values], dtype=np.int64)
    width = max(0, int(lengths.max(initial=0)))
    if (lengths == width).all():
        block = np.frombuffer(b"".join(values), np.uint8).reshape(-1, width) if width else None
        return _Field(_bytes_dtype(width) if width else None, block, width)
    return _Field(_bytes_dtype(width) if width else None, values, lengths, varies=True)


def _constant(value: bytes) -> _Field:
    if not value:
        return _Field(None, None, 0)
    return _Field(_bytes_dtype(len(value)), np.frombuffer(value, np.uint8), len(value))


def _bytes_dtype(width: int) -> np.dtype[Any]:
    return np.dtype((np.uint8, (width,)))


def _array(values: Any, count: int) -> _Field:  # noqa: ANN401 - a column of any type
    """float8[] from an array of shape (n, size); integer arrays from a list of n arrays."""
    if isinstance(values, np.ndarray):
        return _float_array(values, count)
    return _bytes([_int_array(row) for row in values], count)


def _int_array(values: Ints) -> bytes:
    """One-dimensional int4[] or int8[], as wide as the numbers; without NULL."""
    width = values.dtype.itemsize
    block = np.empty(len(values), np.dtype([("length", ">i4"), ("value", f">i{width}")]))
    block["length"], block["value"] = width, values
    head = np.array((1, 0, INT_OIDS[width], len(values), 1), dtype=">i4")
    return head.tobytes() + block.tobytes()


def _float_array(values: Floats, count: int) -> _Field:
    """One-dimensional float8[]: dimensions, has-null flag, element type, length, lower bound."""
    size = values.shape[1]
    element = [("length", ">i4"), ("value", ">f8")]
    dtype = np.dtype([("head", ">i4", (5,)), ("elements", element, (size,))])
    missing = np.isnan(values)
    nulls = missing.sum(axis=1)
    block = np.empty(count, dtype)
    block["head"] = (1, 0, FLOAT8_OID, size, 1)
    block["head"][:, 1] = nulls > 0
    block["elements"]["length"] = np.where(missing, -1, 8)
    block["elements"]["value"] = values
    if not nulls.any():
        return _Field(dtype, block, dtype.itemsize)
    present = np.ones((count, size, 12), dtype=np.bool_)
    present[..., 4:] = ~missing[..., None]
    keep = np.ones((count, dtype.itemsize), dtype=np.bool_)
    keep[:, 20:] = present.reshape(count, -1)
    return _Field(dtype, block, dtype.itemsize - 8 * nulls, keep)


_ENCODERS: Final[dict[str, Callable[[Any, int], _Field]]] = {
    "SmallInteger": _number(">i2"),
    "Integer": _number(">i4"),
    "BigInteger": _number(">i8"),
    "Boolean": _number("u1"),
    "Double": _float,
    "TIMESTAMP": _time,
    "Text": _text,
    "LargeBinary": _bytes,
    "JSONB": _json,
    "ARRAY": _array,
}


def _lay_out(fields: Sequence[_Field], count: int) -> bytes:
    """Rows of all fields. A last field that varies is joined instead of padded."""
    last = fields[-1]
    if not last.varies:
        return _pack([field.padded() for field in fields], len(fields), count)[0]
    front, ends = _pack([field.padded() for field in fields[:-1]], len(fields), count)
    lengths = np.asarray(last.lengths).astype(">i4").tobytes()
    parts: list[bytes] = []
    start = 0
    for row, (end, value) in enumerate(zip(ends, last.values, strict=True)):
        parts += (front[start:end], lengths[4 * row : 4 * row + 4], value or b"")
        start = end
    return b"".join(parts)


def _pack(fields: Sequence[_Field], width: int, count: int) -> tuple[bytes, list[int]]:
    """The fields of all rows, and where each row ends; `width` is the count that rows tell."""
    layout: list[tuple[str, Any]] = [("fields", ">i2")]
    for position, field in enumerate(fields):
        layout.append((f"length{position}", ">i4"))
        if field.dtype is not None:
            layout.append((f"value{position}", field.dtype))
    block = np.empty(count, np.dtype(layout))
    block["fields"] = width
    for position, field in enumerate(fields):
        block[f"length{position}"] = field.lengths
        if field.dtype is not None:
            block[f"value{position}"] = field.values
    size = block.dtype.itemsize
    if all(field.keep is None for field in fields):
        return block.tobytes(), [*range(size, size * (count + 1), size)]
    keep = _kept(block, fields)
    flat: Bytes = block.view(np.uint8).reshape(count, -1)
    return flat[keep].tobytes(), np.cumsum(keep.sum(axis=1)).tolist()


def _kept(block: NDArray[Any], fields: Sequence[_Field]) -> NDArray[np.bool_]:
    keep = np.ones((len(block), block.dtype.itemsize), dtype=np.bool_)
    offsets: Mapping[str, Any] = block.dtype.fields or {}
    for position, field in enumerate(fields):
        if field.keep is not None:
            start = offsets[f"value{position}"][1]
            keep[:, start : start + field.keep.shape[1]] = field.keep
    return keep


def decode(data: bytes, fields: Sequence[tuple[str, DTypeLike]]) -> dict[str, NDArray[Any]]:
    """The columns of a binary COPY in which nothing is NULL and every width is fixed.

    Args:
        data: what `COPY (…) TO STDOUT (FORMAT binary)` sent.
        fields: name and type of each column; `float8[n]` is `("f8", (n,))`; a time comes
            as i8 microseconds since 2000.

    Raises:
        ValueError: the message is not of these columns.
    """
    layout: list[Any] = [("fields", ">i2")]
    for name, kind in fields:
        dtype = np.dtype(kind)
        layout.append((f"{name}.length", ">i4"))
        if dtype.subdtype is None:
            layout.append((name, dtype.newbyteorder(">")))
        else:
            element = [("length", ">i4"), ("value", dtype.base.newbyteorder(">"))]
            layout += [(f"{name}.head", ">i4", (5,)), (name, element, dtype.shape)]
    dtype = np.dtype(layout)
    body = len(data) - len(HEADER) - len(TRAILER)
    if body % dtype.itemsize:
        raise ValueError(f"{body} bytes are not rows of {dtype.itemsize}")
    block = np.frombuffer(data, dtype, count=body // dtype.itemsize, offset=len(HEADER))
    return {name: _native(block[name]) for name, _ in fields}


def _native(column: NDArray[Any]) -> NDArray[Any]:
    values = column["value"] if column.dtype.names else column
    return values.astype(np.int64 if values.dtype.kind == "i" else np.float64)
