"""Each fault of an exchange, and what the collector makes of it: the table of docs/faults.md."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import numpy as np
import pytest

from collectors.backfill import Rejected
from collectors.checks import reason
from collectors.collector import Collector
from collectors.gaps import Gap
from collectors.pacing import Pace
from collectors.simulated.faults import FaultKind
from domain.events import Candle
from domain.market import Instrument, Timeframe, to_ms
from tests import virtual_time
from tests.doubles import START
from tests.factories import candles
from tests.house import ROOT, table
from tests.scripted_exchange import ScriptedExchange
from tests.scripted_faults import FAULTS, Fault, More, Script
from tests.soak import Account, complaints
from tests.virtual_time import LoopClock

M1 = Timeframe.M1
NAMES = [Instrument("simulated", f"{base}/USDT") for base in ("BAD", "GOOD")]
STRUCK, MINUTES = 3, 16
START_MS = to_ms(START)
ROWS = table("docs/faults.md", "## What goes wrong, and what is told of it")
TOLD = {fault: told for fault, _, *told, _ in ROWS}  # without a flag, and with one
DIFFERENT = [fault for fault in FAULTS if len(set(TOLD[fault])) > 1]


class Noted(Account):
    """What was told of the struck candle, each word once."""

    def __init__(self) -> None:
        super().__init__(NAMES, START_MS, MINUTES)
        self.words: dict[str, None] = {}

    async def take(self, event: Candle | Gap | Rejected) -> None:
        self.words |= dict.fromkeys(self._of(event))
        await super().take(event)

    def _of(self, event: Candle | Gap | Rejected) -> Iterable[str]:
        at_ms = START_MS + STRUCK * M1.ms
        if isinstance(event, Candle):
            if (event.instrument, event.open_ms) == (NAMES[0], at_ms):
                yield "revised" if at_ms in self.rows(NAMES[0]) else event.source.value
        elif isinstance(event, Gap):
            if event.instrument == NAMES[0] and event.from_ms <= at_ms < event.to_ms:
                yield event.state.value
        else:
            yield "refused"


async def strike(fault: Fault, *, flagged: bool) -> str:
    """`fault` befalls one candle of one instrument; all is right in the end."""
    history = {
        name: candles(MINUTES, seed=seed, instrument=name, timeframe=M1)
        for seed, name in enumerate(NAMES)
    }
    ours, theirs = LoopClock(), LoopClock()
    exchange, account = ScriptedExchange(theirs), Noted()
    exchange.flagged = flagged
    pace = Pace(clock=ours, wall=LoopClock(), random=np.random.default_rng(1))
    collector = Collector(exchange, stored=account, out=account.take, check=reason, pace=pace)
    script = Script(
        exchange,
        ours=ours,
        theirs=theirs,
        watch=collector.watch,
        random=np.random.default_rng(1),
    )
    running = asyncio.create_task(collector.run(NAMES, [M1]))
    await script.play(history, range(MINUTES), {STRUCK: {NAMES[0]: fault}})
    await asyncio.sleep(10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    span = {"since_ms": START_MS, "until_ms": START_MS + MINUTES * M1.ms}
    holes = {STRUCK} if fault is FaultKind.HOLE else set()
    for name, walk in history.items():
        lost = holes if name == NAMES[0] else set()
        had = [one for minute, one in enumerate(walk) if minute not in lost]
        assert complaints(account, name, had, **span) == []
    assert account.wrongs == []
    return ", ".join(account.words)


@pytest.mark.parametrize(
    ("fault", "flagged"),
    [*((fault, False) for fault in FAULTS), *((fault, True) for fault in DIFFERENT)],
)
def test_of_a_struck_candle_is_told_what_the_table_says(fault: Fault, flagged: bool) -> None:  # noqa: FBT001
    assert virtual_time.run(strike(fault, flagged=flagged)) == TOLD[fault][flagged]


def test_the_table_has_every_fault_and_its_tests_exist() -> None:
    assert list(TOLD) == [*FaultKind, *More]
    for *_, tests in ROWS:
        for name in tests.split(", "):
            path, _, function = name.partition("::")
            assert f"def {function}(" in (ROOT / "tests" / path).read_text(), name
