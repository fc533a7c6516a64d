"""Answers of REST as frames of pandas or polars, whichever of them is installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Final, Literal

import httpx

from alphapulse_client.errors import ProtocolError
from alphapulse_client.times import with_times

Library = Literal["pandas", "polars"]

_ARROW: Final = "application/vnd.apache.arrow.stream"
ACCEPTED: Final = f"{_ARROW}, application/json;q=0.1"  # some lists are told as objects alone
_NEEDED: Final = {"pandas": ("pandas", "pyarrow"), "polars": ("polars",)}


def check(library: Library) -> None:
    """See that a library can be used, before anything is asked for.

    Raises:
        ImportError: it, or what it reads Arrow with, is not installed.
        ValueError: there is no such library.
    """
    if library not in _NEEDED:
        raise ValueError(f"{library!r} is neither pandas nor polars")
    for package in _NEEDED[library]:
        if find_spec(package) is None:
            wanted = f"alphapulse-client[{library}]"
            raise ImportError(f"{package} is not installed; pip install '{wanted}'", name=package)


def framed(library: Library, answers: Sequence[httpx.Response], limit: int | None) -> Any:  # noqa: ANN401 - of the library
    """The rows of some answers to one request, the first `limit` of them.

    Raises:
        ProtocolError: an answer is no list.
    """
    if any(not answer.headers.get("content-type", "").startswith(_ARROW) for answer in answers):
        rows = [row for answer in answers for row in objects(answer)][:limit]
        return _of_objects(library, rows)
    bodies = [answer.content for answer in answers]
    return _with_pandas(bodies, limit) if library == "pandas" else _with_polars(bodies, limit)


def objects(answer: httpx.Response) -> list[dict[str, Any]]:
    """The rows of an answer in JSON, their times as datetimes.

    Raises:
        ProtocolError: it is no list.
    """
    try:
        return [with_times(row) for row in answer.json()["data"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        path = answer.request.url.path
        raise ProtocolError(f"the rows of {path} cannot be read: {error!r}") from error


def _of_objects(library: Library, rows: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - as above
    if library == "pandas":
        import pandas as pd  # noqa: PLC0415 - one of two, and neither is needed by feeds

        return pd.DataFrame(rows)
    import polars as pl  # noqa: PLC0415 - as above

    return pl.DataFrame(rows, infer_schema_length=None)


def _with_pandas(bodies: Sequence[bytes], limit: int | None) -> Any:  # noqa: ANN401 - as above
    import pyarrow as pa  # noqa: PLC0415 - as above

    try:
        table = pa.concat_tables([pa.ipc.open_stream(body).read_all() for body in bodies])
    except pa.ArrowInvalid as error:
        raise ProtocolError(f"the Arrow of a list cannot be read: {error}") from error
    return table.slice(0, limit).to_pandas()


def _with_polars(bodies: Sequence[bytes], limit: int | None) -> Any:  # noqa: ANN401 - as above
    import polars as pl  # noqa: PLC0415 - as above

    try:
        frame = pl.concat([pl.read_ipc_stream(body) for body in bodies])
    except pl.exceptions.PolarsError as error:
        raise ProtocolError(f"the Arrow of a list cannot be read: {error}") from error
    return frame if limit is None else frame.head(limit)
