"""Over a gap that is open nothing is advised; once it is filled, what rests on it is made again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from backend.store import chain, database
from tests.processes import System, running_exchange, running_run, until

BROKEN, CLOSED = "BTC/USDT", "ETH/USDT"
LISTED = """
SELECT symbol, state FROM ingest_gaps JOIN instruments USING (instrument_id)
WHERE from_time >= '{since}' AND symbol IN ('BTC/USDT', 'ETH/USDT') ORDER BY symbol, from_time
"""
SAID_OVER_IT = """
SELECT as_of, side, gate FROM ml_predictions AS said JOIN instruments USING (instrument_id)
JOIN trading_signals USING (instrument_id, timeframe, horizon, as_of, revision)
WHERE symbol = 'BTC/USDT' AND role = 'champion' AND 'gap' = ANY(string_to_array(degraded, ','))
AND as_of > '{since}' ORDER BY as_of
"""
COVERED = """
SELECT min(coverage) FROM ml_features_ohlcv
WHERE as_of = (SELECT max(as_of) FROM ml_features_ohlcv)
"""
SAID = "SELECT said::text FROM ml_predictions AS said WHERE role = 'champion'"
# What was advised over the gap, or lies in it, whose features were not made again without it.
UNCORRECTED = """
SELECT open_time FROM candles JOIN instruments USING (instrument_id)
WHERE symbol = 'BTC/USDT' AND open_time >= (
    SELECT min(from_time) FROM ingest_gaps JOIN instruments USING (instrument_id)
    WHERE symbol = 'BTC/USDT' AND from_time >= '{since}'
) AND close_time <= '{{upto}}' AND (
    SELECT coverage FROM ml_features_ohlcv AS made
    WHERE made.instrument_id = candles.instrument_id AND made.as_of = close_time
    ORDER BY made.revision DESC LIMIT 1
) IS DISTINCT FROM 1.0
"""
ONCE = """
SELECT as_of FROM ml_predictions AS said JOIN instruments USING (instrument_id)
WHERE symbol = 'BTC/USDT' AND role = 'champion' AND 'gap' = ANY(string_to_array(degraded, ','))
  AND 2 > (SELECT count(*) FROM ml_features_ohlcv AS made
    WHERE made.instrument_id = said.instrument_id AND made.as_of = said.as_of)
"""


@pytest.mark.long
def test_over_an_open_gap_the_signal_is_flat_until_it_is_filled(tmp_path: Path) -> None:
    with (
        running_exchange(tmp_path) as exchange,
        running_run(tmp_path, exchange) as system,
    ):
        system.wait_until_ready()
        until(lambda: ask(system, COVERED) == [(1.0,)], "a whole window behind each close")
        since = exchange.now().replace(second=0, microsecond=0)
        exchange.fault("status_503", instrument=BROKEN, count=1_000_000)
        exchange.fault("stall", instrument=BROKEN, count=2)
        exchange.fault("hole", instrument=CLOSED)
        over_it = SAID_OVER_IT.format(since=since)
        listed, uncorrected = LISTED.format(since=since), UNCORRECTED.format(since=since)
        until(lambda: len(ask(system, over_it)) > 2, "predictions over the gap")
        over = ask(system, over_it)
        said = set(ask(system, SAID))
        assert {side for _, side, _ in over} == {"flat"}
        until(lambda: (BROKEN, "repairing") in ask(system, listed), "that it is asked for")

        exchange.mend()
        until(lambda: settled(ask(system, listed)), "a gap that is filled and one that cannot be")
        ((upto,),) = ask(system, "SELECT max(close_time) FROM candles")
        made = uncorrected.format(upto=upto)  # of later candles some are always under way
        until(lambda: ask(system, made) == [], "features made again")
        until(lambda: ask(system, ONCE) == [], "all that was said over it")
        system.wait_for_ticks(3)
        until(lambda: system.newest() > ask(system, over_it)[-1][0], "predictions over no gap")

        assert said <= set(ask(system, SAID))
        events = "SELECT event FROM stream_events WHERE stream = 'gaps'"
        assert {event for (event,) in ask(system, events)} == {"opened", "filled", "unfillable"}
        assert ask(system, None) == [(None,)]
        assert system.stop() == 0


def settled(listed: list[tuple[Any, ...]]) -> bool:
    ends = {(BROKEN, "filled"), (CLOSED, "unfillable")}
    return ends <= {*listed} and {state for _, state in listed} <= {state for _, state in ends}


def ask(system: System, question: str | None) -> list[tuple[Any, ...]]:
    """The answer of the database; without a question, whether its chains are whole."""

    async def answered() -> list[tuple[Any, ...]]:
        connection = await database.connect(system.database_url())
        try:
            if question is None:
                return [(await chain.verify(connection),)]
            return [tuple(row) for row in await connection.fetch(question)]
        finally:
            await connection.close()

    return asyncio.run(answered())
