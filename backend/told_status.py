"""The status of a system as JSON, for servers beside it, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from backend.api.state import ApiState, Weight
from backend.api.status import Market, Status
from domain.market import Instrument, Timeframe, from_ms, to_ms
from domain.sources import SourceState, SourceStatus

LOST_AFTER_S: Final = 10.0  # of silence


def spelled(state: ApiState) -> dict[str, Any]:
    """What servers beside the system that predicts are to know of it."""
    status = state.status
    joining = {} if state.members is None else state.members.under_way()
    return {
        "market": status.market.value,
        "speed": status.speed,
        "instruments": [[one.exchange, one.symbol] for one in status.instruments],
        "timeframes": [one.value for one in status.timeframes],
        "horizons": list(status.horizons),
        "progress": [[one.name, one.done, one.total] for one in status.progress.values()],
        "notes": [*status.notes, *map(str, status.trouble())],
        "newest": [
            [one.exchange, one.symbol, timeframe.value, to_ms(as_of)]
            for (one, timeframe), as_of in status.newest.items()
        ],
        "sources": [
            [one.source, one.state.value, to_ms(one.since), one.reason] for one in status.sources()
        ],
        "away": dict(status.away()),
        "joining": [[one.exchange, one.symbol, to_ms(since)] for one, since in joining.items()],
        "weights": [] if state.seats is None else [asdict(one) for one in state.seats.weights()],
    }


def take(told: Mapping[str, Any], status: Status, *, silent_s: float) -> None:
    """Have `status` say what the system said; beyond `LOST_AFTER_S` also that it is silent."""
    status.market = Market(told["market"])
    status.speed = told["speed"]
    status.instruments = tuple(Instrument(*one) for one in told["instruments"])
    status.timeframes = tuple(Timeframe(one) for one in told["timeframes"])
    status.horizons = tuple(told["horizons"])
    status.progress.clear()
    for piece in told["progress"]:
        status.report(*piece)
    status.notes = list(told["notes"])
    status.newest = {
        (Instrument(exchange, symbol), Timeframe(timeframe)): from_ms(as_of)
        for exchange, symbol, timeframe, as_of in told["newest"]
    }
    sources = [
        SourceStatus(source=source, state=SourceState(state), since=from_ms(since), reason=reason)
        for source, state, since, reason in told["sources"]
    ]
    status.sources = lambda: sources
    away = {**told["away"], **_silence(status, silent_s)}
    status.away = lambda: away


def _silence(status: Status, silent_s: float) -> dict[str, str]:
    if silent_s < LOST_AFTER_S:
        return {}
    line = f"the system that predicts has been silent for {silent_s:.0f} s"
    return dict.fromkeys({one.exchange for one in status.instruments}, line)


def joining(told: Mapping[str, Any]) -> dict[Instrument, datetime]:
    """The instruments that are joining, since when."""
    return {
        Instrument(exchange, symbol): from_ms(since) for exchange, symbol, since in told["joining"]
    }


def weights(told: Mapping[str, Any]) -> list[Weight]:
    """The parts of all members, as they were."""
    return [Weight(**one) for one in told["weights"]]
