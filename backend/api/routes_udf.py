"""The Universal Data Feed of TradingView's charting library, over what is stored.

Times are epoch seconds; a bar is named by its open time. What is wrong is said in the feed's own
words, `{"s": "error", "errmsg": …}` with status 200: its clients read no other.
https://www.tradingview.com/charting-library-docs/latest/connecting_data/UDF
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

import asyncpg
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse

from backend.api import rows
from backend.api import schemas_udf as feed
from backend.api.answers import reading, state_of
from backend.api.callers import Caller, caller_of
from backend.api.described import described
from backend.api.parameters import SymbolSearch
from backend.api.state import ApiState
from backend.api.values import LATEST
from backend.api.visible import whole_exchanges
from backend.store import charted
from backend.store.tables import instruments, named
from domain.errors import UnknownSymbolError, UnknownTimeframeError, UsageError, shortened
from domain.market import Instrument, Timeframe, from_ms
from domain.sources import MARKET

router = APIRouter(prefix="/udf", tags=["charting"])

RESOLUTIONS: Final = {
    "1": Timeframe.M1,
    "3": Timeframe.M3,
    "5": Timeframe.M5,
    "15": Timeframe.M15,
    "30": Timeframe.M30,
    "60": Timeframe.H1,
    "240": Timeframe.H4,
    "1D": Timeframe.D1,
}
ALIASES: Final = {"D": "1D"}
DECIMALS: Final = 8  # of prices and volumes whose steps the exchange does not tell
MARKS_A_BAR: Final = 10  # the library shows no more
COLORS: Final = {"long": "green", "short": "red"}
_LATEST_S: Final = int(LATEST.timestamp())

From = Annotated[
    int, Query(alias="from", ge=0, le=_LATEST_S, description="first time, in epoch seconds")
]
To = Annotated[int, Query(ge=0, le=_LATEST_S, description="end of time, exclusive")]
Symbol = Annotated[str, Query(min_length=1, max_length=129, description="`binance:BTC/USDT`")]
Resolution = Annotated[str, Query(min_length=1, max_length=8, description="1 … 240, 1D")]


@router.get("/config", responses=described(feed.Config))
async def config(request: Request) -> Response:
    """What the feed offers."""
    state, caller = state_of(request), caller_of(request)
    exchanges = sorted({each.exchange for each in state.status.instruments if caller.sees(each)})
    return _json(
        {
            "supported_resolutions": _resolutions(state),
            "supports_search": True,
            "supports_group_request": False,
            "supports_marks": True,
            "supports_timescale_marks": True,
            "supports_time": True,
            "exchanges": [{"value": "", "name": "All exchanges", "desc": ""}]
            + [{"value": one, "name": one, "desc": one} for one in exchanges],
            "symbols_types": [{"name": "crypto", "value": "crypto"}],
        }
    )


@router.get("/time", response_class=PlainTextResponse)
async def time(request: Request) -> PlainTextResponse:
    """The market's time."""
    return PlainTextResponse(str(int(state_of(request).clock.now().timestamp())))


@router.get("/symbols", responses=described(feed.Described | feed.Mistake))
async def symbols(request: Request, symbol: Symbol) -> Response:
    """One instrument, `exchange:symbol`, or a symbol that one exchange has."""
    state, caller = state_of(request), caller_of(request)
    async with reading(state) as connection:
        try:
            row = await _instrument(connection, caller, symbol)
        except UsageError as error:
            return _mistake(error)
    return _json(_described(state, row))


@router.get("/search", responses=described(list[feed.Found]))
async def search(request: Request, asked: Annotated[SymbolSearch, Query()]) -> Response:
    """Instruments whose name holds the text."""
    caller, wanted = caller_of(request), asked.query.upper()
    async with reading(state_of(request)) as connection:
        found = [
            row
            for row in await _instruments(connection, caller)
            if asked.exchange in ("", row["exchange"])
            and wanted in f"{row['exchange']}:{row['symbol']}".upper()
        ]
    return _json(
        [
            {
                "symbol": row["symbol"],
                "full_name": f"{row['exchange']}:{row['symbol']}",
                "ticker": f"{row['exchange']}:{row['symbol']}",
                "description": row["symbol"],
                "exchange": row["exchange"],
                "type": "crypto",
            }
            for row in found[: asked.limit]
        ]
    )


