"""Predictions laid beside candles without looking ahead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, overload

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_SERIES: Final = ("exchange", "symbol", "timeframe")  # by which both are told apart
_ONE: Final = ("horizon", "role", "model")  # a candle takes one prediction
_NEEDED: Final = ("as_of", "revision", "made_at")
_OPENS: Final = "__opens__"
_MADE: Final = "__made__"
_MS: Final = range(10**11, 10**14)  # 1973 to 5138; in seconds or nanoseconds no time of ours is


@overload
def join_predictions(
    frame: pd.DataFrame, predictions: pd.DataFrame, *, open_time: str = "open_time"
) -> pd.DataFrame: ...


@overload
def join_predictions(
    frame: pl.DataFrame, predictions: pl.DataFrame, *, open_time: str = "open_time"
) -> pl.DataFrame: ...


def join_predictions(frame: Any, predictions: Any, *, open_time: str = "open_time") -> Any:
    """Join each prediction to the first candle that opens at or after it was made, to no other.

    That candle's open is the first price at which anybody could have acted on it, however late it
    was made. A prediction never stays for a second candle. Where several come to one candle, that
    of the newest close is taken, of this one the newest revision.

    Args:
        frame: candles, in any order, of pandas or polars; a row for each.
        predictions: of the same library, with the columns of REST: of one horizon, one role and
            one model. Of several series (exchange, symbol, timeframe) where `frame` has these
            columns too.
        open_time: the column of `frame` with the time at which a candle opens: times with a zone,
            or whole milliseconds since 1970 UTC. Where a row is acted on at the open of the next
            candle, as in freqtrade, it is a column with that one's.

    Returns:
        `frame` with the predictions' columns, null where a candle has none; a name that `frame`
        has already gets `prediction_` in front.

    Raises:
        ValueError: a column is missing, has no time zone, or tells of more than one.
        TypeError: the frames are not both of pandas or both of polars.
    """
    library = _library_of(frame)
    if library != _library_of(predictions):
        raise TypeError("candles and predictions must be frames of the same library")
    _see(frame.columns, [open_time], "the candles")
    _see(predictions.columns, _NEEDED, "the predictions")
    series = [one for one in _SERIES if one in frame.columns and one in predictions.columns]
    for name in {*_SERIES, *_ONE} & set(predictions.columns) - set(series):
        if len(said := sorted(map(str, predictions[name].unique()))) > 1:
            raise ValueError(f"predictions of more than one {name}: {', '.join(said)}")
    names = {
        one: f"prediction_{one}" if one in frame.columns else one
        for one in predictions.columns
        if one not in series
    }
    join = _in_pandas if library == "pandas" else _in_polars
    return join(frame, predictions, open_time, series, names)


def _in_pandas(
    frame: pd.DataFrame,
    predictions: pd.DataFrame,
    open_time: str,
    series: list[str],
    names: dict[str, str],
) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - whoever calls this has it

    candles = frame.assign(**{_OPENS: _pandas_times(frame[open_time])})
    made = predictions.assign(**{_MADE: _pandas_times(predictions["made_at"])})
    for one in series:  # a category is not a text to `merge_asof`
        candles[one], made[one] = candles[one].astype(object), made[one].astype(object)
    placed = pd.merge_asof(
        made.dropna(subset=_MADE).sort_values(_MADE),
        candles[[*series, _OPENS]].dropna().sort_values(_OPENS),
        left_on=_MADE,
        right_on=_OPENS,
        by=series or None,
        direction="forward",
    )
    newest = (
        placed.dropna(subset=_OPENS)
        .sort_values(["as_of", "revision", _MADE])
        .drop_duplicates([*series, _OPENS], keep="last")
        .drop(columns=_MADE)
        .rename(columns=names)
    )
    joined = candles.merge(newest, on=[*series, _OPENS], how="left").drop(columns=_OPENS)
    joined.index = frame.index
    for one in series:
        joined[one] = frame[one].array
    return joined


def _pandas_times(column: pd.Series[Any]) -> pd.Series[Any]:
    """To the nanosecond, so that nothing is rounded to a time before it."""
    import pandas as pd  # noqa: PLC0415 - as above

    if pd.api.types.is_integer_dtype(column):
        _milliseconds(column.name, column.min(), column.max())
        column = pd.to_datetime(column, unit="ms", utc=True)
    if not isinstance(column.dtype, pd.DatetimeTZDtype):
        raise _no_times(column.name)
    times: pd.Series[Any] = column.dt.tz_convert("UTC").dt.as_unit("ns")
    return times


def _in_polars(
    frame: pl.DataFrame,
    predictions: pl.DataFrame,
    open_time: str,
    series: list[str],
    names: dict[str, str],
) -> pl.DataFrame:
    candles = frame.with_columns(_polars_times(frame[open_time]).alias(_OPENS))
    made = predictions.with_columns(_polars_times(predictions["made_at"]).alias(_MADE))
    placed = (
        made.drop_nulls(_MADE)
        .sort(_MADE)
        .join_asof(
            candles.select(*series, _OPENS).drop_nulls().unique().sort(_OPENS),
            left_on=_MADE,
            right_on=_OPENS,
            by=series or None,
            strategy="forward",
            coalesce=False,
            check_sortedness=False,  # with `by` it cannot be checked, and both were sorted
        )
    )
    newest = (
        placed.drop_nulls(_OPENS)
        .sort("as_of", "revision", _MADE)
        .unique([*series, _OPENS], keep="last", maintain_order=True)
        .drop(_MADE)
        .rename(names)
    )
    joined = candles.join(newest, on=[*series, _OPENS], how="left", maintain_order="left")
    return joined.drop(_OPENS)


def _polars_times(column: pl.Series) -> pl.Series:
    """To the nanosecond, so that nothing is rounded to a time before it."""
    import polars as pl  # noqa: PLC0415 - whoever calls this has it

    if column.dtype.is_integer():
        _milliseconds(column.name, column.min(), column.max())
        column = column.cast(pl.Int64).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    if getattr(column.dtype, "time_zone", None) is None:
        raise _no_times(column.name)
    return column.dt.convert_time_zone("UTC").dt.cast_time_unit("ns")


def _library_of(frame: object) -> str:
    library = type(frame).__module__.partition(".")[0]
    if library not in ("pandas", "polars"):
        raise TypeError(f"{type(frame).__name__} is no frame of pandas or polars")
    return library


def _see(columns: Iterable[str], needed: Sequence[str], whose: str) -> None:
    if missing := [name for name in needed if name not in columns]:
        raise ValueError(f"{whose} have no column {', '.join(missing)}")


def _milliseconds(name: object, least: Any, most: Any) -> None:  # noqa: ANN401 - of the library
    for value in (least, most):
        if value is not None and value == value and int(value) not in _MS:  # noqa: PLR0124 - NaN
            raise ValueError(f"{name}: {value} are no milliseconds since 1970")


def _no_times(name: object) -> ValueError:
    return ValueError(f"{name} must be times with a time zone, or whole milliseconds")
