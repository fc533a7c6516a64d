"""What members said goes once days tell of it; the track record stays what it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import orjson
import pytest

from backend.retention import Retention
from backend.setting_tables import RetentionSettings
from backend.store import database, member_retention
from backend.store.instruments import Instruments
from backend.store.member_retention import Members
from backend.store.recorder import Recorder
from backend.store.score_days import DAY, Scope, fold
from backend.store.track_record import read_record
from domain.events import CandleBatch, OutcomeBatch, Role
from domain.market import Timeframe
from tests.doubles import START, ManualClock
from tests.factories import BTC, ETH, SOL, candle_batches
from tests.integration.store_samples import predictions
from tests.served_market import HORIZON, outcomes

DAYS = 5
LATE = 30  # the tick of which nothing is judged at first
BATCHES = candle_batches((BTC, ETH, SOL), DAYS * 24, start=START)
GROUP = ("simulated", "1h", HORIZON)
MEMBERS = {"logistic.direction": Role.MEMBER, "xgboost.direction": Role.CHALLENGER}
KEPT = 3  # days, in most tests
BEFORE = START + KEPT * DAY
SAID = "SELECT model, count(*) FROM {} WHERE as_of < $1 GROUP BY model"


def judged(batch: CandleBatch) -> list[object]:
    """As the served market has it, with two who are not served."""
    label, served, prior = outcomes(batch, batch.as_of + HORIZON * batch.timeframe.duration)
    assert isinstance(prior, OutcomeBatch)
    others = [
        replace(prior, model=model, role=role, losses=prior.losses * 0.9)
        for model, role in MEMBERS.items()
    ]
    return [label, served, prior, *others]


def said(batch: CandleBatch) -> list[object]:
    of_tick: dict[str, Any] = {
        "exchange": batch.exchange,
        "timeframe": batch.timeframe,
        "as_of": batch.as_of,
        "instruments": batch.instruments,
        "horizon": HORIZON,
    }
    rows = {"served": Role.CHAMPION, "class_prior.direction": Role.MEMBER, **MEMBERS}
    return [
        replace(predictions(1, role=role, model=model), **of_tick) for model, role in rows.items()
    ]


class Record:
    def __init__(self, pool: asyncpg.Pool, connection: asyncpg.Connection) -> None:
        self.pool, self.connection = pool, connection
        self.recorder = Recorder(pool, Instruments(pool))

    async def score(self, *batches: CandleBatch) -> None:
        events = [event for batch in batches for event in judged(batch)]
        await self.recorder.commit_learning(events, published_at=START + 9 * DAY)

    async def fold(self) -> None:
        await fold(self.connection, days=100)

    async def drop(self, before: datetime = BEFORE) -> int:
        members, closes = Members(self.connection, GROUP), 0
        await members.before(START + 9 * DAY, days=90)
        while await members.drop(before):
            closes += 1
        return closes

    async def counts(self, table: str, before: datetime = BEFORE) -> dict[str, int]:
        return dict(await self.connection.fetch(SAID.format(table), before))

    async def record(self, scope: Scope) -> list[dict[str, Any]]:
        return await read_record(self.connection, scope)


@pytest.fixture
async def record(database_url: str) -> AsyncIterator[Record]:
    """Five days, but for what was lost of one tick of the second."""
    pool = await database.connect_pool(database_url, size=2)
    async with pool.acquire() as connection:
        written = Record(pool, connection)
        events = [event for batch in BATCHES for event in said(batch)]
        await written.recorder.commit_learning(events, published_at=BATCHES[-1].as_of)
        await written.score(*BATCHES[:LATE], *BATCHES[LATE + 1 :])
        yield written
    await pool.close()


async def test_what_is_served_and_its_baselines_stay_and_what_is_not_judged(
    record: Record,
) -> None:
    await record.fold()
    closes = await record.drop()

    full = 3 * (KEPT * 24 - 1)
    assert closes == KEPT * 24 - 2  # the first candle closes an hour in, one is not judged
    assert await record.counts("ml_prediction_outcomes") == {
        "served": full - 3,
        "class_prior.direction": full - 3,
    }
    assert await record.counts("ml_predictions") == {
        "served": full,
        "class_prior.direction": full,
        **dict.fromkeys(MEMBERS, 3),
    }
    assert len(await record.counts("ml_prediction_outcomes", START + 9 * DAY)) == 4


@pytest.mark.parametrize(
    "scope",
    [
        Scope(),
        Scope(roles=("member", "challenger")),
        Scope(start=START + DAY, end=START + 2 * DAY),
        Scope(start=START + 2 * DAY, end=START + 4 * DAY),
        Scope(roles=("champion",), instruments=[2]),
        Scope(roles=("champion",), scored_by=START + timedelta(hours=50)),
    ],
)
async def test_the_track_record_is_what_it_was(record: Record, scope: Scope) -> None:
    await record.fold()
    before = await record.record(scope)
    await record.drop()
    await record.fold()

    assert before
    assert await record.record(scope) == before


async def test_days_that_are_not_folded_stay(record: Record) -> None:
    assert await record.drop() == 0

    await fold(record.connection, days=1)

    assert await record.drop() == 23
    assert len(await record.counts("ml_prediction_outcomes", START + DAY)) == 2
    assert len(await record.counts("ml_prediction_outcomes")) == 4


async def test_an_outcome_that_comes_for_a_dropped_day_takes_no_day_out(record: Record) -> None:
    await record.fold()
    members = Scope(roles=("member", "challenger"))
    before = await record.record(members)
    await record.drop()

    await record.score(BATCHES[LATE])
    await record.fold()

    assert await record.record(members) == before
    late = {"served": 3, "class_prior.direction": 3, **dict.fromkeys(MEMBERS, 3)}
    found = await record.connection.fetch(
        "SELECT model, count(*) FROM ml_prediction_outcomes WHERE as_of = $1 GROUP BY model",
        BATCHES[LATE].as_of,
    )
    assert dict(found) == late


async def test_a_drop_that_was_cut_short_is_gone_on_with(record: Record) -> None:
    await record.fold()
    cut = Members(record.connection, GROUP)
    await cut.before(START + 9 * DAY, days=90)
    for _ in range(30):
        await cut.drop(BEFORE)

    await record.drop()

    assert set(await record.counts("ml_prediction_outcomes")) == {"served", "class_prior.direction"}


async def before(record: Record, days: int, now: datetime = START + 99 * DAY) -> datetime | None:
    return await Members(record.connection, GROUP).before(now, days=days)


async def test_nothing_goes_that_a_decision_may_look_at(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = START + DAYS * DAY
    block = 2 * HORIZON * Timeframe.H1.duration
    assert await before(record, 1) is None  # nothing is folded
    await record.fold()

    assert await before(record, 1) == _day(newest - member_retention.FEWEST_BLOCKS * block)
    monkeypatch.setattr(member_retention, "FEWEST_BLOCKS", 1)
    assert await before(record, 2) == START + (DAYS - 2) * DAY
    assert await before(record, 2, START + 4 * DAY) == START + 2 * DAY
    await record.connection.execute("DELETE FROM score_days WHERE day >= $1", START + 2 * DAY)
    assert await before(record, 2) == START + 2 * DAY


@pytest.mark.parametrize(("verdict", "day"), [("keep", 1), ("reject", DAYS - 1)])
async def test_nothing_goes_of_a_challenge_that_goes_on(
    record: Record, monkeypatch: pytest.MonkeyPatch, verdict: str, day: int
) -> None:
    monkeypatch.setattr(member_retention, "FEWEST_BLOCKS", 1)
    await record.fold()
    evidence = orjson.dumps({"begun": "2024-01-02T05:00:00.000Z"}).decode()
    for word in ("keep", verdict):
        await record.connection.execute(
            """
            INSERT INTO promotion_decisions (exchange, timeframe, horizon, target, name, verdict,
                trigger, decided_at, evidence)
            VALUES ($1, $2, $3, 'direction', 'pool.direction', $4, 'challenge', now(), $5)
            """,
            *GROUP, word, evidence,
        )  # fmt: skip

    assert await before(record, 1) == START + day * DAY


async def test_the_system_drops_them_where_it_is_asked_to(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_retention, "FEWEST_BLOCKS", 1)
    await record.fold()
    clock = ManualClock(START + 9 * DAY)

    async def free() -> None:
        return

    left = []
    for about in (RetentionSettings(), RetentionSettings.model_construct(members_days=2)):
        fields = {"relayed": (), "pool": record.pool, "clock": clock, "wall": clock, "free": free}
        await Retention(about=about, **fields).sweep()
        left.append(len(await record.counts("ml_prediction_outcomes")))

    assert left == [4, 2]


def _day(moment: datetime) -> datetime:
    return START + (moment - START) // DAY * DAY
