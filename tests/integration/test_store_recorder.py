"""One tick, one transaction: what it stores, what it tells, and what a repetition changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import numpy as np
import orjson
import pytest

from backend.store import database
from backend.store.chain import verify
from backend.store.instruments import Instruments
from backend.store.recorder import CrossSection, Recorder
from backend.store.snapshots import Snapshot, load
from domain.errors import StoreUnavailableError
from domain.events import (
    Candle,
    ModelEvent,
    Origin,
    Role,
    Skill,
    Source,
    Target,
)
from domain.market import Timeframe, from_ms, to_ms
from domain.trades import MadeOf
from tests.factories import candle
from tests.integration.store_samples import (
    INSTRUMENTS,
    at,
    candles,
    features,
    labels,
    outcomes,
    predictions,
    signal,
    signals,
)

TABLES = (
    "candles",
    "ml_features_ohlcv",
    "ml_predictions",
    "trading_signals",
    "stream_events",
)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await database.connect_pool(database_url, size=2)
    yield pool
    await pool.close()


@pytest.fixture
def recorder(pool: asyncpg.Pool) -> Recorder:
    return Recorder(pool, Instruments(pool))


def tick(number: int) -> list[object]:
    return [candles(number), features(number), predictions(number), signals(number)]


def published(number: int) -> dict[str, Any]:
    return {"published_at": at(number) + timedelta(milliseconds=120)}


async def contents(pool: asyncpg.Pool) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    others = ("candle_revisions", "ml_labels", "ml_prediction_outcomes", "stream_heads")
    for table in (*TABLES, *others, "quarantine"):
        rows = await pool.fetch(f"SELECT * FROM {table}")  # noqa: S608 - names above
        found[table] = sorted((tuple(row.values()) for row in rows), key=repr)
    return found


async def count(pool: asyncpg.Pool, table: str) -> int:
    number: int = await pool.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - names above
    return number


async def test_a_tick_is_stored_and_told_whole(pool: asyncpg.Pool, recorder: Recorder) -> None:
    events = await recorder.commit_tick(tick(1), **published(1))

    assert [await count(pool, table) for table in TABLES] == [3, 3, 3, 3, 9]
    assert [event.stream for event in events[::3]] == [
        "candles.1h.binance.ADA/USDT",
        "predictions.1h.binance.ADA/USDT",
        "signals.1h.binance.ADA/USDT",
    ]
    assert {event.offset for event in events} == {1}
    assert orjson.loads(events[0].payload) == {
        "exchange": "binance",
        "symbol": "ADA/USDT",
        "timeframe": "1h",
        "open_time": "2024-01-01T00:00:00.000Z",
        "close_time": "2024-01-01T01:00:00.000Z",
        "open": 100.0,
        "high": 103.0,
        "low": 99.0,
        "close": 101.5,
        "volume": 1.5,
        "revision": 1,
        "source": "live",
        "known_at": "2024-01-01T01:00:00.080Z",
    }
    row = await pool.fetchrow("SELECT * FROM ml_features_ohlcv ORDER BY instrument_id LIMIT 1")
    assert row["values"] == [0.25, None, 0.0]
    assert row["coverage"] == 0.5


async def test_payloads_have_the_fields_of_the_interface(recorder: Recorder) -> None:
    events = await recorder.commit_tick(tick(1), **published(1))

    prediction, opened = orjson.loads(events[4].payload), events[7]
    assert " ".join(prediction) == (
        "exchange symbol timeframe horizon as_of revision made_at origin role target model"
        " version members p_down p_flat p_up q10 q50 q90 volatility degraded dissimilarity"
    )
    assert prediction["degraded"] == ["no_skill.direction", "stale"]
    assert prediction["members"] == {"logistic.direction": "1"}
    assert opened.event == "opened"
    assert " ".join(orjson.loads(opened.payload)) == (
        "exchange symbol timeframe horizon as_of revision side strength gate size_fraction"
        " entry_price stop take expires_at status closed_at exit_price realized_return"
        " model version expected_edge_bps votes"
    )
    assert orjson.loads(opened.payload)["entry_price"] is None


async def test_a_repeated_commit_changes_and_tells_nothing(
    pool: asyncpg.Pool, recorder: Recorder
) -> None:
    learning = [labels(1), outcomes(1), predictions(1, role=Role.MEMBER, model="pool.direction")]
    await recorder.commit_tick(tick(1), **published(1))
    await recorder.commit_learning(learning, **published(5))
    before = await contents(pool)

    again = Recorder(pool, Instruments(pool))
    late = replace(predictions(1), made_at=at(9), origin=Origin.LATE)
    told = await again.commit_tick([*tick(1)[:2], late, signals(1)], **published(9))
    told += await again.commit_learning(learning, **published(9))

    assert told == []
    assert await contents(pool) == before


async def test_two_ticks_in_one_commit_are_told_in_their_order(
    pool: asyncpg.Pool, recorder: Recorder
) -> None:
    events = await recorder.commit_tick([*tick(1), *tick(2)], **published(2))

    mine = [event for event in events if event.stream == "candles.1h.binance.BTC/USDT"]
    assert [(event.offset, event.as_of) for event in mine] == [(1, at(1)), (2, at(2))]
    assert mine[1].previous_hash == mine[0].hash
    async with pool.acquire() as connection:
        assert await verify(connection) is None


async def test_a_bad_row_is_quarantined_and_the_rest_is_kept(
    pool: asyncpg.Pool, recorder: Recorder
) -> None:
    broken = predictions(1)
    broken.probabilities[1] = [0.5, 0.5, 0.5]
    features_with_infinity = features(1)
    features_with_infinity.values[2, 0] = np.inf

    events = await recorder.commit_tick(
        [candles(1), features_with_infinity, broken, signals(1)], **published(1)
    )

    assert await count(pool, "ml_predictions") == 2
    assert await count(pool, "ml_features_ohlcv") == 2
    assert "predictions.1h.binance.BTC/USDT" not in {event.stream for event in events}
    assert len(events) == 8
    rows = await pool.fetch("SELECT source, reason, detail, payload FROM quarantine ORDER BY id")
    assert [(row["source"], row["reason"]) for row in rows] == [
        ("ml_features_ohlcv", "refused"),
        ("ml_predictions", "refused"),
    ]
    assert "ml_predictions_sum_check" in rows[1]["detail"]
    assert orjson.loads(rows[0]["payload"])["values"][0] == "inf"


async def test_an_impossible_candle_is_quarantined_and_not_told(
    pool: asyncpg.Pool, recorder: Recorder
) -> None:
    broken = candles(1)
    broken.low[0] = -1.0

    events = await recorder.commit_tick([broken], **published(1))

    assert [event.stream.rpartition(".")[2] for event in events] == ["BTC/USDT", "ETH/USDT"]
    assert await count(pool, "candles") == 2
    assert await pool.fetchval("SELECT source FROM quarantine") == "candles"


async def test_another_row_under_the_same_key_never_replaces_the_first(
    pool: asyncpg.Pool, recorder: Recorder
) -> None:
    await recorder.commit_tick([predictions(1)], **published(1))

    told = await recorder.commit_tick([predictions(1, up=0.25)], **published(1))

    assert told == []
    assert await pool.fetchval("SELECT DISTINCT p_up FROM ml_predictions") == 0.5
    assert await pool.fetchval("SELECT count(*) FROM quarantine WHERE reason = 'contradicts'") == 3


async def test_candles_stored_before_are_told_once(pool: asyncpg.Pool, recorder: Recorder) -> None:
    await recorder.commit_tick([candles(1)], **published(1))

    revised = candles(1, close=102.5, revision=2)
    told = await recorder.commit_tick([revised], **published(2))
    again = await recorder.commit_tick([revised], versions=(), **published(3))

    assert [(event.offset, orjson.loads(event.payload)["revision"]) for event in told] == [
        (2, 2)
    ] * 3
    assert again == []


async def test_the_versions_as_told_are_what_is_stored(
    pool: asyncpg.Pool, recorder: Recorder
) -> None:
    told = [
        Candle(
            instrument=one,
            timeframe=Timeframe.H1,
            open_ms=to_ms(at(0)),
            open=100.0,
            high=103.0,
            low=99.0,
            close=101.5,
            volume=volume,
            trades=17,
            event_ms=to_ms(at(1)) + 12,
        )
        for one, volume in zip(INSTRUMENTS, (1.5, 0.0, 2.25), strict=True)
    ]

    events = await recorder.commit_tick([candles(1)], versions=told, **published(1))

    assert len(events) == 3
    row = await pool.fetchrow("SELECT * FROM candles LIMIT 1")
    assert (row["trades"], row["event_time"]) == (17, from_ms(to_ms(at(1)) + 12))
    assert (row["revision"], row["confirmed"]) == (1, False)


async def test_a_candle_that_was_put_together_says_of_what_unless_it_is_history(
    pool: asyncpg.Pool, recorder: Recorder
) -> None:
    ways: list[dict[str, Any]] = [
        {"made_of": MadeOf.TRADES, "source": Source.LIVE},
        {"made_of": MadeOf.CANDLES, "source": Source.REPAIR},
        {"made_of": MadeOf.TRADES, "source": Source.BACKFILL},
    ]
    told = [
        candle(instrument=one, open_ms=to_ms(at(0)), **way)
        for one, way in zip(INSTRUMENTS, ways, strict=True)
    ]

    await recorder.commit_tick([candles(1)], versions=told, **published(1))

    rows = await pool.fetch("SELECT source FROM candles ORDER BY instrument_id")
    assert {row["source"] for row in rows} == {"trades", "candles", "backfill"}


async def test_a_signal_lives_in_one_row_and_three_events(
    pool: asyncpg.Pool, recorder: Recorder
) -> None:
    entered = signal(1, status="active", entry_price=101.0, stop=100.0, take=103.0)
    closed = replace(
        entered,
        status="take_profit",
        closed_ms=to_ms(at(3)),
        exit_price=103.0,
        realized_return=0.018,
    )
    batches = [
        signals(1, signal(1)),
        signals(2, entered, event="updated"),
        signals(3, closed, event="closed"),
    ]

    told = [await recorder.commit_tick([batch], **published(3)) for batch in batches]
    late = await recorder.commit_tick([batches[1]], **published(4))

    assert [[event.event for event in one] for one in told] == [["opened"], ["updated"], ["closed"]]
    assert late == []
    row = await pool.fetchrow("SELECT * FROM trading_signals")
    assert (row["status"], row["exit_price"], row["side"]) == ("take_profit", 103.0, "long")
    assert await pool.fetchval("SELECT offsets FROM stream_heads") == [3]


async def test_a_label_is_filled_in_and_never_forgotten(
    pool: asyncpg.Pool, recorder: Recorder
) -> None:
    touched, known = labels(1, known=False), labels(1)

    await recorder.commit_learning([touched], **published(3))
    await recorder.commit_learning([known], **published(5))
    await recorder.commit_learning([touched, labels(2, void=True)], **published(6))

    rows = await pool.fetch("SELECT * FROM ml_labels ORDER BY as_of, instrument_id")
    assert [row["outcome"] for row in rows] == [-1, 0, 1, None, None, None]
    assert [row["void"] for row in rows] == [False] * 3 + [True] * 3
    assert rows[0]["known_at"] == at(5)
    assert rows[0]["log_return"] == -0.01
    assert await count(pool, "quarantine") == 0


async def test_verdicts_and_model_events_are_recorded_once(
    pool: asyncpg.Pool, recorder: Recorder
) -> None:
    skill = Skill(
        exchange="binance",
        timeframe=Timeframe.H1,
        horizon=4,
        target=Target.DIRECTION,
        at=at(1),
        baseline="class_prior.direction",
        skill=None,
        low=None,
        high=None,
        blocks=0,
        count=0,
        no_skill=True,
    )
    promoted = ModelEvent(
        exchange="binance",
        timeframe=Timeframe.H1,
        horizon=4,
        at=at(1),
        kind="promoted",
        target="direction",
        model="lightgbm.direction",
        version="2",
        detail="100 % of it",
    )

    told = await recorder.commit_learning([skill, promoted], **published(1))
    again = await recorder.commit_learning([skill, promoted], **published(2))

    assert [(event.stream, event.event, event.offset) for event in told] == [
        ("models", "promoted", 1)
    ]
    assert again == []
    assert await pool.fetchval("SELECT no_skill FROM skill_verdicts")


async def test_the_cross_section_and_states_are_committed_with_their_rows(
    pool: asyncpg.Pool, recorder: Recorder
) -> None:
    drawn = CrossSection(
        exchange="binance",
        timeframe=Timeframe.H1,
        as_of=at(1),
        instruments=INSTRUMENTS[:2],
        arrived_at=at(1),
        deadline=True,
        stage_us={"features": 350},
    )
    states = [
        Snapshot(
            exchange="binance",
            timeframe=Timeframe.H1,
            room="features",
            scope="",
            as_of=at(number),
            payload=bytes([number]),
        )
        for number in (1, 2, 3)
    ]
    for state in states:
        await recorder.commit_tick([], cross_section=drawn, state=[state], **published(1))

    row = await pool.fetchrow("SELECT * FROM cross_sections")
    assert (len(row["members"]), row["deadline"], row["stage_us"]) == (2, True, '{"features": 350}')
    assert await count(pool, "state_snapshots") == 2
    key = ("binance", Timeframe.H1, "features", "")
    assert await load(pool, key, until=at(9)) == states[2]
    await pool.execute("UPDATE state_snapshots SET payload = 'x' WHERE as_of = $1", at(3))
    assert await load(pool, key, until=at(9)) == states[1]
    assert await load(pool, key, until=at(1)) is None


async def test_a_failure_leaves_nothing_and_the_same_call_succeeds_later(
    pool: asyncpg.Pool, recorder: Recorder
) -> None:
    await recorder.commit_tick(tick(1), **published(1))
    before = await contents(pool)
    await pool.execute("""
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'no space left'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON cross_sections FOR EACH ROW EXECUTE FUNCTION fail()
    """)
    drawn = CrossSection(
        exchange="binance",
        timeframe=Timeframe.H1,
        as_of=at(2),
        instruments=INSTRUMENTS,
        arrived_at=at(2),
        deadline=False,
        stage_us={},
    )

    with pytest.raises(asyncpg.RaiseError, match="no space left"):
        await recorder.commit_tick(tick(2), cross_section=drawn, **published(2))
    after = await contents(pool)
    await pool.execute("DROP TRIGGER fail ON cross_sections")
    events = await recorder.commit_tick(tick(2), cross_section=drawn, **published(2))

    assert after == before
    assert {event.offset for event in events} == {2}


async def test_a_lost_connection_is_our_own_error_and_nothing_is_lost(
    pool: asyncpg.Pool, recorder: Recorder
) -> None:
    await recorder.commit_tick(tick(1), **published(1))
    await pool.execute("""
        CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
        CREATE TRIGGER leave BEFORE INSERT ON trading_signals FOR EACH ROW
        EXECUTE FUNCTION leave()
    """)

    with pytest.raises(StoreUnavailableError):
        await recorder.commit_tick(tick(2), **published(2))
    await pool.execute("DROP TRIGGER leave ON trading_signals")
    events = await recorder.commit_tick(tick(2), **published(2))

    assert len(events) == 9
    assert await count(pool, "candles") == 6
    async with pool.acquire() as connection:
        assert await verify(connection) is None


async def test_two_writers_of_the_same_streams_leave_one_contiguous_chain(
    pool: asyncpg.Pool, recorder: Recorder
) -> None:
    other = Recorder(pool, Instruments(pool))
    for number in range(1, 5):
        for writer, shift in ((recorder, 0), (other, 10)):
            await writer.commit_tick(tick(number + shift), **published(number))

    async with pool.acquire() as connection:
        assert await verify(connection) is None
    assert {row[0] for row in await pool.fetch("SELECT unnest(offsets) FROM stream_heads")} == {8}
