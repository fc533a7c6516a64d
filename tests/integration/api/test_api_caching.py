"""The same range is the same bytes until a revision; only what cannot change is kept unasked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pytest

from backend.store.gaps import GapLedger
from backend.store.instruments import Instruments
from collectors.gaps import Cause, Gap, GapState
from domain.events import Source
from domain.market import Timeframe, rfc3339, to_ms
from tests.doubles import START
from tests.factories import ETH
from tests.full_market import fill, miss
from tests.seats import weights
from tests.served_market import TICKS, ServedMarket, prediction, signals

HOUR = timedelta(hours=1)
ASK = "private, no-cache"
CLOSED = f"start={rfc3339(START - 12 * HOUR)}&end={rfc3339(START - 2 * HOUR)}"
FINAL = "private, max-age=86400, immutable"


async def get(rest: httpx.AsyncClient, path: str, held: str = "") -> httpx.Response:
    answer = await rest.get(path, headers={"if-none-match": held} if held else {})
    assert answer.status_code in (200, 304), answer.text
    return answer


async def revise(market: ServedMarket, kind: str) -> None:
    """Something of a closed range changes, an hour after the market's last tick."""
    market.clock.advance(HOUR)
    batch, at = market.batches[TICKS - 6], START + HOUR
    if kind == "predictions":
        event: Any = prediction(batch, revision=2, made_at=at, volatility=np.full(3, 0.05))
    elif kind == "signals":
        closed = {"status": "stop_loss", "entry_price": 100.0, "stop": 99.0, "exit_price": 99.0}
        ended = to_ms(START - HOUR)
        event = signals(batch, event="closed", **closed, closed_ms=ended, realized_return=-0.012)
    else:
        event = replace(batch, high=batch.high * 2, volume=batch.volume + 1, known_at=at)
    await market.recorder.commit_tick([event], published_at=at)


async def mend(market: ServedMarket, *, hours_ago: int = 3) -> None:
    """The candle that `miss` took away comes by REST."""
    market.clock.advance(HOUR)
    batch = market.batches[TICKS - hours_ago]
    at = START + HOUR
    (one,) = (n for n, instrument in enumerate(batch.instruments) if instrument == ETH)
    prices = {
        name: getattr(batch, name)[[one]]
        for name in ("open", "high", "low", "close", "volume", "revision")
    }
    later = replace(batch, **prices, instruments=(ETH,), known_at=at, source=Source.REPAIR)
    await market.recorder.commit_tick([later], published_at=at)
    opened = to_ms(START - hours_ago * HOUR)
    filled = Gap(
        instrument=ETH,
        timeframe=Timeframe.H1,
        from_ms=opened,
        to_ms=opened + Timeframe.H1.ms,
        cause=Cause.SILENCE,
        state=GapState.FILLED,
    )
    await GapLedger(market.pool, Instruments(market.pool)).record([filled], at=at)


@pytest.mark.parametrize("kind", ["candles", "predictions", "signals"])
async def test_a_closed_range_is_the_same_bytes_until_a_revision(
    market: ServedMarket, rest: httpx.AsyncClient, kind: str
) -> None:
    path = f"/v1/{kind}?{CLOSED}"
    for how in ("objects", "columns", "csv", "arrow"):
        first = await get(rest, f"{path}&format={how}")
        again = await get(rest, f"{path}&format={how}", first.headers["etag"])

        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert first.headers["cache-control"] == again.headers["cache-control"] == ASK
        assert first.headers["vary"] == "Accept, Authorization"
    before = await get(rest, path)
    market.clock.advance(HOUR)
    await market.tick(TICKS)
    unchanged = await get(rest, path)
    await revise(market, kind)
    after = await get(rest, path, before.headers["etag"])

    assert (unchanged.content, unchanged.headers["etag"]) == (
        before.content,
        before.headers["etag"],
    )
    assert after.status_code == 200
    assert after.headers["etag"] != before.headers["etag"]
    assert after.json()["data"] != before.json()["data"]
    assert after.json()["next"] is None


@pytest.mark.parametrize("kind", ["candles", "predictions", "signals", "features"])
async def test_a_closed_range_says_as_of_when_it_can_be_asked_for_again(
    market: ServedMarket, rest: httpx.AsyncClient, kind: str
) -> None:
    for change in (1, 2):
        if change == 2:
            await miss(market, hours_ago=5)
            await mend(market, hours_ago=5)
        elif kind != "features":
            await revise(market, kind)
        told = (await get(rest, f"/v1/{kind}?{CLOSED}&limit=25")).json()
        market.clock.advance(HOUR)
        at = told["meta"]["as_of"]
        then = (await get(rest, f"/v1/{kind}?{CLOSED}&limit=25&as_of={at}")).json()

        assert then["data"] == told["data"]
        assert {**then["meta"], "watermark": None} == {**told["meta"], "watermark": None}
        assert told["meta"]["watermark"] == rfc3339(START - 2 * HOUR)


