"""Which models exist, which of them answers, and why: versions, aliases and decisions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

import asyncpg
import orjson

from backend.store.database import PoolOrConnection
from backend.store.leases import Fence, fenced, no_fence
from backend.store.once import surely
from backend.store.runs import Run
from backend.store.tables import ml_models_metadata, named, promotion_decisions
from domain.errors import StoreError
from domain.market import Timeframe
from domain.ports import Clock

T = TypeVar("T")

_REGISTER: Final = """
INSERT INTO ml_models_metadata (
    exchange, timeframe, horizon, target, name, version, kind, status, params, seed, code_sha,
    data_sha256, feature_set, label_set, trained_from, trained_until, effective_from, n_train,
    n_effective, n_trials, metrics, environment, artifact_path, artifact_sha256,
    artifact_bytes, train_seconds, parent_version, created_at
) SELECT $1, $2, $3, $4, $5, 1 + coalesce(max(version), 0), $6, $7, $8::jsonb, $9::bigint, $10,
    $11, $12, $13, $14::timestamptz, $15::timestamptz, $16::timestamptz, $17::int, $18::float8,
    $19::int, $20::jsonb, $21::jsonb, $22, $23, $24::bigint, $25::float8, $26::int, $27::timestamptz
FROM ml_models_metadata
WHERE (exchange, timeframe, horizon, name) = ($1, $2, $3, $5)
RETURNING version
"""
# Who hangs while it decides is given up: the next one waits for its seats.
_TAKE_SEAT: Final = """
SELECT set_config('idle_in_transaction_session_timeout', '300s', true),
    pg_advisory_xact_lock(hashtextextended($1, 0))
