"""Versions count up, aliases move with their decisions, and one champion holds a seat."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from backend.store import database
from backend.store.registry import Decision, ModelVersion, Registry, Seat, role_of
from domain.errors import StoreError
from domain.events import Target
from domain.market import Timeframe
from tests.integration.store_samples import at

SEAT = Seat(
    exchange="binance",
    timeframe=Timeframe.H1,
    horizon=4,
    target=Target.DIRECTION,
    name="lightgbm.direction",
)


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
