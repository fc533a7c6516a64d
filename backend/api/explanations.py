"""What the members of a served prediction made of which feature; of what was said, nothing anew.

The version that spoke is opened from its artifact and asked about the stored row that it read.
Where what it says now is not what the record has of it, nothing is explained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import asyncpg
import numpy as np
import orjson

from backend.api.problems import ProblemError
from backend.api.values import parse_time
from backend.store.feature_queries import ROWS_AT
from backend.store.tables import ml_predictions, named
from domain.errors import ArtifactError, ArtifactMissingError, shortened
from domain.events import Floats, Target
from domain.losses import BASELINE_NAMES
from domain.market import Timeframe, rfc3339, to_ms
from domain.past import Past
from services.models.artifacts import ArtifactStore
from services.models.explanation import OUTPUTS, Explanation
from services.models.forecaster import Forecaster, Table
from services.models.recipes import past_in
from services.sentiment.feature_set import SENTIMENT

SHAPE: Final = "TIMEFRAME.HORIZON.EXCHANGE.AS_OF.REVISION.SYMBOL"
_ID: Final = re.compile(
    r"(?P<timeframe>[^.]+)\.(?P<horizon>\d{1,6})\.(?P<exchange>[^.]+)"
    r"\.(?P<as_of>[\dT:-]+(\.\d{1,6})?Z)\.(?P<revision>\d{1,9})\.(?P<symbol>.+)",
    re.ASCII,
)
_FORECAST: Final = {
    Target.DIRECTION: ("p_down", "p_flat", "p_up"),
    Target.QUANTILES: ("q10", "q50", "q90"),
    Target.VOLATILITY: ("volatility",),
}
_SAME: Final = 1e-6  # relative: a library may add up a row by itself in another order
_BASELINE: Final = "a baseline has no contributions"
_LEARNER: Final = "it learns with each label: what it was when it spoke is not kept"
_NO_KIND: Final = "this kind of model tells no contributions"
_SILENT: Final = "it gave no forecast of this row"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionId:
    """What tells a served row from all others."""

    timeframe: str
    horizon: int
    exchange: str
    as_of: datetime
    revision: int
    symbol: str

    @classmethod
    def parse(cls, text: str) -> PredictionId:
        """From what `str` gives; the symbol comes last and may hold `.`, `:` and `/`.

        Raises:
            ProblemError: `bad_request`.
            UnknownTimeframeError: it names another timeframe.
        """
        found = _ID.fullmatch(text)
        if found is None:
            raise ProblemError("bad_request", f"{shortened(text)!r} is not {SHAPE}")
        try:
            as_of = parse_time(found["as_of"])
        except ValueError as error:
            raise ProblemError("bad_request", str(error)) from error
        return cls(
            timeframe=Timeframe.parse(found["timeframe"]).value,
            horizon=int(found["horizon"]),
            exchange=found["exchange"],
            as_of=as_of,
            revision=int(found["revision"]),
            symbol=found["symbol"],
        )

    def __str__(self) -> str:
        parts = self.timeframe, self.horizon, self.exchange, rfc3339(self.as_of), self.revision
        return ".".join([*map(str, parts), self.symbol])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Member:
    """A model that a served row was composed of."""

    name: str
    version: str
    sha256: str | None  # of its artifact; None: it has none
    said: Floats | None  # as recorded, (1,) or (3,); None: not recorded
    candles: str  # the candle feature set that it reads

    @property
    def target(self) -> Target:
        return Target(self.name.rpartition(".")[2])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spoken:
    """A served row: who spoke, and what they read."""

    id: PredictionId
    tables: Mapping[str, Table]  # by candle feature set, of one row each
    members: tuple[Member, ...]


async def read_spoken(connection: asyncpg.Connection, wanted: PredictionId) -> Spoken:
    """A served prediction, its members and its feature row.

    Raises:
        ProblemError: `not_found`, or `not_as_it_was`: the feature row is gone.
    """
    served = await connection.fetchrow(
        _SERVED, wanted.exchange, wanted.symbol, wanted.timeframe, wanted.horizon,
        wanted.as_of, wanted.revision,
    )  # fmt: skip
    if served is None:
        raise unspoken(wanted)
    place = served["instrument_id"], wanted.timeframe
    told = await connection.fetchrow(_TOLD, *place, SENTIMENT.id, wanted.as_of, served["made_at"])
    versions = orjson.loads(served["members"] or "{}")
    named = (wanted.exchange, wanted.timeframe, wanted.horizon, [*versions], [*versions.values()])
    fitted = await connection.fetch(_FITTED, *named)
    recorded = await connection.fetch(
        _SAID, *place, wanted.horizon, wanted.as_of, wanted.revision, *named[3:]
    )
    artifacts = {one["name"]: one["artifact_sha256"] for one in fitted}
    said = {one["model"]: one for one in recorded}
    params = {one["name"]: orjson.loads(one["params"] or "{}") for one in fitted}
    base = served["feature_set"]
    reads = {name: str(one.get("candles", base)) for name, one in params.items()}
    revisions = {
        reads[name]: row["feature_revision"] for name, row in said.items() if name in reads
    }
    revisions[base] = served["feature_revision"]
    past = dict.fromkeys((base, *reads.values()), 0)
    for name, candles in reads.items():
        past[candles] = max(past[candles], past_in(params[name]))
    tables = {}
    for candles, before in past.items():
        row = await connection.fetchrow(
            _ROW, *place, candles, wanted.as_of, revisions.get(candles), served["made_at"]
        )
        if row is None:
            which = f"revision {revisions.get(candles, 1)} of the feature row of {candles}"
            words = f"{which} that {wanted} was made of is gone"
            raise ProblemError("not_as_it_was", words)
        table = _table(row, told)
        known = before and await _past(connection, wanted, served, candles, table, before)
        tables[candles] = replace(table, past=known or None)
    return Spoken(
        id=wanted,
        tables=tables,
        members=tuple(
            Member(
                name=name,
                version=version,
                sha256=artifacts.get(name),
                said=_forecast(name, said.get(name)),
                candles=reads.get(name, base),
            )
            for name, version in sorted(versions.items(), key=_by_target)
        ),
    )


def unspoken(wanted: PredictionId) -> ProblemError:
    """The problem of a prediction that was not made, or not for who asks."""
    return ProblemError("not_found", f"no served prediction {wanted}")


def explain(spoken: Spoken, artifacts: ArtifactStore) -> list[dict[str, Any]]:
    """One row for each member, to be run in a thread: it opens models and loads libraries.

    Raises:
        ProblemError: `artifact_missing`, or `not_as_it_was`: an artifact cannot be used, or what
            its model says of the stored row is not what it said.
    """
    return [_explained(member, spoken, artifacts) for member in spoken.members]


def _explained(member: Member, spoken: Spoken, artifacts: ArtifactStore) -> dict[str, Any]:
    if member.sha256 is None:
        return _unexplained(member, _BASELINE if member.name in BASELINE_NAMES else _LEARNER)
    model = _opened(member, member.sha256, artifacts)
    table = spoken.tables[member.candles]
    forecast = np.atleast_1d(model.forecast(table)[0])
    if member.said is not None and not _same(forecast, member.said):
        words = f"{member.name}@{member.version} says otherwise of the row of {spoken.id} now"
        raise ProblemError("not_as_it_was", words)
    if not np.isfinite(forecast).all():
        return _unexplained(member, _SILENT)
    explanation = model.explain(table)
    return _unexplained(member, _NO_KIND) if explanation is None else _told(member, explanation)


def _opened(member: Member, sha256: str, artifacts: ArtifactStore) -> Forecaster:
    try:
        return artifacts.load(name=member.name, version=member.version, sha256=sha256)
    except ArtifactError as error:
        gone = isinstance(error, ArtifactMissingError)
        code = "artifact_missing" if gone else "not_as_it_was"
        raise ProblemError(code, f"{member.name}@{member.version}: {error}") from error


def _told(member: Member, explanation: Explanation) -> dict[str, Any]:
    reference = explanation.reference
    outputs = [
        {
            "output": output,
            "base": float(explanation.base[0, place]),
            "margin": float(explanation.margin[0, place]),
            "contributions": _contributions(explanation, place),
        }
        for place, output in enumerate(OUTPUTS[member.target])
    ]
    return {
        **_unexplained(member, None),
        "method": explanation.method,
        "reference": None if reference is None else float(reference[0]),
        "outputs": outputs,
    }


def _contributions(explanation: Explanation, output: int) -> list[dict[str, Any]]:
    """The largest first."""
    amounts = explanation.contributions[0, output]
    return [
        {
            "feature": explanation.features[place],
            "value": float(explanation.values[0, place]),
            "contribution": float(amounts[place]),
        }
        for place in np.argsort(-np.abs(amounts), kind="stable").tolist()
    ]


def _unexplained(member: Member, reason: str | None) -> dict[str, Any]:
    return {
        "model": member.name,
        "version": member.version,
        "target": member.target.value,
        "method": None,
        "reason": reason,
        "reference": None,
        "outputs": [],
    }


def _same(forecast: Floats, said: Floats) -> bool:
    return np.allclose(forecast, said, rtol=_SAME, atol=0.0, equal_nan=True)


def _by_target(member: tuple[str, str]) -> tuple[str, str]:
    kind, _, target = member[0].rpartition(".")
    return target, kind


def _forecast(name: str, row: Mapping[str, Any] | None) -> Floats | None:
    if row is None:
        return None
    columns = _FORECAST[Target(name.rpartition(".")[2])]
    return np.array([row[column] for column in columns], dtype=np.float64)


def _table(row: Mapping[str, Any], told: Mapping[str, Any] | None) -> Table:
    """What was not told is unknown."""
    columns, values = tuple(row["columns"]), _values(row["values"])
    if told is None:
        return Table(columns, values)
    names = tuple(told["columns"])
    beside = _values(told["values"] or [None] * len(names))
    return Table(columns, values, (names, beside))


async def _past(
    connection: asyncpg.Connection,
    wanted: PredictionId,
    served: Mapping[str, Any],
    feature_set: str,
    table: Table,
    candles: int,
) -> Past:
    """The rows that many candles before or fewer, as they were known when it was made."""
    step, (told, _) = Timeframe(wanted.timeframe).duration, table.told
    rows = await connection.fetch(
        ROWS_AT,
        [served["instrument_id"]],
        wanted.timeframe,
        [wanted.as_of - back * step for back in range(1, candles + 1)],
        feature_set,
        served["made_at"],
        SENTIMENT.id,
        len(told),
    )
    columns, one = table.columns + told, np.zeros(len(rows), dtype=np.int64)
    return Past.behind(
        np.zeros(1, dtype=np.int64),
        np.array([to_ms(wanted.as_of)]),
        columns=columns,
        rows=np.array([row["row"] for row in rows], dtype=np.float64).reshape(-1, len(columns)),
        of=one,
        closes_ms=np.array([to_ms(row["as_of"]) for row in rows], dtype=np.int64),
        candles=candles,
        candle_ms=Timeframe(wanted.timeframe).ms,
    )


def _values(values: list[float | None]) -> Floats:
    """Shape (1, k); NULL becomes NaN."""
    return np.array([values], dtype=np.float64)


# The indexes: the primary keys of each table.
_SERVED: Final = """
    SELECT p.instrument_id, p.members, p.made_at, p.feature_set, p.feature_revision
    FROM ml_predictions p JOIN instruments i USING (instrument_id)
    WHERE i.exchange = $1 AND i.symbol = $2 AND p.timeframe = $3 AND p.horizon = $4
      AND p.as_of = $5 AND p.revision = $6 AND p.role = 'champion' AND p.model = 'served'
    """
_ROW: Final = """
    SELECT f.columns, t."values" FROM ml_features_ohlcv t JOIN feature_sets f USING (feature_set)
    WHERE t.instrument_id = $1 AND t.timeframe = $2 AND t.feature_set = $3 AND t.as_of = $4
      AND CASE WHEN $5::int IS NULL THEN t.known_at <= $6 ELSE t.revision = $5 END
    ORDER BY t.revision DESC LIMIT 1
    """
# What sources had told by the time at which the row was made.
_TOLD: Final = """
    SELECT f.columns, t."values" FROM feature_sets f LEFT JOIN LATERAL (
        SELECT "values" FROM ml_features_sentiment
        WHERE instrument_id = $1 AND timeframe = $2 AND feature_set = $3 AND as_of = $4
          AND known_at <= $5
        ORDER BY revision DESC LIMIT 1
    ) t ON true
    WHERE f.feature_set = $3
    """
_FITTED: Final = """
    SELECT m.name, m.artifact_sha256, m.params
    FROM unnest($4::text[], $5::text[]) AS wanted (name, version)
    JOIN ml_models_metadata m ON m.name = wanted.name AND m.version::text = wanted.version
    WHERE m.exchange = $1 AND m.timeframe = $2 AND m.horizon = $3
    """
_SAID: Final = f"""
    SELECT {named(ml_predictions, "p")}
    FROM unnest($6::text[], $7::text[]) AS wanted (name, version)
    JOIN ml_predictions p ON p.model = wanted.name AND p.version = wanted.version
    WHERE p.instrument_id = $1 AND p.timeframe = $2 AND p.horizon = $3 AND p.as_of = $4
      AND p.revision = $5 AND p.role = 'member'
    """  # noqa: S608 - words of ours
