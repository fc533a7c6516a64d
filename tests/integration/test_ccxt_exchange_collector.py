"""A collector on ccxt's client in wall time while the simulated exchange misbehaves."""

from __future__ import annotations

import asyncio

import pytest

from collectors.simulated.dialect import market_id
from collectors.simulated.faults import Fault, FaultKind
from collectors.simulated.instruments import default_symbols
from collectors.simulated.market import SyntheticMarket
from collectors.simulated.server import Play, SimulatedExchange
from tests.followed import M1, following

SPEED = 240  # four candles a second
OF_CANDLES = (  # each of another instrument
    FaultKind.DROP,
    FaultKind.DUPLICATE,
    FaultKind.REORDER,
    FaultKind.REVISE,
    FaultKind.MISTELL,
    FaultKind.STALL,
    FaultKind.GIBBERISH,
    FaultKind.LAG,
    FaultKind.HOLE,
)
AFTER = {  # how many candles, requests or connections
    FaultKind.DISCONNECT: 5,
    FaultKind.STATUS_429: 6,
    FaultKind.STATUS_503: 9,
    FaultKind.REFUSE: 1,
    FaultKind.CLOSE: 9,
    FaultKind.GARBLE: 12,
    FaultKind.STATUS_418: 15,
    FaultKind.SKEW: 4,
}
USUAL = {*OF_CANDLES[:3], FaultKind.DISCONNECT, FaultKind.STATUS_503}


@pytest.mark.parametrize(
    ("kinds", "minutes"),
    [
        pytest.param(USUAL, 8, id="usual"),
        pytest.param({*OF_CANDLES, *AFTER}, 20, id="every", marks=pytest.mark.long),
    ],
)
async def test_faults_of_every_kind_lose_nothing_and_double_nothing(
    kinds: set[FaultKind], minutes: int
) -> None:
    symbols = default_symbols(len(OF_CANDLES))
    faults = [
        Fault(kind=kind, instrument=market_id(symbol), after=3)
        for kind, symbol in zip(OF_CANDLES, symbols, strict=True)
    ]
    faults += [Fault(kind=kind, after=after) for kind, after in AFTER.items()]
    market = SyntheticMarket(symbols, timeframe=M1)
    async with SimulatedExchange(market, Play(speed=SPEED)) as server:
        for fault in faults:
            if fault.kind in kinds:
                server.faults.add(fault)
        async with following(symbols, server.port, server.clock, room=200) as followed:
            async with asyncio.timeout(60):
                await followed.until(minutes)
            server.faults.end()
            await followed.all_right()

    assert {one.kind for one in server.faults.commands if one.acted} == kinds


def test_every_fault_is_among_those_that_are_played() -> None:
    assert {*OF_CANDLES, *AFTER, FaultKind.LOSE_TRADE} == {*FaultKind}  # that one has its own test
