"""What the policy is shown: losses of fits and of seats, pooled over instruments by date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg
import numpy as np

from domain.events import Floats, Ints, Role, Target
from domain.losses import BASELINES, LOSS_OF
from domain.market import Horizon, from_ms
from services.models.fitting import FitResult, Importance
from services.scores.blocks import Dates

_OF: Final = """
FROM ml_prediction_outcomes JOIN instruments USING (instrument_id)
WHERE exchange = $1 AND timeframe = $2 AND horizon = $3 AND origin = 'live'
  AND as_of >= $4 AND {loss} IS NOT NULL
"""
_SEATED: Final = f"""
SELECT (extract(epoch FROM as_of) * 1000)::bigint AS as_of_ms, avg({{loss}}) AS loss
{_OF} AND role = 'member' AND model = $5
GROUP BY as_of
"""  # noqa: S608 - words of ours
# Means over the instruments that the reference judged too; their order keeps them bit for bit.
_BESIDE: Final = f"""
SELECT (extract(epoch FROM as_of) * 1000)::bigint AS as_of_ms, model, count(*) AS rows,
       avg(reference ORDER BY instrument_id) AS reference, avg(loss ORDER BY instrument_id) AS loss
FROM (
    SELECT as_of, instrument_id, model, {{loss}} AS loss,
           max({{loss}}) FILTER (WHERE role = 'member' AND model = $5)
               OVER (PARTITION BY as_of, instrument_id) AS reference
    {_OF} AND (role = 'member' AND model = $5 OR role = $7 AND model = ANY($6::text[]))
) AS said
WHERE reference IS NOT NULL
GROUP BY as_of, model ORDER BY as_of, model
"""  # noqa: S608 - words of ours

LARGEST_DISAGREEMENT = 1.0  # of the two fits of a refresh: beyond it they are not one recipe
COVERAGE = (0.5, 0.97)  # of 80 % quantiles on judged rows, before the intervals are adapted


def dates_of(as_of_ms: Ints, losses: Sequence[Floats]) -> Dates:
    """Rows to dates: means over the rows of a close time that every forecaster judged.

    Args:
        as_of_ms: (k,) of the rows.
        losses: (k,) for each forecaster, the one compared with first.
    """
    table = np.stack(losses, axis=1)
    judged = np.isfinite(table).all(axis=1)
    times, which = np.unique(as_of_ms[judged], return_inverse=True)
    counts = np.bincount(which, minlength=len(times))
    sums = np.zeros((len(times), table.shape[1]))
    np.add.at(sums, which, table[judged])
    return Dates(as_of_ms=times, losses=sums / counts[:, None], counts=counts)


def best_baseline(result: FitResult) -> str:
    """Of the target's baselines the one with the smaller mean loss on the judged rows."""
    means = {name: np.nanmean(losses) for name, losses in result.judged.baseline_losses.items()}
    return min(means, key=means.__getitem__)


