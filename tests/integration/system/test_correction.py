"""An exchange that corrects candles it has told: they are revised, with all that rests on them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.store import database
from tests.account import unaccounted
from tests.processes import System, running_exchange, running_run, until

CORRECTED = "BTC/USDT"
REVISED = "SELECT instrument_id, close_time FROM candles WHERE revision > 1"
# Of each revised candle: what was made with it at its own close, at the end of its horizon too.
NOT_MADE_AGAIN = """
SELECT close_time FROM candles WHERE revision > 1 AND NOT (
    EXISTS (SELECT FROM ml_features_ohlcv AS made
        WHERE made.instrument_id = candles.instrument_id AND made.as_of = close_time
          AND made.revision > 1 AND made.candle_revision = candles.revision)
    AND EXISTS (SELECT FROM ml_labels AS first JOIN ml_labels AS newer
            USING (instrument_id, timeframe, label_set, horizon, as_of)
        WHERE instrument_id = candles.instrument_id
          AND as_of = close_time - horizon * interval '1 minute'
          AND first.revision = 1 AND newer.revision > 1 AND newer.log_return <> first.log_return))
"""
SAID_OF_THEM = """
SELECT served.feature_revision, served.made_at < made.known_at AS before
FROM candles JOIN ml_predictions AS served
    ON served.instrument_id = candles.instrument_id AND served.as_of = close_time
JOIN ml_features_ohlcv AS made
    ON made.instrument_id = candles.instrument_id AND made.as_of = close_time AND made.revision = 2
WHERE candles.revision > 1 AND role = 'champion'
"""
SAID = "SELECT said::text FROM ml_predictions AS said WHERE role = 'champion'"


@pytest.mark.long
def test_a_corrected_candle_is_revised_with_its_features_and_labels_and_nothing_else(
    tmp_path: Path,
) -> None:
    with (
        running_exchange(tmp_path) as exchange,
        running_run(tmp_path, exchange) as system,
    ):
        system.wait_until_ready()
        system.wait_for_ticks(8)
        exchange.fault("revise", instrument=CORRECTED, count=2)  # then told right by the socket
        until(lambda: len(ask(system, REVISED)) == 2, "two revised candles")
        said = set(ask(system, SAID))
        begun = exchange.now().replace(second=0, microsecond=0) + timedelta(minutes=1)
        exchange.wait_until(begun)  # so that both befall one candle
        exchange.fault("mistell", instrument=CORRECTED)  # then told right by REST alone
        exchange.fault("disconnect", instrument=CORRECTED)
        until(lambda: len(ask(system, REVISED)) == 3, "a third one")
        system.wait_for_ticks(6)

        def complained() -> list[str]:
            return [one.partition(":")[0] for one in unaccounted(system, exchange)]

        revised = "candles were revised, and nothing was to be revised"
        until(lambda: complained() == [revised], "an account of all but what is revised")
        assert ask(system, NOT_MADE_AGAIN) == []
        told = ask(system, SAID_OF_THEM)
        assert told == [(1, True)] * 3
        assert said <= set(ask(system, SAID))
        assert system.stop() == 0
    assert "connection lost" in system.errors.read_text()


def ask(system: System, question: str) -> list[tuple[Any, ...]]:
    async def answered() -> list[tuple[Any, ...]]:
        connection = await database.connect(system.database_url())
        try:
            return [tuple(row) for row in await connection.fetch(question)]
        finally:
            await connection.close()

    return asyncio.run(answered())
