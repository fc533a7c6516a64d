"""The gap ledger as users see it: pages and points in time on REST, a stream on the socket."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import httpx
import orjson

from backend.store.gaps import GapLedger
from backend.store.instruments import Instruments
from collectors.gaps import Cause, Gap, GapState
from domain.market import Instrument, Timeframe, rfc3339, to_ms
from tests.doubles import START
from tests.factories import BTC, ETH
from tests.served_market import ServedMarket

HOUR = timedelta(hours=1)


def hole(instrument: Instrument, first: int, last: int, state: GapState) -> Gap:
    """Candles that open `first` up to `last` hours before the end of the recorded ticks."""
    return Gap(
        instrument=instrument,
        timeframe=Timeframe.H1,
        from_ms=to_ms(START - first * HOUR),
        to_ms=to_ms(START - last * HOUR),
        cause=Cause.SILENCE,
        state=state,
    )


async def told(market: ServedMarket, at: datetime, *notices: Gap) -> None:
    """The collectors say this, and the candles are as they say."""
    for notice in notices:
        if notice.state is not GapState.FILLED:
            await market.pool.execute(
                "DELETE FROM candles USING instruments i WHERE candles.instrument_id ="
                " i.instrument_id AND i.symbol = $1 AND open_time >= $2 AND open_time < $3",
                notice.instrument.symbol,
                START + timedelta(milliseconds=notice.from_ms - to_ms(START)),
                START + timedelta(milliseconds=notice.to_ms - to_ms(START)),
            )
    ledger = GapLedger(market.pool, Instruments(market.pool))
    market.state.hub.publish((await ledger.record(notices, at=at)).events)


async def get(rest: httpx.AsyncClient, **parameters: Any) -> dict[str, Any]:
    answer = await rest.get("/v1/gaps", params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def spans(found: dict[str, Any]) -> list[tuple[str, int, int, str]]:
    hours = [
        [(to_ms(START) - to_ms(datetime.fromisoformat(row[edge]))) // 3_600_000 for row in rows]
        for rows in [found["data"]]
        for edge in ("from", "to")
    ]
    names = [(row["symbol"][:3], row["state"]) for row in found["data"]]
    return [
        (name, first, last, state) for (name, state), first, last in zip(names, *hours, strict=True)
    ]


async def test_gaps_are_paged_and_chosen_by_state(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await told(market, START, hole(BTC, 9, 8, GapState.FOUND), hole(ETH, 6, 4, GapState.FOUND))
    await told(market, START, hole(ETH, 9, 8, GapState.FOUND), hole(ETH, 9, 8, GapState.ABSENT))
    whole = await get(rest)
    assert spans(whole) == [
        ("ETH", 6, 4, "open"),
        ("ETH", 9, 8, "unfillable"),
        ("BTC", 9, 8, "open"),
    ]

    paged: list[dict[str, Any]] = []
    following = None
    while not paged or following:
        page = await get(rest, limit=1, **({"cursor": following} if following else {}))
        paged, following = paged + page["data"], page["next"]

    assert paged == whole["data"]
    assert [row["symbol"] for row in (await get(rest, state="open", order="asc"))["data"]] == [
        BTC.symbol,
        ETH.symbol,
    ]
    assert spans(await get(rest, start=rfc3339(START - 5 * HOUR))) == [("ETH", 6, 4, "open")]
    assert spans(await get(rest, symbol=BTC.symbol)) == [("BTC", 9, 8, "open")]


async def test_a_gap_is_told_as_it_was_known(market: ServedMarket, rest: httpx.AsyncClient) -> None:
    await told(market, START - 3 * HOUR, hole(ETH, 5, 4, GapState.FOUND))
    await told(market, START - 2 * HOUR, hole(ETH, 4, 2, GapState.FOUND))
    await market.pool.execute(
        "INSERT INTO candles SELECT instrument_id, '1h', t, t + interval '1 hour', 1, 1, 1, 1, 1,"
        " NULL, NULL, true, 'repair', 1, $2, '' FROM instruments,"
        " unnest($1::timestamptz[]) AS t WHERE symbol = 'ETH/USDT'",
        [START - number * HOUR for number in (5, 4, 3)],
        START - HOUR,
    )
    await told(market, START - HOUR, hole(ETH, 5, 2, GapState.FILLED))

    for hours, known in (
        (4, []),
        (3, [("ETH", 5, 3, "open")]),
        (2, [("ETH", 5, 2, "open")]),
        (1, [("ETH", 5, 2, "filled")]),
    ):
        assert spans(await get(rest, as_of=rfc3339(START - hours * HOUR))) == known, hours
    (row,) = (await get(rest))["data"]
    assert (row["filled_at"], row["cause"]) == (rfc3339(START - HOUR), "silence")
    assert (await get(rest, as_of=rfc3339(START - 2 * HOUR)))["data"][0]["filled_at"] is None


async def test_a_subscriber_of_gaps_begins_with_all_that_are_missing(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await told(market, START, hole(ETH, 6, 4, GapState.FOUND), hole(BTC, 9, 8, GapState.FOUND))

    async with market.connect() as socket:
        await socket.send('{"id": 1, "method": "subscribe", "params": {"streams": ["gaps"]}}')
        frames = [orjson.loads(await socket.recv()) for _ in range(4)]
        _welcome, _reply, snapshot, _live = frames
        await told(market, START, hole(ETH, 6, 4, GapState.ABSENT))
        update = orjson.loads(await socket.recv())

    missing = (await get(rest, order="asc"))["data"]
    assert snapshot["data"] == [{**row, "state": "open"} for row in missing]
    assert snapshot["offset"] == 2
    assert (update["event"], update["offset"]) == ("unfillable", 3)
    assert [update["data"]] == (await get(rest, state="unfillable"))["data"]


async def test_meta_says_how_far_the_candles_reach(rest: httpx.AsyncClient) -> None:
    now = await get(rest)
    then = await get(rest, symbol="BTC/USDT", as_of=rfc3339(START - timedelta(hours=2)))
    none = await get(rest, timeframe="4h")

    assert now["meta"]["watermark"] == rfc3339(START)
    assert then["meta"]["watermark"] == rfc3339(START - timedelta(hours=2))
    assert none["meta"]["watermark"] is None
