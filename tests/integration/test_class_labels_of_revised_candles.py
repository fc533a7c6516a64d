"""Candles that come late or change make class labels anew, each with the next revision."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.store.candles import store_candles
from backend.wiring import open_store
from domain.classes import NOTHING, VOID, Close
from domain.events import Candle, Ints
from domain.market import Instrument
from tests.factories import candles
from tests.panel_life import H1, HISTORY, LIVE, Life, version

TOLD = """
SELECT symbol, as_of, revision, class FROM ml_class_labels JOIN instruments USING (instrument_id)
WHERE exchange = $1 ORDER BY symbol, as_of, revision
"""
SIGNS = """
SELECT DISTINCT ON (symbol, as_of) symbol, as_of,
    CASE WHEN log_return > 0 THEN 'up' WHEN log_return <= 0 THEN 'down' END
FROM ml_labels JOIN instruments USING (instrument_id)
WHERE exchange = $1 AND known_at IS NOT NULL ORDER BY symbol, as_of, revision DESC
"""


@dataclass(frozen=True)
class Sign:
    """Of the log return."""

    name: str = "sign"
    version: int = 1
    classes: tuple[str, ...] = ("down", "up")
    memory: int = 0

    def subjects(self, instruments: tuple[Instrument, ...]) -> tuple[Instrument, ...]:
        return instruments

    def tell(self, close: Close) -> Ints:
        told = np.where(np.isnan(close.log_return), VOID, close.log_return > 0)
        return np.where(close.known, told, NOTHING)


class Signed(Life):
    kinds = (Sign(),)


@pytest.fixture
async def life(database_url: str, tmp_path: Path) -> AsyncIterator[Life]:
    async with open_store(database_url, tmp_path) as store:
        begun = Signed(store, "binance")
        await begun.begin()
        yield begun


def walks(life: Life) -> list[list[Candle]]:
    return [
        candles(HISTORY + LIVE, seed=seed + 100, instrument=one)[HISTORY:]
        for seed, one in enumerate(life.instruments)
    ]


async def lived(life: Life, *, without: Candle | None = None) -> None:
    """Twelve hours of candles, one of them perhaps missing."""
    every = walks(life)
    for hour in range(LIVE):
        life.clock.advance(H1.duration)
        told = [version(walk[hour], right=True) for walk in every]
        await life.take([one for one in told if one != without])
        life.clock.advance(timedelta(seconds=1))


async def followed(life: Life) -> dict[tuple[Any, ...], list[str | None]]:
    """What was told of each close, oldest first; the newest is the sign of the newest label."""
    told: dict[tuple[Any, ...], list[str | None]] = {}
    for symbol, as_of, revision, name in await life.fetch(TOLD):
        told.setdefault((symbol, as_of), []).append(name)
        assert len(told[symbol, as_of]) == revision
    newest = {(symbol, as_of): sign for symbol, as_of, sign in await life.fetch(SIGNS)}
    assert {key: names[-1] for key, names in told.items()} == newest
    assert await life.store.readers.fetch("SELECT payload::text FROM quarantine") == []
    return told


async def test_a_candle_that_comes_later_fills_what_was_void(life: Life) -> None:
    missing = version(walks(life)[1][4], right=True)
    await lived(life, without=missing)
    void = [names for names in (await followed(life)).values() if names == [None]]

    await life.take([missing])
    await life.end()
    told = await followed(life)

    assert len(void) == 3
    assert [names[0] for names in told.values() if len(names) == 2] == [None] * 3


async def test_a_candle_that_changes_turns_a_sign(life: Life) -> None:
    await lived(life)
    before = await followed(life)
    candle = version(walks(life)[0][6], right=True)
    jump = 1.5 * candle.high
    changed = replace(candle, close=jump, high=jump, event_ms=3)

    await life.take([changed])
    await life.end()
    told = await followed(life)

    again = [key for key, names in told.items() if len(names) == 2]
    assert again
    assert all(told[key][0] == before[key][0] != told[key][1] for key in again)


async def test_what_was_filled_while_nothing_ran_is_told_at_the_start(life: Life) -> None:
    missing = version(walks(life)[2][5], right=True)
    await lived(life, without=missing)

    life.told.append(missing)
    await store_candles(
        life.store.writers, life.store.instruments, [missing], known_at=life.clock.now()
    )
    await life.start()
    await life.end()
    told = await followed(life)

    assert sum(names[0] is None and names[-1] is not None for names in told.values()) == 3
