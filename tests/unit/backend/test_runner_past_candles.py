"""What the runner does with candles that the panel has answered already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from backend.panel import Panel, PanelKey
from backend.runner import Runner
from domain.events import CandleBatch, FeatureBatch
from domain.market import Timeframe
from services.signals.policy import PolicySettings
from tests.doubles import ManualClock
from tests.factories import BTC, candle_batches


@dataclass
class Ledger:
    """A recorder and an observer that note what they were given."""

    kept: list[object] = field(default_factory=list)
    ticks: list[CandleBatch] = field(default_factory=list)
    past_candles: list[CandleBatch] = field(default_factory=list)

    async def commit_tick(self, events: Sequence[object], **_: Any) -> list[Any]:
        self.kept += events
        return []

    async def commit_learning(self, events: Sequence[object], **_: Any) -> list[Any]:
        return []

    def seated(self, changes: Sequence[object]) -> None:
        assert not changes

    def states(self, as_of: object) -> Sequence[Any]:
        return ()

    def past(self, candles: CandleBatch) -> Sequence[Any]:
        self.past_candles.append(candles)
        return ()

    async def after_tick(self, candles: CandleBatch) -> None:
        self.ticks.append(candles)


async def test_a_revised_candle_is_kept_and_changes_nothing_that_was_said() -> None:
    ledger, clock = Ledger(), ManualClock()
    panel = Panel(
        PanelKey(exchange=BTC.exchange, timeframe=Timeframe.H1),
        [4],
        clock=clock,
        policy=PolicySettings(),
    )
    runner = Runner(
        panel=panel,
        recorder=ledger,
        publish=lambda events: None,
        clock=clock,
        wall=clock,
        observer=ledger,
    )
    first, second, third = candle_batches([BTC], 3)
    revised = replace(first, close=first.close * 1.001, revision=first.revision + 1, late=True)

    for batch in (first, second, revised, third):
        await runner.on_candles(batch)

    candles = [event for event in ledger.kept if isinstance(event, CandleBatch)]
    features = [event for event in ledger.kept if isinstance(event, FeatureBatch)]
    assert candles == [first, second, revised, third]
    assert [row.as_of for row in features] == [first.as_of, second.as_of, third.as_of]
    assert ledger.ticks == [first, second, third]
    assert ledger.past_candles == [revised]
