"""Whether the process lives, whether it may be relied on, and its metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from backend import metrics
from backend.api import rows
from backend.api.answers import starting, state_of
from backend.api.callers import Caller, caller_of
from backend.api.described import described
from backend.api.problems import ProblemError
from backend.api.refusals import refused
from backend.api.schemas_system import Alive, Ready
from backend.api.state import ApiState
from domain.market import rfc3339
from domain.sources import SourceState
from domain.troubles import Trouble

router = APIRouter(tags=["health"])
NAMED: Final = 5  # stale instruments in one line


def some_of(names: Sequence[str]) -> str:
    """The first few of them, and how many more there are.

    >>> some_of("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


@router.get("/healthz", responses=described(Alive))
async def healthz() -> Response:
    """The process answers."""
    return Response(b'{"status":"ok"}', media_type="application/json")


@router.get("/readyz", responses=described(Ready) | refused("stale", "unavailable"))
async def readyz(request: Request) -> Response:
    """Every watched instrument has a prediction, and none is older than it may be.

    503 `unavailable` while the database takes no writes, or slowly: why and since when.
    503 `starting` before the first prediction of every watched instrument, also of those that
    the caller does not see. 503 `stale` when one is older than its timeframe (by the speed) and
    30 s of wall time, or of a close that the clock has yet to reach; it and
    `prediction_age_seconds` are of the instruments that the caller sees.
    """
    state, caller = state_of(request), caller_of(request)
    if grave := [one for one in state.status.trouble() if one.grave]:
        raise _unavailable(grave[0], caller)
    if not state.status.ready:
        raise starting(state)
    if late := stale(state, caller):
        named = some_of([f"{one['exchange']}:{one['symbol']} {one['timeframe']}" for one in late])
        ahead = state.status.ahead(state.clock.now())
        why = "; the clock is behind the newest of them" if ahead else ""
        lines = state.status.away().values() if caller.sees_all else ()
        away = "".join(f"; {line}" for line in lines)
        raise ProblemError("stale", f"no fresh prediction of {named}{why}{away}", stale=late)
    ages = state.status.ages(state.clock.now())
    oldest = max((age for (one, _), age in ages.items() if caller.sees(one)), default=None)
    body = {
        "status": "ready",
        "prediction_age_seconds": None if oldest is None else round(oldest, 3),
        "troubles": [str(one) for one in state.status.trouble()] if caller.sees_all else [],
    }
    return Response(rows.dumps(body), media_type="application/json")


def _unavailable(trouble: Trouble, caller: Caller) -> ProblemError:
    since = rfc3339(trouble.since)
    short = f"{trouble.about}: it cannot be relied upon (since {since})"
    detail = str(trouble) if caller.sees_all else short
    return ProblemError("unavailable", detail, since=since)


def stale(state: ApiState, caller: Caller) -> list[dict[str, Any]]:
    """The instruments of a caller whose newest prediction is too old, or ahead of the clock."""
    now = state.clock.now()
    ages = state.status.ages(now)
    return [
        {
            "exchange": instrument.exchange,
            "symbol": instrument.symbol,
            "timeframe": timeframe.value,
            "as_of": rfc3339(state.status.newest[instrument, timeframe]),
            "age_seconds": round(ages[instrument, timeframe], 3),
        }
        for instrument, timeframe in state.status.stale(now)
        if caller.sees(instrument)
    ]


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics_text(request: Request) -> Response:
    """Prometheus text."""
    served: CollectorRegistry = request.app.state.registry
    text = generate_latest(served) + generate_latest(metrics.REGISTRY)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def gauges(state: ApiState) -> CollectorRegistry:
    """Figures that are read from the state when they are asked for."""
    registry = CollectorRegistry(auto_describe=True)
    registry.register(
        metrics.GaugeReading(
            "alphapulse_prediction_age_seconds",
            "Wall seconds since the close that the newest prediction is of, the oldest of those "
            "watched; negative where one is of a close that the clock has yet to reach",
            ("timeframe",),
            lambda: _oldest(state),
        )
    )
    registry.register(
        metrics.GaugeReading(
            "alphapulse_ready", "1 when /readyz is green", (), lambda: [((), _ready(state))]
        )
    )
    registry.register(
        metrics.GaugeReading(
            "alphapulse_trouble_seconds",
            "Wall seconds since the database, the broker, the clock, work beside the ticks or the "
            "record began to be in trouble, the longest; no series where nothing is",
            ("about",),
            lambda: _troubles(state),
        )
    )
    registry.register(
        metrics.GaugeReading(
            "alphapulse_sockets",
            "Open socket connections",
            (),
            lambda: [((), float(len(state.hub.connections)))],
        )
    )
    registry.register(
        metrics.GaugeReading(
            "alphapulse_source_ok",
            "1 where a source answers and has told something new, 0 where it is stale, down or off",
            ("source", "state"),
            lambda: [
                ((one.source, one.state.value), float(one.state is SourceState.OK))
                for one in state.status.sources()
            ],
        )
    )
    registry.register(
        metrics.GaugeReading(
            "alphapulse_notifications_unsent",
            "Notifications that are pending, or dead letters",
            ("channel", "state"),
            lambda: [((one.channel, one.state), float(one.count)) for one in state.unsent()],
        )
    )
    registry.register(
        metrics.GaugeReading(
            "alphapulse_notification_age_seconds",
            "Wall seconds since the oldest pending notification was entered",
            ("channel",),
            lambda: [
                ((one.channel,), one.age_s) for one in state.unsent() if one.state == "pending"
            ],
        )
    )
    return registry


def _ready(state: ApiState) -> float:
    status = state.status
    grave = any(one.grave for one in status.trouble())
    return float(status.ready and not grave and not status.stale(state.clock.now()))


def _troubles(state: ApiState) -> Iterator[tuple[tuple[str], float]]:
    now, first = datetime.now(UTC), dict[str, datetime]()
    for one in state.status.trouble():
        first[one.about] = min(one.since, first.get(one.about, one.since))
    for about, since in first.items():
        yield (about,), (now - since).total_seconds()


def _oldest(state: ApiState) -> Iterator[tuple[tuple[str], float]]:
    now = state.clock.now()
    ages, oldest = state.status.ages(now), dict[str, float]()
    for (_, timeframe), age in ages.items():
        oldest[timeframe.value] = max(age, oldest.get(timeframe.value, age))
    for key in state.status.ahead(now):
        oldest[key[1].value] = min(ages[key], oldest[key[1].value])
    for name, age in oldest.items():
        yield (name,), age