async def test_an_entry_counts_as_known_when_its_candle_closes(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    opened = START - 3 * HOUR
    entered = {"status": "active", "entry_price": 100.0}
    batch = signals(market.batches[TICKS - 4], event="updated", **entered)
    await market.recorder.commit_tick([batch], published_at=START)
    path = f"/v1/signals?symbol=ETH/USDT&end={rfc3339(opened + HOUR / 2)}"

    told = (await get(rest, path)).json()

    assert told["data"][0]["status"] == "active"
    assert told["meta"]["as_of"] == rfc3339(opened + HOUR)


async def test_a_gap_that_is_filled_changes_a_closed_range(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await miss(market, hours_ago=5)
    path = f"/v1/predictions?{CLOSED}"
    before = await get(rest, path)
    await mend(market, hours_ago=5)
    after = await get(rest, path, before.headers["etag"])

    assert after.status_code == 200
    assert before.json()["meta"]["coverage"]["gaps"]
    assert after.json()["meta"]["coverage"]["gaps"] == []
    assert after.json()["meta"]["as_of"] == rfc3339(START + HOUR)


async def test_what_was_known_at_a_time_stays_the_same_bytes(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await fill(market)
    market.clock.advance(timedelta(minutes=30))
    at = rfc3339(START)
    paths = [
        f"/v1/{kind}as_of={at}"
        for kind in (
            "candles?", "features?", "predictions?", "predictions?role=member&", "signals?",
            "predictions/latest?", "sentiment?", "gaps?", "scores?", "models?", "labels/mood?",
        )
    ]  # fmt: skip
    before = {path: await get(rest, path) for path in paths}
    market.clock.advance(timedelta(minutes=30))
    await mend(market)
    for kind in ("candles", "predictions"):
        await revise(market, kind)
    await market.tick(TICKS)

    for path, answer in before.items():
        after = await get(rest, path, answer.headers["etag"])
        assert after.status_code == 304, (path, answer.text, after.text)
        watermark = answer.json()["meta"]["watermark"]
        assert watermark is None or watermark <= at, path


async def test_the_watermark_of_a_point_in_time_is_that_of_then(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    early = (await get(rest, f"/v1/candles?as_of={rfc3339(START - 5 * HOUR)}")).json()["meta"]
    told = (await get(rest, f"/v1/predictions?as_of={rfc3339(START - 5 * HOUR)}")).json()["meta"]

    assert early["watermark"] == rfc3339(START - 5 * HOUR)
    assert told["watermark"] == rfc3339(START - 6 * HOUR)  # the next was made 120 ms later
    assert early["coverage"]["expected"] == early["coverage"]["present"]


async def test_only_what_cannot_change_is_kept_unasked(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    then = rfc3339(START - 5 * HOUR)
    ahead = rfc3339(START + 5 * HOUR)
    control = {
        path: (await get(rest, f"/v1/{path}")).headers["cache-control"]
        for path in (
            f"predictions?as_of={then}",
            f"predictions?as_of={then}&format=csv",
            f"predictions?as_of={then}&role=member",
            f"predictions?as_of={ahead}",
            f"predictions?{CLOSED}",
            "predictions",
            f"candles?as_of={then}",
            f"features?as_of={then}",
            f"signals?as_of={then}",
            f"predictions/latest?as_of={then}",
            "status",
            "streams",
        )
    }

    assert {path for path, told in control.items() if told == FINAL} == {
        f"predictions?as_of={then}",
        f"predictions?as_of={then}&format=csv",
    }
    assert {told for told in control.values() if told != FINAL} == {ASK}
    await miss(market, hours_ago=7)
    holed = await get(rest, f"/v1/predictions?as_of={then}")
    assert holed.headers["cache-control"] == ASK


async def test_an_open_range_of_rows_alone_is_held_until_there_are_more(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    path = "/v1/predictions?limit=5000&format=csv"
    first = await get(rest, path)
    market.clock.advance(HOUR)
    same = await get(rest, path, f'"other", W/{first.headers["etag"]}')
    await market.tick(TICKS)
    more = await get(rest, path, first.headers["etag"])

    assert (first.status_code, same.status_code, more.status_code) == (200, 304, 200)


async def test_every_list_has_a_validator(market: ServedMarket, rest: httpx.AsyncClient) -> None:
    await fill(market)
    market.state.weights = weights
    paths = (await rest.get("/openapi.json")).json()["paths"]
    lists = [
        path.replace("{kind}", "mood")
        for path, methods in paths.items()
        if any(one["name"] == "format" for one in methods.get("get", {}).get("parameters", ()))
    ]
    for path in lists:
        first = await get(rest, path)
        again = await get(rest, path, first.headers["etag"])

        assert not first.headers["etag"].startswith("W/"), path
        assert (again.status_code, again.content) == (304, b""), path
        assert again.headers["etag"] == first.headers["etag"], path
    assert len(lists) > 20


async def test_a_problem_is_not_kept(rest: httpx.AsyncClient) -> None:
    assert (await rest.get("/v1/candles?limit=0")).headers["cache-control"] == "no-store"
