"""Versions count up, aliases move with their decisions, and one champion holds a seat."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from backend.store import database, registry
from backend.store.leases import Lease, open_leases
from backend.store.registry import Decision, ModelVersion, Registry, Seat, role_of
from backend.store.runs import Run, Runs
from domain.errors import LeaseLostError, StoreError
from domain.events import Target
from domain.market import Timeframe
from tests.doubles import ManualClock
from tests.integration.store_samples import at

SEAT = Seat(
    exchange="binance",
    timeframe=Timeframe.H1,
    horizon=4,
    target=Target.DIRECTION,
    name="lightgbm.direction",
)

RUN = Run(
    exchange="binance",
    timeframe=Timeframe.H1,
    horizon=4,
    as_of=at(101),
    effective_from=at(103),
    reason="schedule",
    split="refresh",
)
PANEL = "panel binance|1h"
RECORD = """
SELECT coalesce(jsonb_agg(to_jsonb(one) ORDER BY to_jsonb(one)), '[]') FROM (
    SELECT to_jsonb(m) FROM ml_models_metadata AS m UNION ALL
    SELECT to_jsonb(a) FROM model_aliases AS a UNION ALL
    SELECT to_jsonb(d) FROM promotion_decisions AS d UNION ALL
    SELECT to_jsonb(r) FROM training_runs AS r
) AS one
"""


def version(**changes: Any) -> ModelVersion:
    fields: dict[str, Any] = {
        "seat": SEAT,
        "kind": "lightgbm",
        "params": {"trees": 50},
        "seed": 7,
        "code_sha": "ab",
        "data_sha256": "cd",
        "feature_set": "ohlcv@1",
        "label_set": "direction@1",
        "trained_from": at(0),
        "trained_until": at(100),
        "n_train": 1000,
        "n_effective": 250.5,
        "n_trials": 1,
        "metrics": {"holdout": {"log_loss": 1.05}},
        "environment": {"numpy": "2"},
        "artifact_path": "ab/cd.txt",
        "artifact_sha256": "ef",
        "artifact_bytes": 99,
        "train_seconds": 1.5,
        "created_at": at(101),
    }
    return ModelVersion(**{**fields, **changes})


def decision(champion: int | None, challenger: int | None, verdict: str) -> Decision:
    return Decision(
        seat=SEAT,
        champion_version=champion,
        challenger_version=challenger,
        verdict=verdict,
        trigger="schedule",
        decided_at=at(102),
        evidence={"gain": 0.01},
    )


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await database.connect_pool(database_url, size=2)
    yield pool
    await pool.close()


async def test_versions_count_from_one_for_each_seat(pool: asyncpg.Pool) -> None:
    registry = Registry(pool)
    other = Seat(
        exchange="binance",
        timeframe=Timeframe.H1,
        horizon=24,
        target=Target.DIRECTION,
        name="lightgbm.direction",
    )

    numbers = [await registry.register(version()) for _ in range(3)]

    assert numbers == [1, 2, 3]
    assert await registry.register(version(seat=other)) == 1
    shown = await registry.show(SEAT, 2)
    assert shown is not None
    assert (shown["params"], shown["n_effective"], shown["status"]) == (
        {"trees": 50},
        250.5,
        "registered",
    )
    assert await registry.show(SEAT, 9) is None


async def test_a_promotion_moves_the_aliases_with_its_decision(pool: asyncpg.Pool) -> None:
    registry = Registry(pool)
    for _ in range(2):
        await registry.register(version())

    await registry.promote(decision(None, 1, "cold_start"), effective_from=at(103))
    await registry.challenge(decision(1, 2, "shadow"))
    shadow = await registry.aliases(SEAT)
    await registry.promote(decision(1, 2, "promote"), effective_from=at(110))

    assert shadow == {"champion": 1, "challenger": 2}
    assert await registry.aliases(SEAT) == {"champion": 2, "previous": 1}
    assert [row["verdict"] for row in await registry.decisions(SEAT)] == [
        "cold_start",
        "shadow",
        "promote",
    ]
    listed = await registry.versions("binance")
    assert [(row["version"], row["aliases"]) for row in listed] == [
        (1, ["previous"]),
        (2, ["champion"]),
    ]
    assert [role_of(row["aliases"]) for row in listed] == ["previous", "member"]
    assert listed[1]["effective_from"] == at(110)


async def test_a_champion_that_is_withdrawn_never_comes_back(pool: asyncpg.Pool) -> None:
    registry = Registry(pool)
    for _ in range(2):
        await registry.register(version())
    await registry.promote(decision(None, 1, "cold_start"), effective_from=at(103))
    await registry.promote(decision(1, 2, "promote"), effective_from=at(110))

    assert await registry.withdraw(decision(2, None, "rollback")) == 1
    assert await registry.aliases(SEAT) == {"champion": 1}
    assert await registry.withdraw(decision(1, None, "rollback")) is None
    assert await registry.aliases(SEAT) == {}


async def test_a_champion_that_is_demoted_is_on_trial(pool: asyncpg.Pool) -> None:
    registry = Registry(pool)
    for _ in range(2):
        await registry.register(version())
    await registry.promote(decision(None, 1, "cold_start"), effective_from=at(103))
    await registry.promote(decision(1, 2, "promote"), effective_from=at(110))
    with pytest.raises(StoreError, match="version 2 holds the seat"):
        await registry.demote(decision(1, None, "rollback"))

    await registry.demote(decision(2, None, "rollback"))

    assert await registry.aliases(SEAT) == {"challenger": 2}


async def test_a_decision_about_another_champion_moves_nothing(pool: asyncpg.Pool) -> None:
    registry = Registry(pool)
    await registry.register(version())
    await registry.promote(decision(None, 1, "cold_start"), effective_from=at(103))

    for wrong in (decision(None, 1, "promote"), decision(1, 9, "promote"), decision(1, None, "x")):
        with pytest.raises(StoreError):
            await registry.promote(wrong, effective_from=at(104))

    assert await registry.aliases(SEAT) == {"champion": 1}
    assert len(await registry.decisions(SEAT)) == 1


async def test_a_rejected_challenger_leaves(pool: asyncpg.Pool) -> None:
    registry = Registry(pool)
    for _ in range(2):
        await registry.register(version())
    await registry.promote(decision(None, 1, "cold_start"), effective_from=at(103))
    await registry.challenge(decision(1, 2, "shadow"))

    await registry.keep(decision(1, 2, "keep"))
    kept = await registry.aliases(SEAT)
    await registry.keep(decision(1, 2, "reject"))

    assert kept == {"champion": 1, "challenger": 2}
    assert await registry.aliases(SEAT) == {"champion": 1}


Write = Callable[[Registry, Runs], Awaitable[object]]
WRITES: dict[str, Write] = {
    "a version": lambda registry, _: registry.register(version()),
    "a promotion": lambda registry, _: registry.promote(
        decision(1, 2, "promote"), effective_from=at(110)
    ),
    "a verdict on several": lambda registry, _: registry.conclude(
        [decision(1, 2, "keep")], promoted=None, effective_from=at(110)
    ),
    "a rollback": lambda registry, _: registry.withdraw(decision(1, None, "rollback")),
    "a seat": lambda registry, _: registry.demote(decision(1, None, "rollback")),
    "a trial": lambda registry, _: registry.challenge(decision(1, 2, "keep")),
    "the end of a trial": lambda registry, _: registry.dismiss(
        decision(1, 2, "rollback"), instead=None
    ),
    "a refusal": lambda registry, _: registry.keep(decision(1, 2, "reject")),
    "a training that begins": lambda _, runs: runs.begin(RUN, at=at(101)),
    "a training that ends": lambda _, runs: runs.finish(RUN, at=at(102)),
}


async def moved(leases: AsyncExitStack, url: str) -> tuple[Lease, Callable[[], Awaitable[Lease]]]:
    """The lease of a panel, and what gives it to another process."""
    one, two = [await leases.enter_async_context(open_leases(url, name)) for name in "ab"]
    held = await one.take(PANEL)
    assert held is not None

    async def move() -> Lease:
        await one.give_back(held)
        taken = await two.take(PANEL)
        assert taken is not None
        return taken

    return held, move


async def test_who_has_lost_the_panel_decides_nothing_and_its_successor_does(
    pool: asyncpg.Pool, database_url: str
) -> None:
    async with AsyncExitStack() as leases:
        held, move = await moved(leases, database_url)
        ours, runs = Registry(pool, held.fence), Runs(pool, held.fence)
        for _ in range(2):
            await ours.register(version())
        await ours.promote(decision(None, 1, "cold_start"), effective_from=at(103))
        await runs.begin(RUN, at=at(101))
        taken = await move()
        before = await pool.fetchval(RECORD)

        for name, write in WRITES.items():
            with pytest.raises(LeaseLostError, match=PANEL.replace("|", r"\|")):
                await write(ours, runs)
            assert await pool.fetchval(RECORD) == before, name

        next_one = Registry(pool, taken.fence)
        assert await next_one.register(version()) == 3
        await next_one.promote(decision(1, 3, "promote"), effective_from=at(110))
        await Runs(pool, taken.fence).finish(RUN, at=at(104))
    assert await next_one.aliases(SEAT) == {"champion": 3, "previous": 1}
    assert await runs.unfinished("binance", Timeframe.H1) == []


async def test_what_is_decided_together_is_nothing_when_the_panel_moves_meanwhile(
    pool: asyncpg.Pool, database_url: str
) -> None:
    """And who takes it does not wait for the end of a long decision."""
    async with AsyncExitStack() as leases:
        held, move = await moved(leases, database_url)
        taken: list[Lease] = []

        async def decide(record: Registry) -> None:
            await record.register(version())
            await record.promote(decision(None, 1, "cold_start"), effective_from=at(103))
            if not taken:
                taken.append(await move())

        with pytest.raises(LeaseLostError):
            await Registry(pool, held.fence).together(decide, ManualClock())
        assert await Registry(pool).versions() == []
        await Registry(pool, taken[0].fence).together(decide, ManualClock())
        assert await Registry(pool).aliases(SEAT) == {"champion": 1}


async def test_who_hangs_while_it_decides_holds_no_seat(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = registry._TAKE_SEAT.replace("300s", "1s")
    assert given_up != registry._TAKE_SEAT
    numbers: list[int] = []

    async def hang() -> None:
        async with pool.acquire() as connection, connection.transaction():
            record = Registry(connection)
            with monkeypatch.context() as soon:
                soon.setattr(registry, "_TAKE_SEAT", given_up)
                await record.register(version())
            numbers.append(await Registry(pool).register(version()))  # while it says nothing

    with pytest.raises(database.CONNECTION_ERRORS):
        await hang()
    assert numbers == [1]
