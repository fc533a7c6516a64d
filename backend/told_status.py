"""The status of a process as JSON, for servers beside it, and that of all of them back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from backend.agreed import Print, differences
from backend.api.state import Weight
from backend.api.status import Market, Status
from backend.background import Rounds
from backend.background import troubles as troubles_in_the_background
from backend.bus.troubles import troubles as troubles_of_the_bus
from backend.clock import ClockWatch, SystemClock
from backend.damaged import troubles as troubles_of_the_record
from backend.store.pulse import Pulse
from backend.store.system_status import SOURCES, SYSTEM, StatusStore, Told, collectors_voice
from domain.market import Instrument, Timeframe, from_ms, to_ms
from domain.ports import Clock
from domain.sources import SourceState, SourceStatus
from domain.troubles import Trouble

LOST_AFTER_S: Final = 10.0  # of silence
TELL_EVERY_S: Final = 0.5  # wall
_WHO: Final = {SYSTEM: "system that predicts", SOURCES: "process that asks sources"}


def spelled(
    status: Status,
    *,
    weights: Sequence[Weight] = (),
    process: str = "",
    settings: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What servers beside a process that collects or predicts are to know of it.

    Args:
        status: its own.
        weights: of its pools.
        process: its name, as holder of leases.
        settings: their fingerprint, where others must have the same.
    """
    return {
        "market": status.market.value,
        "speed": status.speed,
        "instruments": [[one.exchange, one.symbol] for one in status.instruments],
        "timeframes": [one.value for one in status.timeframes],
        "horizons": list(status.horizons),
        "feature_sets": list(status.feature_sets),
        "progress": [[one.name, one.done, one.total] for one in status.progress.values()],
        "notes": list(status.notes),
        "newest": [
            [one.exchange, one.symbol, timeframe.value, to_ms(as_of)]
            for (one, timeframe), as_of in status.newest.items()
        ],
        "sources": [
            [one.source, one.state.value, to_ms(one.since), one.reason] for one in status.sources()
        ],
        "away": dict(status.away()),
        "troubles": [
            [one.about, to_ms(one.since), one.reason, one.grave] for one in status.trouble()
        ],
        "weights": [asdict(one) for one in weights],
        "process": process,
        "settings": dict(settings or {}),
    }


async def keep_telling(
    kept: StatusStore, status: Status, told: Callable[[], Mapping[str, Any]], clock: Clock
) -> None:
    """Keep what servers beside this process are to say of it, until cancelled.

    Args:
        kept: where.
        status: is told of troubles with the database, the road between rooms and the clock, of
            what fails beside the ticks, and of what is damaged in the record.
        told: what there is to say, at each time.
        clock: of the market.
    """
    wall = SystemClock()
    pulse, watch = Pulse(wall), ClockWatch(clock, wall=wall, speed=status.speed)
    status.troubles += [
        pulse.troubles,
        watch.troubles,
        troubles_of_the_bus,
        troubles_in_the_background,
        troubles_of_the_record,
    ]
    with Rounds(f"the telling of the status of {kept.name}") as telling:
        while True:
            with telling.going_on():
                watch.look()
                await pulse.beat(partial(kept.tell, told(), clock.now()))
            await asyncio.sleep(TELL_EVERY_S)


def take(heard: Sequence[Told], status: Status, ours: Print | None = None) -> None:
    """Have `status` say what all said; of one that is silent beyond `LOST_AFTER_S` also that.

    Args:
        heard: at least one voice.
        status: of the process that hears them.
        ours: its settings, where the others must have the same.
    """
    told = [one.told for one in heard]
    status.market, status.speed = Market(told[0]["market"]), told[0]["speed"]
    status.instruments = tuple(Instrument(*one) for one in _all(told, "instruments"))
    status.timeframes = tuple(Timeframe(one) for one in _all(told, "timeframes"))
    status.horizons = tuple(_all(told, "horizons"))
    status.feature_sets = tuple(_all(told, "feature_sets"))
    status.progress.clear()
    for piece in _all(told, "progress"):
        status.report(*piece)
    status.notes = [*_all(told, "notes"), *disagreements(heard, ours)]
    status.newest = {
        (Instrument(exchange, symbol), Timeframe(timeframe)): from_ms(as_of)
        for exchange, symbol, timeframe, as_of in _all(told, "newest")
    }
    sources = [
        SourceStatus(source=source, state=SourceState(state), since=from_ms(since), reason=reason)
        for source, state, since, reason in _all(told, "sources")
    ]
    status.sources = lambda: sources
    away = {
        name: line for one in heard for name, line in {**one.told["away"], **_silence(one)}.items()
    }
    status.away = lambda: away


def _all(told: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    """Of each once, in their order."""
    if len(told) == 1:
        return list(told[0].get(name, ()))  # of a release that does not say it
    return list({repr(piece): piece for one in told for piece in one.get(name, ())}.values())


def _silence(heard: Told) -> dict[str, str]:
    if heard.silent_s < LOST_AFTER_S:
        return {}
    who = _WHO.get(heard.system, heard.system)
    have = "have" if heard.system.startswith(collectors_voice("")) else "has"
    line = f"the {who} {have} been silent for {heard.silent_s:.0f} s"
    if heard.system == SOURCES:
        return {SOURCES: line}
    return dict.fromkeys({exchange for exchange, _ in heard.told["instruments"]}, line)


def disagreements(heard: Sequence[Told], ours: Print | None = None) -> list[str]:
    """The settings that processes which speak do not have alike, a line each.

    Args:
        heard: what they said.
        ours: of this process, which may have nothing to speak of yet.
    """
    speaking = [one for one in heard if one.silent_s < LOST_AFTER_S]
    prints = [
        (one.told.get("process") or one.system, one.told.get("settings", {})) for one in speaking
    ]
    return differences(prints if ours is None else [*prints, ours])


def troubles(heard: Sequence[Told]) -> list[Trouble]:
    """What any of them needs and does not have; what one that is silent said is of the past."""
    told = [
        Trouble(about=about, since=from_ms(since), reason=_placed(about, reason, one), grave=grave)
        for one in heard
        if one.silent_s < LOST_AFTER_S
        for about, since, reason, grave in one.told.get("troubles", ())
    ]
    return list(dict.fromkeys(told))


def _placed(about: str, reason: str, heard: Told) -> str:
    """With the process: each reaches a broker by addresses of its own."""
    process = heard.told.get("process")
    return f"at {process} {reason}" if about == "broker" and process else reason


def market_now(heard: Sequence[Told]) -> datetime | None:
    """What time it is for who spoke last; None where all are silent.

    Args:
        heard: at least one voice.
    """
    last = min(heard, key=lambda one: one.silent_s)
    if last.silent_s >= LOST_AFTER_S:
        return None
    return last.now + timedelta(seconds=last.silent_s * last.told["speed"])


def weights(heard: Sequence[Told]) -> list[Weight]:
    """The parts of all members, as they were."""
    return [Weight(**one) for one in _all([one.told for one in heard], "weights")]
