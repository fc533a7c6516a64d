"""A prediction is joined to the first candle that opens at or after it was made, or to none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse_client import join_predictions

BEGIN: Final = datetime(2024, 1, 1, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
SYMBOLS: Final = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
HOURS: Final = 12
LIBRARIES: Final = ("pandas", "polars")

either = pytest.mark.parametrize("library", LIBRARIES)


class Candle(NamedTuple):
    symbol: str
    hour: int

    @property
    def opens(self) -> datetime:
        return BEGIN + self.hour * HOUR


class Said(NamedTuple):
    """A prediction, made `delay_ms` behind the close that it is about."""

    symbol: str
    hour: int
    delay_ms: int
    revision: int

    @property
    def as_of(self) -> datetime:
        return BEGIN + self.hour * HOUR

    @property
    def made_at(self) -> datetime:
        return self.as_of + timedelta(milliseconds=self.delay_ms)


symbols = st.sampled_from(SYMBOLS)
hours = st.integers(0, HOURS)
on_the_hour = st.integers(0, 3).map(lambda late: late * 3_600_000)
delays = st.one_of(st.integers(0, 2_000), on_the_hour, st.integers(0, 5 * 3_600_000))
candles = st.lists(st.builds(Candle, symbols, hours), unique=True, max_size=30)
predictions = st.lists(
    st.builds(Said, symbols, hours, delays, st.integers(1, 3)),
    unique_by=lambda one: (one.symbol, one.hour, one.revision),
    max_size=30,
)


def frames(library: str, opened: list[Candle], said: list[Said]) -> tuple[Any, Any]:
    """Both as REST lists them; a candle also has a revision."""
    one: dict[str, Any] = {
        "symbol": [each.symbol for each in opened],
        "open_time": [each.opens for each in opened],
        "revision": [7] * len(opened),
    }
    other: dict[str, Any] = {
        "symbol": [each.symbol for each in said],
        "horizon": [4] * len(said),
        "as_of": [each.as_of for each in said],
        "revision": [each.revision for each in said],
        "made_at": [each.made_at for each in said],
        "number": list(range(len(said))),
    }
    if library == "polars":
        times, texts, numbers = pl.Datetime("ms", "UTC"), pl.String, pl.Int64
        first: dict[str, Any] = {"symbol": texts, "open_time": times, "revision": numbers}
        second: dict[str, Any] = {
            "symbol": texts,
            "horizon": numbers,
            "as_of": times,
            "revision": numbers,
        }
        return (
            pl.DataFrame(one, schema=first),
            pl.DataFrame(other, schema={**second, "made_at": times, "number": numbers}),
        )
    kinds = {"open_time": "datetime64[ms, UTC]"}
    index = range(5, 5 + len(opened))
    candles = pd.DataFrame(one, index=index).astype({"symbol": str, **kinds})
    times_of = {"as_of": "datetime64[ms, UTC]", "made_at": "datetime64[ms, UTC]"}
    return candles, pd.DataFrame(other).astype({"symbol": str, "number": int, **times_of})


def numbers(joined: Any) -> list[int | None]:
    """Which prediction stands at each candle."""
    if isinstance(joined, pl.DataFrame):
        return joined["number"].to_list()
    return [None if pd.isna(one) else int(one) for one in joined["number"]]


@either
@given(opened=candles, said=predictions)
def test_each_prediction_is_at_its_first_candle_or_gave_way_to_a_newer_one(
    library: str, opened: list[Candle], said: list[Said]
) -> None:
    candles, predictions = frames(library, opened, said)

    found = numbers(join_predictions(candles, predictions))

    assert len(found) == len(opened)
    at = {
        number: candle for number, candle in zip(found, opened, strict=True) if number is not None
    }
    assert len(at) == len(found) - found.count(None)  # none stands at two
    for number, one in enumerate(said):
        later = [each for each in opened if each.symbol == one.symbol and each.opens >= one.made_at]
        if not later:
            assert number not in at
            continue
        first = min(later, key=lambda each: each.hour)
        stands = found[opened.index(first)]
        assert stands is not None
        assert (said[stands].as_of, said[stands].revision) >= (one.as_of, one.revision)
        assert at.get(number, first) == first
    assert all(said[number].made_at <= candle.opens for number, candle in at.items())
    assert all(said[number].symbol == candle.symbol for number, candle in at.items())


@either
@given(opened=candles, said=predictions, day=st.integers(0, HOURS))
def test_what_is_made_later_changes_no_earlier_candle(
    library: str, opened: list[Candle], said: list[Said], day: int
) -> None:
    """A join as it was at a time is the beginning of every later one."""
    then = BEGIN + day * HOUR
    by_then = [one for one in said if one.made_at <= then]
    place = {said.index(one): number for number, one in enumerate(by_then)}

    whole = numbers(join_predictions(*frames(library, opened, said)))
    before = numbers(join_predictions(*frames(library, opened, by_then)))

    for candle, now, once in zip(opened, whole, before, strict=True):
        if candle.opens <= then:
            assert once == (None if now is None else place[now])


@either
def test_the_candles_stay_as_they_are(library: str) -> None:
    opened = [Candle("BTC/USDT", 2), Candle("BTC/USDT", 1), Candle("BTC/USDT", 2)]
    candles, predictions = frames(library, opened, [Said("BTC/USDT", 1, 120, 1)])

    joined = join_predictions(candles, predictions)

    assert numbers(joined) == [0, None, 0]  # a row that is there twice
    names = ["horizon", "as_of", "prediction_revision", "made_at", "number"]
    assert list(joined.columns) == [*candles.columns, *names]
    kept = joined[list(candles.columns)]
    assert kept.equals(candles)
    if isinstance(joined, pd.DataFrame):
        assert list(joined.index) == list(candles.index)


@either
def test_one_series_needs_no_name_and_several_do(library: str) -> None:
    """A frame of one pair, as freqtrade has it, does not say whose it is."""
    candles, predictions = frames(
        library,
        [Candle("BTC/USDT", 2)],
        [Said("BTC/USDT", 1, 120, 1), Said("ETH/USDT", 1, 120, 1)],
    )
    bare = candles[["open_time"]]

    with pytest.raises(ValueError, match="more than one symbol: BTC/USDT, ETH/USDT"):
        join_predictions(bare, predictions)
    assert numbers(join_predictions(bare, predictions[:1])) == [0]


@either
@pytest.mark.parametrize("name", ["horizon", "role", "model", "timeframe"])
def test_a_candle_takes_one_prediction(library: str, name: str) -> None:
    candles, predictions = frames(
        library, [Candle("BTC/USDT", 2)], [Said("BTC/USDT", 1, 1, 1), Said("BTC/USDT", 1, 1, 2)]
    )
    if library == "polars":
        two = predictions.with_columns(pl.Series(name, ["a", "b"]))
    else:
        two = predictions.assign(**{name: ["a", "b"]})

    with pytest.raises(ValueError, match=f"more than one {name}: a, b"):
        join_predictions(candles, two)


@either
@pytest.mark.parametrize("delay_ms", [0, 1])
def test_milliseconds_are_times_too(library: str, delay_ms: int) -> None:
    """Recorded candles have `timestamp` in ms; nothing is rounded to a time before it."""
    candles, predictions = frames(
        library, [Candle("BTC/USDT", 2)], [Said("BTC/USDT", 2, delay_ms, 1)]
    )
    opens = int(Candle("BTC/USDT", 2).opens.timestamp() * 1_000)
    recorded = type(candles)({"symbol": ["BTC/USDT"], "timestamp": [opens]})

    joined = join_predictions(recorded, predictions, open_time="timestamp")

    assert numbers(joined) == [None if delay_ms else 0]
    for scale in (0.001, 1_000):
        strange = type(candles)({"symbol": ["BTC/USDT"], "timestamp": [int(opens * scale)]})
        with pytest.raises(ValueError, match="are no milliseconds"):
            join_predictions(strange, predictions, open_time="timestamp")


@either
@pytest.mark.parametrize("late_us", [0, 1])
def test_a_unit_that_is_coarser_hides_no_look_ahead(library: str, late_us: int) -> None:
    """Candles in seconds of another zone, a prediction to the microsecond."""
    candles, predictions = frames(library, [Candle("BTC/USDT", 2)], [Said("BTC/USDT", 2, 0, 1)])
    late = timedelta(microseconds=late_us)
    if library == "pandas":
        candles = candles.astype({"open_time": "datetime64[s, Asia/Tokyo]"})
        made = predictions["made_at"].astype("datetime64[us, UTC]") + late
        predictions = predictions.assign(made_at=made)
    else:
        candles = candles.with_columns(pl.col("open_time").dt.convert_time_zone("Asia/Tokyo"))
        made = pl.col("made_at").dt.cast_time_unit("us") + late
        predictions = predictions.with_columns(made)

    assert numbers(join_predictions(candles, predictions)) == [None if late_us else 0]


@either
def test_what_is_no_time_is_refused(library: str) -> None:
    candles, predictions = frames(library, [Candle("BTC/USDT", 2)], [Said("BTC/USDT", 1, 1, 1)])
    if library == "pandas":
        naive = candles.assign(open_time=candles["open_time"].dt.tz_localize(None))
    else:
        naive = candles.with_columns(pl.col("open_time").dt.replace_time_zone(None))

    with pytest.raises(ValueError, match="open_time must be times with a time zone"):
        join_predictions(naive, predictions)
    with pytest.raises(ValueError, match="the candles have no column date"):
        join_predictions(candles, predictions, open_time="date")
    with pytest.raises(ValueError, match="the predictions have no column as_of, made_at"):
        join_predictions(candles, predictions[["symbol", "revision"]])


def test_frames_of_two_libraries_are_refused() -> None:
    candles, _ = frames("pandas", [Candle("BTC/USDT", 2)], [])
    _, predictions = frames("polars", [], [Said("BTC/USDT", 1, 1, 1)])

    with pytest.raises(TypeError, match="same library"):
        join_predictions(candles, predictions)
    with pytest.raises(TypeError, match="list is no frame"):
        join_predictions([], predictions)  # type: ignore[call-overload]