@router.get("/history", responses=described(feed.Bars | feed.NoData | feed.Mistake))
async def history(
    request: Request,
    symbol: Symbol,
    resolution: Resolution,
    start: From,
    to: To,
    countback: Annotated[
        int | None,
        Query(ge=1, le=charted.MOST_BARS, description="so many bars before `to`, whatever `from`"),
    ] = None,
) -> Response:
    """Bars that open before `to`: the last `countback`, or without it those from `from` on.

    `no_data` has the `nextTime` of the newest bar before, where there is one.
    """
    async with reading(state_of(request)) as connection:
        try:
            row = await _instrument(connection, caller_of(request), symbol)
            timeframe = _timeframe(resolution)
        except UsageError as error:
            return _mistake(error)
        place, end = (row["instrument_id"], timeframe.value), _at(to)
        if countback is not None:
            found = await charted.bars_before(connection, *place, end, countback)
        else:
            found = await charted.bars_between(connection, *place, _at(start), end)
        if found:
            return _json(_bars(found))
        before = await charted.newest_before(connection, *place, _at(min(start, to)))
    if before is None:
        return _json({"s": "no_data"})
    return _json({"s": "no_data", "nextTime": int(before.timestamp())})


@router.get("/marks", responses=described(feed.Marks | feed.Mistake))
async def marks(
    request: Request,
    symbol: Symbol,
    resolution: Resolution,
    start: From,
    to: To,
) -> Response:
    """Signals with a side, on the bar whose close they were made at; what became of them."""
    async with reading(state_of(request)) as connection:
        try:
            row = await _instrument(connection, caller_of(request), symbol)
            timeframe = _timeframe(resolution)
        except UsageError as error:
            return _mistake(error)
        one = timeframe.duration
        found = await charted.signals_between(
            connection, row["instrument_id"], timeframe.value, _at(start), _at(to) + one
        )
    return _json(_marks(found, one))


@router.get("/timescale_marks", responses=described(list[feed.TimescaleMark] | feed.Mistake))
async def timescale_marks(
    request: Request,
    symbol: Symbol,
    resolution: Resolution,
    start: From,
    to: To,
) -> Response:
    """What was decided about the models of the instrument's exchange, in words."""
    caller = caller_of(request)
    async with reading(state_of(request)) as connection:
        try:
            row = await _instrument(connection, caller, symbol)
            timeframe = _timeframe(resolution)
        except UsageError as error:
            return _mistake(error)
        if row["exchange"] not in await whole_exchanges(connection, caller):
            return _json([])
        found = await charted.decisions_between(
            connection, row["exchange"], timeframe.value, _at(start), _at(to)
        )
    return _json(
        [
            {
                "id": str(one["id"]),
                "time": int(one["decided_at"].timestamp()),
                "color": "blue",
                "label": one["verdict"][:1].upper(),
                "tooltip": [
                    f"{one['name']} ×{one['horizon']}: {one['verdict']}",
                    *([one["words"]] if one["words"] else []),
                ],
            }
            for one in found
        ]
    )


async def _instruments(connection: asyncpg.Connection, caller: Caller) -> list[asyncpg.Record]:
    found = await connection.fetch(
        f"SELECT {named(instruments)} FROM instruments WHERE exchange <> $1"  # noqa: S608 - ours
        " ORDER BY exchange, symbol",
        MARKET.exchange,
    )
    return [row for row in found if caller.sees(Instrument(row["exchange"], row["symbol"]))]


async def _instrument(connection: asyncpg.Connection, caller: Caller, text: str) -> asyncpg.Record:
    """The one that is named.

    Raises:
        UnknownSymbolError: none is, or several are.
    """
    known = await _instruments(connection, caller)
    full = {f"{row['exchange']}:{row['symbol']}": row for row in known}
    named = [row for row in known if row["symbol"] == text]
    if text in full:
        return full[text]
    if len(named) == 1:
        return named[0]
    raise UnknownSymbolError(text, full)


