"""What sentiment adds to a replay: the sources as recorded, and both passes side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from backend.figures import interval, number
from backend.report import Losses, losses_of
from collectors.recorded_sources import RecordedSources
from domain.events import Target
from domain.losses import LOSS_OF
from domain.market import EPOCH, MILLISECOND, Horizon, Instrument, from_ms, rfc3339
from domain.sources import SourceState, SourceStatus
from services.models.catalogue import Catalogue
from services.scores.skill import pooled_skill
from services.sentiment.blend import shipped
from services.sentiment.features import SentimentFeatures
from services.sentiment.reader import Reader


def as_told(recorded: RecordedSources, assets: Iterable[str]) -> SentimentFeatures:
    """What was recorded, as a live system would have come to know it.

    A source is ok from its first fact to its last, and off before and after.
    """
    told = SentimentFeatures(since=EPOCH)
    changes: list[tuple[datetime, SourceStatus]] = []
    for source, (first_ms, last_ms) in recorded.spans().items():
        first, last = from_ms(first_ms), from_ms(last_ms) + MILLISECOND
        states = (EPOCH, SourceState.OFF), (first, SourceState.OK), (last, SourceState.OFF)
        for at, state in states:
            changes.append((at, SourceStatus(source=source, state=state, since=at)))
    for at, status in sorted(changes, key=lambda change: change[0]):
        told.on_statuses([status], at)
    told.on_scored(Reader(shipped(), assets=assets).on_texts(recorded.items))
    told.on_measurements(recorded.measurements)
    return told


def forecasters(catalogue: Catalogue) -> dict[str, Target]:
    """Pools and fitted models with their targets, in the order in which a report has them."""
    recipes = catalogue.recipes.items()
    return {
        name: target
        for target in sorted(LOSS_OF)
        for name in (
            f"pool.{target}",
            *sorted(name for name, one in recipes if one.target is target),
        )
    }


async def fitted_losses(
    connection: asyncpg.Connection,
    horizon: int,
    instruments: Mapping[int, Instrument],
    names: Sequence[str],
) -> dict[str, Losses]:
    """The scored live rows of pools and fitted models; instruments are numbered by name."""
    order = {name: place for place, name in enumerate(sorted(instruments.values()))}
    places = {numbered: order[one] for numbered, one in instruments.items()}
    return await losses_of(connection, horizon, names, places)


def added(
    with_it: Mapping[str, Losses],
    without: Mapping[str, Losses],
    recorded: RecordedSources,
    *,
    targets: Mapping[str, Target],
    span: Horizon,
    seed: int,
) -> dict[str, Any]:
    """The section `sentiment` of the report, by model: pools, and each kind whoever it serves.

    `added` is 1 - loss with / loss without, of forecasts of the same closes, as means of daily
    means; the interval is that of a skill.
    """
    section: dict[str, Any] = {"with": {}, "without": {}, "added": {}}
    for name, target in targets.items():
        rows = with_it[name].beside(without[name], LOSS_OF[target])
        if not len(rows.loss):
            continue
        estimate = pooled_skill(rows, span, seed)
        section["with"][name] = number(estimate.loss)
        section["without"][name] = number(estimate.baseline_loss)
        section["added"][name] = {
            "share": number(estimate.skill),
            "interval95": interval(estimate),
            "n": estimate.count,
        }
    section["sources"] = {
        source: {"from": rfc3339(from_ms(first)), "to": rfc3339(from_ms(last))}
        for source, (first, last) in recorded.spans().items()
    }
    return section