"""
_SEAT: Final = "(exchange, timeframe, horizon, target, name) = ($1, $2, $3, $4, $5)"
_ALIASES: Final = f"SELECT alias, version FROM model_aliases WHERE {_SEAT}"  # noqa: S608 - words of ours
_SET: Final = """
INSERT INTO model_aliases AS kept (
    exchange, timeframe, horizon, target, name, alias, version, set_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (exchange, timeframe, horizon, target, name, alias)
DO UPDATE SET version = EXCLUDED.version, set_at = EXCLUDED.set_at
WHERE kept.version <> EXCLUDED.version
"""
_CLEAR: Final = f"DELETE FROM model_aliases WHERE {_SEAT} AND alias = $6"  # noqa: S608 - words of ours
_DECIDE: Final = """
INSERT INTO promotion_decisions (
    exchange, timeframe, horizon, target, name, champion_version, challenger_version, verdict,
    trigger, decided_at, evidence
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id
"""
_EFFECTIVE: Final = f"""
UPDATE ml_models_metadata SET effective_from = $7 WHERE {_SEAT} AND version = $6
"""  # noqa: S608 - words of ours
# `champion` is the role of the served composition's rows: the version that holds a seat has a part
# in it. `previous` makes no rows; it is what a rollback goes back to.
_ROLES: Final = {"champion": "member", "challenger": "challenger", "previous": "previous"}
_LIST: Final = f"""
SELECT {named(ml_models_metadata, "m")},
    array_remove(array_agg(a.alias ORDER BY a.alias), NULL) AS aliases
FROM ml_models_metadata AS m LEFT JOIN model_aliases AS a
    USING (exchange, timeframe, horizon, target, name, version)
WHERE ($1::text IS NULL OR exchange = $1) AND ($2::text IS NULL OR timeframe = $2)
GROUP BY m.model_id ORDER BY exchange, timeframe, horizon, target, name, version
"""  # noqa: S608 - words of ours
_SHOW: Final = f"""
SELECT {named(ml_models_metadata)} FROM ml_models_metadata WHERE {_SEAT} AND version = $6
"""  # noqa: S608 - words of ours
_DECIDED: Final = f"SELECT {named(promotion_decisions)} FROM promotion_decisions"  # noqa: S608 - words of ours
_DECISIONS: Final = f"{_DECIDED} WHERE {_SEAT} ORDER BY id"
_RECORD: Final = f"""
{_DECIDED} WHERE (exchange, timeframe, horizon, target) = ($1, $2, $3, $4) ORDER BY id
"""
_SETTLED: Final = """
SELECT DISTINCT target FROM ml_models_metadata
WHERE (exchange, timeframe, horizon, created_at) = ($1, $2, $3, $4)
"""
_JSON: Final = ("params", "metrics", "environment", "evidence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """What a model competes for: one target at one horizon, under one name."""

    exchange: str
    timeframe: Timeframe
    horizon: int
    target: str  # one of `Target`, or the name of a kind of label
    name: str  # `lightgbm.direction`

    def key(self) -> tuple[str, str, int, str, str]:
        """As the tables have it."""
        return (self.exchange, self.timeframe.value, self.horizon, str(self.target), self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """Everything needed to say where a fitted model came from, and to fit it again."""

    seat: Seat
    kind: str
    status: str = "registered"  # registered, eligible, rejected, retired
    params: Mapping[str, Any]
    seed: int
    code_sha: str
    data_sha256: str
    feature_set: str
    label_set: str
    trained_from: datetime
    trained_until: datetime
    effective_from: datetime | None = None
    n_train: int
    n_effective: float
    n_trials: int
    metrics: Mapping[str, Any]
    environment: Mapping[str, Any]
    artifact_path: str
    artifact_sha256: str
    artifact_bytes: int
    train_seconds: float
    parent_version: int | None = None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict on a seat, with every number that the rule used."""

    seat: Seat
    champion_version: int | None
    challenger_version: int | None
    verdict: str  # promote, keep, reject, rollback, cold_start, refresh
    trigger: str
    decided_at: datetime
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Registry:
    """Versions are never changed; aliases move, each move together with its decision.

    Args:
        place: Where statements go: of a pool each method takes a connection of its own.
        fence: refuses what a worker decides that has lost its panel (`LeaseLostError`).
    """

    def __init__(self, place: PoolOrConnection, fence: Fence = no_fence) -> None:
        self._place = place
        self._fence = fence

    async def together(self, work: Callable[[Registry], Awaitable[T]], wall: Clock) -> T:
        """What `work` gives; all that it does with its registry is stored, once, or nothing.

        Args:
            work: done again where the connection was lost before its end.
            wall: of waits for the database.
        """
        return await surely(self._transaction, lambda one: work(Registry(one)), wall)

    async def register(self, model: ModelVersion) -> int:
        """Enter a fitted model; its number, counted from 1 for each seat."""
        async with self._transaction() as connection:
            await _take_seat(connection, model.seat)
            number: int = await connection.fetchval(
                _REGISTER,
                *model.seat.key(),
                model.kind,
                model.status,
                _spell(model.params),
                model.seed,
                model.code_sha,
                model.data_sha256,
                model.feature_set,
                model.label_set,
                model.trained_from,
                model.trained_until,
                model.effective_from,
                model.n_train,
                model.n_effective,
                model.n_trials,
                _spell(model.metrics),
                _spell(model.environment),
                model.artifact_path,
                model.artifact_sha256,
                model.artifact_bytes,
                model.train_seconds,
                model.parent_version,
                model.created_at,
            )
        return number

    async def aliases(self, seat: Seat) -> dict[str, int]:
        """The versions that champion, challenger and previous stand for."""
        rows = await self._place.fetch(_ALIASES, *seat.key())
        return {row["alias"]: row["version"] for row in rows}

    async def promote(self, decision: Decision, *, effective_from: datetime) -> int:
        """Let the challenger of the decision take the seat; the decision's number.

        previous ← champion ← challenger, in one transaction with the decision.

        Raises:
            StoreError: another champion holds the seat than the decision was about.
        """
        async with self._transaction() as connection:
            return await _promote(connection, decision, effective_from)

    async def conclude(
        self,
        decisions: Sequence[Decision],
        *,
        promoted: Decision | None,
        effective_from: datetime,
    ) -> None:
        """Record what belongs together in one transaction, and whom it gives a seat.

        Args:
            decisions: that move no alias.
            promoted: as in `promote`.
            effective_from: of the promotion.

        Raises:
            StoreError: another champion holds the seat than the decision was about.
        """
        async with self._transaction() as connection:
            if promoted is not None:
                await _promote(connection, promoted, effective_from)
            for decision in decisions:
                await _decide(connection, decision)

    async def withdraw(self, decision: Decision) -> int | None:
        """Take the seat from a champion for good, in one transaction with the decision.

        Returns:
            The version that has it now: `previous`, or None where nobody is left.

        Raises:
            StoreError: another champion holds the seat than the decision was about.
        """
        async with self._transaction() as connection:
            await _take_seat(connection, decision.seat)
            await _champion(connection, decision)
            rows = await connection.fetch(_ALIASES, *decision.seat.key())
            previous: int | None = {row["alias"]: row["version"] for row in rows}.get("previous")
            for alias in ("champion", "previous"):
                await connection.execute(_CLEAR, *decision.seat.key(), alias)
            if previous is not None:
                await _set_aliases(connection, decision, {"champion": previous})
            await _decide(connection, decision)
        return previous

    async def demote(self, decision: Decision) -> None:
        """Put the champion back on trial, in one transaction with the decision.

        Raises:
            StoreError: another champion holds the seat than the decision was about.
        """
        async with self._transaction() as connection:
            await _take_seat(connection, decision.seat)
            champion = await _champion(connection, decision)
            for alias in ("champion", "previous"):
                await connection.execute(_CLEAR, *decision.seat.key(), alias)
            if champion is not None:
                await _set_aliases(connection, decision, {"challenger": champion})
            await _decide(connection, decision)

    async def dismiss(self, decision: Decision, *, instead: int | None) -> None:
        """Take a challenger that cannot be used off its trial, and record it, in one transaction.

        Args:
            decision: about the challenger's version.
            instead: the version that is on trial from now on; None: nobody.
        """
        async with self._transaction() as connection:
            await _take_seat(connection, decision.seat)
            await connection.execute(_CLEAR, *decision.seat.key(), "challenger")
            if instead is not None:
                await _set_aliases(connection, decision, {"challenger": instead})
            await _decide(connection, decision)

    async def challenge(self, decision: Decision) -> int:
        """Put the challenger of the decision into the shadow; the decision's number."""
        if decision.challenger_version is None:
            raise StoreError("a challenge needs a challenger")
        async with self._transaction() as connection:
            await _take_seat(connection, decision.seat)
            await _set_aliases(connection, decision, {"challenger": decision.challenger_version})
            return await _decide(connection, decision)

    async def keep(self, decision: Decision) -> int:
        """Record a verdict that moves nothing but the challenger, who leaves."""
        async with self._transaction() as connection:
            await _take_seat(connection, decision.seat)
            if decision.verdict == "reject":
                await connection.execute(_CLEAR, *decision.seat.key(), "challenger")
            return await _decide(connection, decision)

    async def versions(
        self, exchange: str | None = None, timeframe: Timeframe | None = None
    ) -> list[dict[str, Any]]:
        """Every version with its aliases, in the order of their seats."""
        rows = await self._place.fetch(_LIST, exchange, timeframe and timeframe.value)
        return [_read(row) for row in rows]

    async def show(self, seat: Seat, version: int) -> dict[str, Any] | None:
        """One version; None when there is none."""
        row = await self._place.fetchrow(_SHOW, *seat.key(), version)
        return None if row is None else _read(row)

    async def decisions(self, seat: Seat) -> list[dict[str, Any]]:
        """The decisions on a seat, oldest first."""
        return [_read(row) for row in await self._place.fetch(_DECISIONS, *seat.key())]

    async def record(self, seat: Seat) -> list[dict[str, Any]]:
        """The decisions on the seat's target, whoever they were about, oldest first."""
        return [_read(row) for row in await self._place.fetch(_RECORD, *seat.key()[:-1])]

    async def settled(self, run: Run) -> set[str]:
        """The targets whose fits of a training are registered, and decided with that."""
        key = (run.exchange, run.timeframe.value, run.horizon, run.as_of)
        return {row["target"] for row in await self._place.fetch(_SETTLED, *key)}

    def _transaction(self) -> AbstractAsyncContextManager[asyncpg.Connection]:
        return fenced(self._place, self._fence)


def role_of(aliases: Collection[str]) -> str | None:
    """What users are told of a version that holds these aliases; None where it holds none.

    >>> role_of(["champion"]), role_of(["challenger", "previous"]), role_of([])
    ('member', 'challenger', None)
    """
    return next((role for alias, role in _ROLES.items() if alias in aliases), None)


async def _take_seat(connection: asyncpg.Connection, seat: Seat) -> None:
    await connection.execute(_TAKE_SEAT, "|".join(map(str, seat.key())))


async def _promote(
    connection: asyncpg.Connection, decision: Decision, effective_from: datetime
) -> int:
    seat, version = decision.seat, decision.challenger_version
    if version is None:
        raise StoreError("a promotion needs a challenger")
    await _take_seat(connection, seat)
    champion = await _champion(connection, decision)
    moves = {"champion": version} | ({"previous": champion} if champion else {})
    await _set_aliases(connection, decision, moves)
    await connection.execute(_CLEAR, *seat.key(), "challenger")
    await connection.execute(_EFFECTIVE, *seat.key(), version, effective_from)
    return await _decide(connection, decision)


async def _champion(connection: asyncpg.Connection, decision: Decision) -> int | None:
    rows = await connection.fetch(_ALIASES, *decision.seat.key())
    champion = {row["alias"]: row["version"] for row in rows}.get("champion")
    if champion != decision.champion_version:
        held = f"version {champion} holds the seat, not {decision.champion_version}"
        raise StoreError(f"{decision.seat.name}: {held}")
    return champion


async def _set_aliases(
    connection: asyncpg.Connection, decision: Decision, moves: Mapping[str, int]
) -> None:
    for alias, version in moves.items():
        if await connection.fetchrow(_SHOW, *decision.seat.key(), version) is None:
            raise StoreError(f"{decision.seat.name} has no version {version}")
        await connection.execute(_SET, *decision.seat.key(), alias, version, decision.decided_at)


async def _decide(connection: asyncpg.Connection, decision: Decision) -> int:
    number: int = await connection.fetchval(
        _DECIDE,
        *decision.seat.key(),
        decision.champion_version,
        decision.challenger_version,
        decision.verdict,
        decision.trigger,
        decision.decided_at,
        _spell(decision.evidence),
    )
    return number


def _spell(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _read(row: asyncpg.Record) -> dict[str, Any]:
    return {k: orjson.loads(v) if k in _JSON and v else v for k, v in row.items()}