def _timeframe(resolution: str) -> Timeframe:
    found = RESOLUTIONS.get(ALIASES.get(resolution, resolution))
    if found is None:
        raise UnknownTimeframeError(shortened(resolution), RESOLUTIONS)
    return found


def _described(state: ApiState, row: asyncpg.Record) -> dict[str, Any]:
    offered = _resolutions(state)
    minmov, pricescale = _scale(row["tick_size"])
    full = f"{row['exchange']}:{row['symbol']}"
    return {
        "name": row["symbol"],
        "ticker": full,
        "full_name": full,
        "description": full,
        "type": "crypto",
        "session": "24x7",
        "timezone": "Etc/UTC",
        "exchange": row["exchange"],
        "listed_exchange": row["exchange"],
        "currency_code": row["quote"],
        "format": "price",
        "minmov": minmov,
        "pricescale": pricescale,
        "has_intraday": offered != ["1D"],
        "intraday_multipliers": [one for one in offered if one != "1D"],
        "has_daily": "1D" in offered,
        "supported_resolutions": offered,
        "volume_precision": _decimals(row["lot_size"]),
        "data_status": "streaming",
        "expired": row["watched_until"] is not None,
    }


def _scale(tick: float | None) -> tuple[int, int]:
    """`minmov` and `pricescale`: the smallest step of a price is one by the other.

    >>> _scale(0.01), _scale(0.5), _scale(5.0), _scale(1e-05)
    ((1, 100), (5, 10), (5, 1), (1, 100000))
    """
    if not tick:
        return 1, 10**DECIMALS
    places = _decimals(tick)
    return int(Decimal(repr(tick)).scaleb(places)), 10**places


def _decimals(step: float | None) -> int:
    if not step:
        return DECIMALS
    exponent = Decimal(repr(step)).normalize().as_tuple().exponent
    return max(0, -int(exponent))


def _resolutions(state: ApiState) -> list[str]:
    return [name for name, one in RESOLUTIONS.items() if one in state.status.timeframes]


def _bars(found: Sequence[asyncpg.Record]) -> dict[str, Any]:
    return {
        "s": "ok",
        "t": [int(row["open_time"].timestamp()) for row in found],
        **{
            letter: [row[name] for row in found]
            for letter, name in zip(
                "ohlcv", ("open", "high", "low", "close", "volume"), strict=True
            )
        },
    }


def _marks(found: Sequence[asyncpg.Record], one: timedelta) -> dict[str, Any]:
    on_bar: dict[datetime, int] = {}
    shown = []
    for row in found:
        on_bar[row["as_of"]] = on_bar.get(row["as_of"], 0) + 1
        if on_bar[row["as_of"]] <= MARKS_A_BAR:
            shown.append(row)
    return {
        "id": [f"{row['as_of']:%Y%m%dT%H%M}.{row['horizon']}.{row['revision']}" for row in shown],
        "time": [int((row["as_of"] - one).timestamp()) for row in shown],
        "color": [COLORS[row["side"]] for row in shown],
        "text": [_told(row) for row in shown],
        "label": [row["side"][0].upper() for row in shown],
        "labelFontColor": ["white"] * len(shown),
        "minSize": [14] * len(shown),
    }


def _told(row: asyncpg.Record) -> str:
    said = f"{row['side']} ×{row['horizon']}, strength {row['strength']:.2f}: {row['status']}"
    earned = row["realized_return"]
    return said if earned is None else f"{said}, {100 * earned:+.2f} %"


def _at(seconds: int) -> datetime:
    return from_ms(1_000 * seconds)


def _json(value: Any) -> Response:  # noqa: ANN401 - any JSON value
    return Response(rows.dumps(value), media_type="application/json")


def _mistake(error: UsageError) -> Response:
    return _json({"s": "error", "errmsg": str(error)})
