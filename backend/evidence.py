"""What the policy is shown: losses of fits and of seats, pooled over instruments by date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import asyncpg
import numpy as np

from backend.store.registry import Registry, Seat
from domain.events import Floats, Ints, Target
from domain.losses import LOSS_OF
from domain.market import Horizon, from_ms
from services.models.fitting import FitResult
from services.scores.blocks import Dates
from services.scores.promotion import Verdict

_LIVE: Final = """
SELECT (extract(epoch FROM as_of) * 1000)::bigint AS as_of_ms, instrument_id, model, {loss} AS loss
FROM ml_prediction_outcomes JOIN instruments USING (instrument_id)
WHERE exchange = $1 AND timeframe = $2 AND horizon = $3 AND model = ANY($4::text[])
  AND role = ANY($5::text[]) AND origin = 'live' AND as_of >= $6 AND {loss} IS NOT NULL
"""

COLD_START = "cold_start"  # the trigger of a decision
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

    async def losses(
        self, pool: asyncpg.Pool, names: Sequence[str], roles: Sequence[str], since: datetime
    ) -> list[asyncpg.Record]:
        """Live losses of models from `since` on."""
        query = _LIVE.format(loss=LOSS_OF[self.target])
        timeframe, steps = self.horizon.timeframe.value, self.horizon.steps
        return list(
            await pool.fetch(
                query, self.exchange, timeframe, steps, list(names), list(roles), since
            )
        )


async def beside_seat(pool: asyncpg.Pool, result: FitResult, trial: Trial) -> Dates:
    """Column 0 the live losses of the seat, column 1 the fit that did not see those blocks."""
    judged = result.judged
    since = from_ms(int(judged.as_of_ms.min()))
    rows = await trial.losses(pool, [result.name], ["member"], since)
    by_time: dict[int, list[float]] = {}
    for row in rows:
        by_time.setdefault(row["as_of_ms"], []).append(row["loss"])
    ours = dates_of(judged.as_of_ms, [judged.losses])
    seat = [float(np.mean(by_time.get(int(ms), [np.nan]))) for ms in ours.as_of_ms]
    return Dates(
        as_of_ms=ours.as_of_ms,
        losses=np.column_stack([seat, ours.losses[:, 0]]),
        counts=ours.counts,
    )


async def on_trial(
    pool: asyncpg.Pool, name: str, baseline: str, trial: Trial, *, since: datetime
) -> Dates:
    """Column 0 the baseline's live losses, column 1 those of a challenger, on the same rows."""
    rows = await trial.losses(pool, [name, baseline], ["member", "challenger"], since)
    losses: dict[str, dict[tuple[int, int], float]] = {name: {}, baseline: {}}
    for row in rows:
        losses[row["model"]][row["as_of_ms"], row["instrument_id"]] = row["loss"]
    shared = sorted(losses[name].keys() & losses[baseline].keys())
    return dates_of(
        np.array([as_of_ms for as_of_ms, _ in shared], dtype=np.int64),
        [
            np.array([losses[baseline][key] for key in shared]),
            np.array([losses[name][key] for key in shared]),
        ],
    )


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
    parts, names = list[Dates](), list[str]()
    for name in (*results, *beside):
        dates = await on_trial(pool, name, baseline, trial, since=since)
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
    }


async def failed_attempts(registry: Registry, seats: Sequence[Seat]) -> int:
    """Cold starts of these seats that lifted nobody, since the last that did."""
    failed, lifted = set(), [datetime.min.replace(tzinfo=UTC)]
    for seat in seats:
        for row in await registry.decisions(seat):
            if row["verdict"] == Verdict.COLD_START:
                lifted.append(row["decided_at"])
            elif row["trigger"] == COLD_START:
                failed.add(row["decided_at"])
    return len([moment for moment in failed if moment > max(lifted)])
