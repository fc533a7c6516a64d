"""REST: the paper account as it stands, and as it was known to stand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from backend.store import ledger
from domain.account import Terms
from domain.market import rfc3339
from tests.doubles import START
from tests.served_market import TICKS, ServedMarket, signals

ENTERED, LEFT = TICKS - 6, TICKS - 3  # ticks, from 0; the signal is of the one before
HOUR = timedelta(hours=1)


async def lived(market: ServedMarket) -> float:
    """A long signal of ETH is entered at a close and left 10 % higher; the close's price."""
    decided = market.batches[ENTERED - 1]
    price = float(market.batches[ENTERED].close[1])
    entry = {"status": "active", "entry_price": price}
    ended = {
        "status": "take_profit",
        "exit_price": 1.1 * price,
        "realized_return": 0.09,
        "closed_ms": int(market.batches[LEFT].as_of.timestamp() * 1_000),
    }
    for event, state in (("updated", entry), ("closed", {**entry, **ended})):
        await market.recorder.commit_tick(
            [signals(decided, event=event, **state)], published_at=market.clock.now()
        )
    async with market.pool.acquire() as connection:
        await ledger.fold(connection, lambda _: Terms(), closes=1_000)
    return price


async def get(rest: httpx.AsyncClient, **parameters: Any) -> list[dict[str, Any]]:
    answer = await rest.get("/v1/ledger", params=parameters)

    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def test_the_ledger_says_what_was_earned_beside_holding_and_nothing(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    price = await lived(market)

    (account,) = await get(rest)

    quantity = 1_000 / (price * 1.0002)
    assert (account["currency"], account["capital"], account["trades"]) == ("USDT", 10_000.0, 1)
    assert account["realized"] == pytest.approx(quantity * 0.1 * price)
    assert account["slippage"] == pytest.approx(quantity * price * 2e-4 * 2.1)
    assert account["fees"] == pytest.approx(quantity * price * 8e-4 * 2.1, rel=1e-3)
    costs = account["fees"] + account["slippage"]
    assert account["equity"] == pytest.approx(10_000 + account["realized"] - costs)
    assert account["return"] == pytest.approx(account["equity"] / 10_000 - 1)
    assert (account["positions"], account["exposure"], account["risk"]) == ([], 0.0, None)
    assert account["turnover"] == pytest.approx(0.21, rel=1e-2)
    benchmarks = account["benchmarks"]
    assert benchmarks["flat"] == {"equity": 10_000.0, "return": 0.0, "max_drawdown": 0.0}
    first, last = market.batches[0].close, market.batches[TICKS - 1].close
    held = float((last / first).mean()) / 1.001
    assert benchmarks["buy_and_hold"]["return"] == pytest.approx(held - 1, abs=1e-5)


async def test_the_ledger_of_a_moment_knows_nothing_later(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await lived(market)
    entered = market.batches[ENTERED].as_of

    (then,) = await get(rest, as_of=rfc3339(entered))
    (before,) = await get(rest, as_of=rfc3339(entered - HOUR))

    assert then["as_of"] == rfc3339(entered)
    assert [one["symbol"] for one in then["positions"]] == ["ETH/USDT"]
    assert then["realized"] == 0.0
    assert (before["trades"], before["positions"]) == (0, [])
    assert await get(rest, as_of=rfc3339(START - TICKS * HOUR)) == []


async def test_another_exchange_has_no_account_and_a_strange_one_is_named(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await lived(market)

    assert len(await get(rest, exchange="simulated", timeframe="1h")) == 1
    assert await get(rest, timeframe="4h") == []
    strange = await rest.get("/v1/ledger", params={"exchange": "simulatet"})
    assert strange.status_code == 404
    assert "simulated" in strange.json()["detail"]
