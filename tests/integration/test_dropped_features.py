"""Feature rows that were dropped stay away, and the kept ones still follow from the candles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from backend.features import Audit, audit_rows
from backend.models import Wanted, reproduce_model
from backend.settings import Settings
from backend.store import feature_retention
from backend.store.feature_retention import Features, kept_since
from backend.wiring import Store, open_store
from domain.errors import UsageError
from domain.events import Candle
from domain.market import EPOCH
from services.features.feature_set import OHLCV
from tests.doubles import START
from tests.factories import candles
from tests.integration.test_store_registry import SEAT
from tests.integration.test_store_registry import version as registered
from tests.panel_life import H1, HISTORY, HORIZON, Life, version

HOURS = 5
LAST = START + (HISTORY + HOURS) * H1.duration
ROWS = "SELECT t::text FROM ml_features_ohlcv t WHERE as_of >= $1 ORDER BY 1"
KEPT = START + timedelta(days=2)  # 60 hours of history are before the first live close


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
async def whole(store: Store) -> Life:
    """A panel with history and live closes."""
    life = Life(store, "simulated")
    await life.begin()
    for hour in range(HOURS):
        life.clock.advance(LAST - (HOURS - 1 - hour) * H1.duration - life.clock.now())
        await life.take([version(walk[hour], right=True) for walk in walks(life)])
    return life


@pytest.fixture
async def life(whole: Life) -> Life:
    """The rows of its first two days were dropped."""
    await drop(whole)
    return whole


async def drop(life: Life) -> None:
    async with life.store.writers.acquire() as connection:
        while await Features("simulated", H1, OHLCV.id).drop(connection, KEPT):
            pass


def walks(life: Life) -> list[list[Candle]]:
    return [
        candles(HISTORY + HOURS + 1, seed=seed + 100, instrument=one)[HISTORY:]
        for seed, one in enumerate(life.instruments)
    ]


async def oldest(life: Life) -> datetime:
    moment: datetime = await life.store.readers.fetchval("SELECT min(as_of) FROM ml_features_ohlcv")
    return moment


async def audit(life: Life) -> Audit:
    async with life.store.readers.acquire() as connection:
        return await audit_rows(connection, count=1_000, seed=7, since=EPOCH)


async def rows_of(life: Life) -> list[str]:
    return [str(row) for row in await life.store.readers.fetch(ROWS, KEPT)]


async def test_rows_before_are_gone_and_the_others_are_what_they_were(whole: Life) -> None:
    kept, life = await rows_of(whole), whole
    await drop(whole)

    assert await oldest(life) == KEPT
    assert await rows_of(life) == kept
    assert await kept_since(life.store.readers, "simulated", "1h") == KEPT
    found = await audit(life)
    assert (found.rows, found.left_out, found.differences) == (len(kept), 0, ())


@pytest.mark.parametrize("snapshot", [True, False])
async def test_a_start_makes_none_of_them_again(life: Life, *, snapshot: bool) -> None:
    if not snapshot:
        await life.store.writers.execute("DELETE FROM state_snapshots")
    before = await rows_of(life)

    await life.start()

    assert await rows_of(life) == before
    assert await oldest(life) == KEPT
    assert not life.revisions.due


async def test_a_correction_from_before_revises_what_is_kept_and_no_more(life: Life) -> None:
    past = candles(HISTORY, seed=0, instrument=life.instruments[0])[20]
    life.clock.advance(timedelta(minutes=1))
    right = replace(past, close=past.high, confirmed=True, event_ms=9)
    await life.take([right])
    await life.revisions.settle()

    found = await audit(life)

    assert await oldest(life) == KEPT
    assert found.differences == ()
    assert found.rows + found.left_out == await life.store.readers.fetchval(
        "SELECT count(*) FROM ml_features_ohlcv"
    )
    assert found.left_out > 0  # what was superseded


async def test_a_training_looks_at_rows_that_are_there(life: Life) -> None:
    examples = await life.store.history.examples(
        "simulated", H1, HORIZON, feature_set=OHLCV.id, until=LAST, rows=30
    )
    everything = await life.store.history.examples(
        "simulated", H1, HORIZON, feature_set=OHLCV.id, until=LAST, rows=1_000
    )

    assert len(everything.as_of_ms) == 3 * (HISTORY + HOURS - HORIZON - 47)
    assert 20 <= len(examples.as_of_ms) <= 40


async def test_a_model_of_rows_that_are_gone_is_not_said_to_come_out_otherwise(
    life: Life, database_url: str, tmp_path: Path
) -> None:
    place = replace(SEAT, exchange="simulated")
    await life.store.registry.register(registered(seat=place))
    settings = Settings(state=tmp_path, database_url=SecretStr(database_url))

    with pytest.raises(UsageError, match=r"feature rows before 2024-01-03T.* were dropped"):
        await reproduce_model(Wanted.parse(place.name, None, None, None), settings)


async def test_the_system_keeps_days_and_closes(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = Features("simulated", H1, OHLCV.id)
    async with life.store.writers.acquire() as connection:
        assert await panel.before(connection, LAST, days=1) == _day(LAST - 2_000 * H1.duration)
        monkeypatch.setattr(feature_retention, "CLOSES", 3)
        assert await panel.before(connection, LAST, days=1) == _day(LAST - timedelta(days=1))
        assert await panel.before(connection, LAST + timedelta(days=9), days=1) == _day(
            LAST - timedelta(days=1)
        )


def _day(moment: datetime) -> datetime:
    return START + (moment - START) // timedelta(days=1) * timedelta(days=1)
