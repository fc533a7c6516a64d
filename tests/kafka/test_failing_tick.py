"""A tick that nobody can take in stops its panel for as long as it is tried, and no other panel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.bus.dead import dead_letters
from backend.runner import Runner
from backend.wiring import open_store
from domain.events import CandleBatch
from tests.doubles import START
from tests.integration.test_worker import H1, HISTORY, SERVED, Workers, until
from tests.kafka.buses import bus_on

pytestmark = pytest.mark.kafka

WRONG = START + (HISTORY + 1) * H1.duration


async def test_other_panels_go_on_and_its_own_does_behind_it(
    kafka: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, tries = Runner.on_candles, list[object]()

    async def fail(self: Runner, candles: CandleBatch, **more: Any) -> None:
        if (candles.exchange, candles.as_of) == ("binance", WRONG):
            tries.append(candles)
            raise LookupError("nobody foresaw this")
        await take(self, candles, **more)

    monkeypatch.setattr(Runner, "on_candles", fail)
    workers = Workers(database_url, tmp_path)
    async with open_store(database_url, tmp_path) as store, bus_on(kafka) as bus:
        workers.bus = bus  # type: ignore[assignment]
        await workers.open(store)
        for _ in range(2):
            await workers.tick()

        async def made() -> bool:
            return len(await store.readers.fetch(SERVED, START + HISTORY * H1.duration)) >= 3

        async with workers.process("one") as one:
            await until(made, "both ticks of the one and the second of the other")
            assert not one.task.done()
        rows = await store.readers.fetch(SERVED, START + HISTORY * H1.duration)
        (letter,) = [one async for one in dead_letters(bus.about)]

    answered = [(row["exchange"], row["as_of"]) for row in rows]
    after = WRONG + H1.duration
    assert answered == [("kraken", WRONG), ("binance", after), ("kraken", after)]
    assert len(tries) == 3
    assert (letter.group, letter.reason) == (
        "binance|1h",
        "taking it in failed 3 times: LookupError: nobody foresaw this",
    )