def holdout(results: Mapping[str, FitResult]) -> Dates:
    """Baseline in column 0, then each fit; all were judged on the same rows."""
    first = next(iter(results.values()))
    baseline = first.judged.baseline_losses[best_baseline(first)]
    return dates_of(
        first.judged.as_of_ms, [baseline, *(one.judged.losses for one in results.values())]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a comparison is about."""

    exchange: str
    horizon: Horizon
    target: Target

    async def seated(self, pool: asyncpg.Pool, name: str, since: datetime) -> dict[int, float]:
        """Live losses of a member: the mean of each close, by its time in ms."""
        rows = await pool.fetch(self._query(_SEATED), *self._key(), since, name)
        return {row["as_of_ms"]: row["loss"] for row in rows}

    async def beside(
        self,
        pool: asyncpg.Pool,
        reference: str,
        names: Sequence[str],
        *,
        since: datetime,
        role: Role = Role.CHALLENGER,
    ) -> dict[str, Dates]:
        """Live losses of kinds in `role`, column 1, beside a member's, column 0, by name.

        Under the reference's own name: column 0 alone, wherever it was judged.
        """
        query, key = self._query(_BESIDE), self._key()
        rows = await pool.fetch(query, *key, since, reference, list(names), role.value)
        said: dict[str, list[asyncpg.Record]] = {name: [] for name in (reference, *names)}
        for row in rows:
            said[row["model"]].append(row)
        return {
            name: _dates(rows, ["reference"] if name == reference else ["reference", "loss"])
            for name, rows in said.items()
        }

    def _query(self, text: str) -> str:
        return text.format(loss=LOSS_OF[self.target])

    def _key(self) -> tuple[str, str, int]:
        return self.exchange, self.horizon.timeframe.value, self.horizon.steps


def _dates(rows: Sequence[asyncpg.Record], columns: Sequence[str]) -> Dates:
    return Dates(
        as_of_ms=np.array([row["as_of_ms"] for row in rows], dtype=np.int64),
        losses=np.array(
            [[row[name] for name in columns] for row in rows], dtype=np.float64
        ).reshape(-1, len(columns)),
        counts=np.array([row["rows"] for row in rows], dtype=np.int64),
    )


async def beside_seat(pool: asyncpg.Pool, result: FitResult, trial: Trial) -> Dates:
    """Column 0 the live losses of the seat, column 1 the fit that did not see those blocks."""
    judged = result.judged
    said = await trial.seated(pool, result.name, from_ms(int(judged.as_of_ms.min())))
    ours = dates_of(judged.as_of_ms, [judged.losses])
    seat = [said.get(int(ms), np.nan) for ms in ours.as_of_ms]
    return Dates(
        as_of_ms=ours.as_of_ms,
        losses=np.column_stack([seat, ours.losses[:, 0]]),
        counts=ours.counts,
    )


async def in_the_shadow(
    pool: asyncpg.Pool,
    champion: str,
    challengers: Sequence[str],
    trial: Trial,
    *,
    since: datetime,
) -> Dates:
    """Live losses of the champion in column 0, wherever it was judged, then the challengers'."""
    record = await trial.beside(pool, champion, challengers, since=since)
    return joined([record[champion], *(record[name] for name in challengers)])


async def beside_baseline(pool: asyncpg.Pool, name: str, trial: Trial, *, since: datetime) -> Dates:
    """Live losses of a member in column 1, beside the best of its baselines' in column 0."""
    found = [
        (await trial.beside(pool, baseline, [name], since=since, role=Role.MEMBER))[name]
        for baseline in BASELINES[trial.target]
    ]
    return min(found, key=lambda dates: dates.losses[:, 0].mean() if len(dates.losses) else 0.0)


async def cold_start_evidence(
    pool: asyncpg.Pool,
    results: Mapping[str, FitResult],
    trial: Trial,
    *,
    since: datetime,
    beside: Sequence[str],
) -> tuple[Dates, list[str]]:
    """Baseline in column 0, then each kind that asks for a seat, and their names.

    A kind is judged by what it said live, its refits continuing its shadow, up to the blocks
    that its newest fit did not see; on those, by that fit. Those `beside` have only a record.
    """
    baseline = best_baseline(next(iter(results.values())))
    judged = holdout(results)
    asked = (*results, *beside)
    record = await trial.beside(pool, baseline, asked, since=since)
    parts, names = list[Dates](), list[str]()
    for name in asked:
        dates = record[name]
        if name in results:
            dates = continued(dates, judged, 1 + list(results).index(name))
        if len(dates.as_of_ms):
            parts.append(dates)
            names.append(name)
    return joined(parts), names


def continued(record: Dates, judged: Dates, column: int) -> Dates:
    """A record up to the first judged date, and from there on column `column` of `judged`."""
    before = record.as_of_ms < judged.as_of_ms.min(initial=np.iinfo(np.int64).max)
    return Dates(
        as_of_ms=np.concatenate([record.as_of_ms[before], judged.as_of_ms]),
        losses=np.concatenate([record.losses[before], judged.losses[:, [0, column]]]),
        counts=np.concatenate([record.counts[before], judged.counts]),
    )


def joined(parts: Sequence[Dates]) -> Dates:
    """Several comparisons with the same reference: its column once, then those of each part.

    The parts may have judged other rows of a date. What counts is each one's difference from
    its own reference, so that is what is laid against the first part's reference.
    """
    times = np.unique(np.concatenate([part.as_of_ms for part in parts]))
    columns = sum(part.losses.shape[1] - 1 for part in parts)
    losses = np.full((len(times), 1 + columns), np.nan)
    counts = np.zeros(len(times), dtype=np.int64)
    column = 1
    for part in parts:
        at = np.searchsorted(times, part.as_of_ms)
        width = part.losses.shape[1] - 1
        losses[at, 0] = np.where(np.isnan(losses[at, 0]), part.losses[:, 0], losses[at, 0])
        difference = part.losses[:, :1] - part.losses[:, 1:]
        losses[at[:, None], np.arange(column, column + width)] = losses[at, :1] - difference
        counts[at] = np.maximum(counts[at], part.counts)
        column += width
    return Dates(as_of_ms=times, losses=losses, counts=counts)


def failed_guardrails(result: FitResult) -> list[str]:
    """What forbids a fit whatever its losses are, in words."""
    failed = []
    if result.finite < 1.0:
        failed.append(f"{1 - result.finite:.1%} of its forecasts are not finite")
    if result.coverage is not None and not COVERAGE[0] <= result.coverage <= COVERAGE[1]:
        failed.append(f"coverage {result.coverage:.2f}")
    if result.disagreement is not None and result.disagreement > LARGEST_DISAGREEMENT:
        failed.append(f"its two fits disagree by {result.disagreement:.2f}")
    return failed


def metrics_of(result: FitResult) -> dict[str, object]:
    """Means over the judged rows, beside the baselines'."""
    judged = result.judged
    return {
        "judged": {
            "rows": len(judged.losses),
            "loss": float(np.nanmean(judged.losses)),
            "baselines": {
                name: float(np.nanmean(losses)) for name, losses in judged.baseline_losses.items()
            },
        },
        "coverage": result.coverage,
        "disagreement": result.disagreement,
        "importance": None if result.importance is None else _written(result.importance),
        "failed": failed_guardrails(result),
    }


def _written(importance: Importance) -> dict[str, object]:
    """The features as a list: objects in the database have an order of their own."""
    features = [{"feature": name, "mean": mean} for name, mean in importance.features.items()]
    return {"rows": importance.rows, "features": features}
