"""What the charting library's feed answers, in its words; times are epoch seconds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from backend.api.schemas import Row


class Choice(Row):
    """An exchange of the feed."""

    value: str
    name: str
    desc: str


class Kind(Row):
    """A kind of symbol."""

    value: str
    name: str


class Config(Row):
    """What the feed offers."""

    supported_resolutions: list[str]
    supports_search: bool
    supports_group_request: bool
    supports_marks: bool
    supports_timescale_marks: bool
    supports_time: bool
    exchanges: list[Choice]
    symbols_types: list[Kind]


class Mistake(Row):
    """What was wrong with a request; the status is 200, as the feed's clients want it."""

    s: Literal["error"]
    errmsg: str


class Described(Row):
    """A symbol of the feed."""

    name: str
    ticker: str = Field(description="`exchange:symbol`, what bars are asked by")
    full_name: str
    description: str
    type: Literal["crypto"]
    session: str
    timezone: str
    exchange: str
    listed_exchange: str
    currency_code: str
    format: str
    minmov: int = Field(description="the smallest step of a price is `minmov` / `pricescale`")
    pricescale: int
    has_intraday: bool
    intraday_multipliers: list[str]
    has_daily: bool
    supported_resolutions: list[str]
    volume_precision: int
    data_status: str
    expired: bool


class Found(Row):
    """A symbol that a search found."""

    symbol: str
    full_name: str
    ticker: str
    description: str
    exchange: str
    type: Literal["crypto"]


class Bars(Row):
    """Bars, one array a column."""

    s: Literal["ok"]
    t: list[int] = Field(description="open times")
    o: list[float]
    h: list[float]
    l: list[float]  # noqa: E741 - the feed's name
    c: list[float]
    v: list[float]


class NoData(Row):
    """No bar lies there."""

    s: Literal["no_data"]
    nextTime: int | None = Field(  # noqa: N815 - the feed's name
        None, description="open time of the newest bar before; absent where there is none"
    )


class Marks(Row):
    """Marks on bars, one array a column."""

    id: list[str]
    time: list[int]
    color: list[str]
    text: list[str]
    label: list[str]
    labelFontColor: list[str]  # noqa: N815 - the feed's name
    minSize: list[int]  # noqa: N815 - the feed's name


class TimescaleMark(Row):
    """A mark on the time scale."""

    id: str
    time: int
    color: str
    label: str
    tooltip: list[str]
