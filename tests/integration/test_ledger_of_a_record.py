"""The paper account is what the record makes it: in one go or close by close, live or replayed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backend import damaged
from backend.clock import VirtualClock
from backend.panel import Panel, PanelKey
from backend.store import ledger, retention
from backend.store.accounts import read_accounts
from backend.store.candles import store_candles
from backend.store.published import compare
from backend.wiring import Store, open_store
from domain.account import Terms
from domain.codec import unpack
from domain.events import Source
from domain.market import from_ms
from services.ledger.ledger import Ledger
from services.signals.policy import PolicySettings
from tests.integration.test_signals_after_a_kill import (
    BACK,
    END,
    H1,
    HISTORY,
    HORIZON,
    KILLED,
    NAMES,
    SIGNALS,
    Bold,
    Life,
    close,
    rows_of,
)

MARKS = "SELECT * FROM ledger_marks WHERE exchange = $1 ORDER BY at"
DOWN = KILLED + 2  # ticks that were answered when it went down
TERMS = Terms(capital=5_000.0)


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as opened:
        yield opened


async def fold(store: Store, closes: int = 1_000, terms: Terms = TERMS) -> int:
    made = 0
    async with store.writers.acquire() as connection:
        while more := await ledger.fold(connection, lambda _: terms, closes=closes):
            made += more
    return made


async def marks(life: Life) -> list[tuple[Any, ...]]:
    """But for the name of the exchange."""
    return [row[1:] for row in await life.fetch(MARKS)]


async def anew(life: Life, terms: Terms = TERMS) -> list[tuple[Any, ...]]:
    """What the whole record makes in one go, on other terms first."""
    halved = replace(terms, capital=terms.capital / 2)
    await fold(life.store, terms=halved)
    assert {row["capital"] for row in await life.store.readers.fetch(MARKS, life.exchange)} == {
        halved.capital
    }
    await fold(life.store, terms=terms)
    return await marks(life)


async def replayed(store: Store, exchange: str) -> Life:
    """The same hours as a replay writes them: no cross-sections, many ticks to a commit."""
    life, clock = Life(store, exchange), VirtualClock(from_ms(0))
    policy = PolicySettings(cost_bps=0.0)
    panel = Panel(PanelKey(exchange=exchange, timeframe=H1), [HORIZON], clock=clock, policy=policy)
    panel.rooms[HORIZON].policy = Bold(horizon=HORIZON, settings=policy)
    events: list[object] = []
    for batch in life.walk:
        clock.set(max(batch.as_of, close(HISTORY)))
        hot, _ = panel.hot.run(batch)
        cold, _ = panel.cold.run(batch, *hot)
        events += [batch, *hot, *cold]
    await store.recorder.commit_tick(events, published_at=clock.now())
    return life


@pytest.mark.long
async def test_a_killed_systems_account_is_that_of_a_replay_of_the_same_hours(store: Store) -> None:
    killed = Life(store, "killed")
    await killed.begin()
    for tick in range(HISTORY, KILLED - 1, 3):
        await killed.live(tick, min(tick + 3, KILLED - 1))
        await fold(store, closes=2)
    await killed.torn(KILLED)
    await fold(store)
    await killed.start()
    await killed.live(KILLED, END)
    replay = await replayed(store, "replayed")
    await fold(store, closes=5)

    found = await marks(killed)
    assert await killed.fetch(SIGNALS) == await replay.fetch(SIGNALS)
    assert found == await marks(replay)
    assert [row[1] for row in found] == [close(tick) for tick in range(HISTORY, END + 1)]
    assert found == await anew(killed)
    last = dict((await store.readers.fetch(MARKS, "killed"))[-1])
    assert last["trades"] > len(NAMES) * (END - HISTORY - HORIZON)
    assert last["fees"] > 0
    assert last["equity"] != last["capital"] == TERMS.capital
    gained = last["capital"] + last["realized"] + last["unrealized"]
    costs = last["fees"] + last["slippage"] + last["funding"]
    assert last["equity"] == pytest.approx(gained - costs, abs=1e-9)


async def test_an_account_begins_where_it_did_whatever_events_are_no_longer_kept(
    store: Store,
) -> None:
    life = Life(store, "dropped")
    await life.begin()
    await life.live(HISTORY, KILLED)
    await fold(store)
    before = await marks(life)
    async with store.writers.acquire() as connection:
        for extent in await retention.extents(connection, ()):
            await retention.drop_events(connection, extent, before=close(KILLED - 2))

    assert len(before) > 2
    assert await anew(life) == before


@pytest.mark.parametrize(
    ("log", "as_of"),
    [
        ("predictions", "infinity"),
        ("predictions", "20000-01-01"),
        ("predictions", "2031-01-01"),
        ("signals", "-infinity"),
        ("signals", "0044-03-15 BC"),
    ],
)
async def test_an_edited_close_is_named_and_stops_no_account(
    store: Store, log: str, as_of: str
) -> None:
    life, other = Life(store, "edited"), Life(store, "other")
    for one in (life, other):
        await one.begin()
        await one.live(HISTORY, KILLED)
    await fold(store)
    before = [await marks(one) for one in (life, other)]
    name = f"{log}.1h.edited"
    block = "SELECT block - 1 FROM stream_heads WHERE log = $1"
    number, old = await store.writers.fetchrow(
        f"SELECT block, as_of FROM stream_blocks WHERE log = $1 AND block = ({block})",  # noqa: S608 - ours
        name,
    )
    at = "UPDATE stream_blocks SET as_of = {} WHERE log = $1 AND block = $2"
    await store.writers.execute(at.format(f"'{as_of}'::timestamptz"), name, number)

    made = [await anew(one) for one in (life, other)]
    (trouble,) = damaged.troubles()
    await store.writers.execute(f"{at.format('$3')}", name, number, old)
    await fold(store)

    assert made == before
    assert trouble.reason.startswith(f"the log {name}: block {number} says it is of ")
    assert damaged.troubles() == []


async def test_an_end_that_was_told_too_late_for_its_close_is_an_end(store: Store) -> None:
    life = Life(store, "late")
    await life.begin()
    await life.live(HISTORY, KILLED)
    async with store.writers.acquire() as connection:
        await ledger.fold(connection, lambda _: TERMS, closes=KILLED - 1 - HISTORY)
    held = await running(store)
    await store.writers.execute(
        "UPDATE trading_signals SET status = 'stop_loss', closed_at = $1,"
        " exit_price = entry_price, realized_return = 0 WHERE status = 'active' AND as_of < $1",
        close(KILLED - 3),
    )
    await fold(store)

    assert {moment for moment in held if moment < close(KILLED - 3)}
    assert {moment for moment in await running(store) if moment < close(KILLED - 3)} == set()


async def running(store: Store) -> set[datetime]:
    """When the signals were decided that the account holds."""
    kept = await store.readers.fetchval(
        "SELECT payload FROM state_snapshots WHERE room = 'ledger' ORDER BY as_of DESC LIMIT 1"
    )
    of_life = Ledger("late", H1, TERMS)
    of_life.restore(bytes.fromhex(unpack(kept)["ledger"]))
    return set(of_life.running.values())


async def test_the_account_is_answered_as_it_was_known_whatever_came_later(store: Store) -> None:
    life = Life(store, "asked")
    await life.begin()
    await life.live(HISTORY, KILLED - 1)
    await life.torn(KILLED)
    await fold(store)
    then = await answered(store)
    await life.start()
    await life.live(KILLED, DOWN)
    await life.collect(DOWN, BACK)
    # What came while the system was down is not answered yet.
    assert (await fold(store), await fold(store)) == (DOWN - KILLED, 0)
    await life.start()
    assert await fold(store) == BACK - DOWN
    await corrected(life, KILLED - 1)
    await life.live(BACK, BACK + 1)
    await fold(store)

    assert await answered(store, close(KILLED)) == then
    assert await answered(store, close(KILLED) + timedelta(minutes=59)) == then
    assert await answered(store, close(HISTORY - 1)) == []
    (before,), (now,) = then, await answered(store)
    assert (before["as_of"], now["as_of"]) == (close(KILLED), close(BACK + 1))
    held = {one["symbol"]: one["share"] for one in before["positions"]}
    assert sum(map(abs, held.values())) == pytest.approx(before["exposure"])
    assert before["risk"]["symbols"] == list(held)
    assert 0 < before["risk"]["value_at_risk"] < before["risk"]["expected_shortfall"] < 0.1
    # A candle that was corrected afterwards counts as it was known at its close.
    found = await marks(life)
    assert [row[1] for row in found] == [close(tick) for tick in range(HISTORY, BACK + 2)]
    assert found == await anew(life)
    async with store.readers.acquire() as connection:
        assert not await compare(connection)


async def corrected(life: Life, tick: int) -> None:
    """Another close of a tick, which REST confirms afterwards."""
    told = [
        replace(one, close=1.2 * one.close, high=2 * one.high)
        for one in rows_of(life.walk[tick - 1])
    ]
    now = life.clock.now()
    told = [replace(one, source=Source.REPAIR) for one in told]
    await store_candles(life.store.writers, life.store.instruments, told, known_at=now)


async def answered(store: Store, at: datetime | None = None) -> list[dict[str, Any]]:
    async with store.readers.acquire() as connection:
        return await read_accounts(connection, at)
