"""What `doctor` says of the processes of a system, and of orders that wait for one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import asyncpg

from backend.api.health import some_of
from backend.api.status import Market, Status
from backend.store.leases import Held, count_workers, read_leases
from backend.store.open_panels import opened
from backend.store.system_status import SYSTEM, Told, hear, panel_voice
from backend.store.waiting import read_waiting
from backend.told_status import LOST_AFTER_S, disagreements, market_now, take, troubles
from domain.market import rfc3339
from domain.topics import panel_key

PROCESS: Final = "process "  # begins the name of a line about one


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of `doctor`."""

    name: str
    good: bool
    detail: str


async def processes(readers: asyncpg.Pool) -> list[Finding]:
    """Who holds which leases, which have nobody, who is silent or stale, what does not agree.

    Nothing where no rooms run apart over the database.
    """
    leases, heard = await read_leases(readers), await hear(readers)
    apart = [one for one in heard if one.system != SYSTEM]
    if not any(one.held for one in leases) and not apart:
        return []
    panels = [panel_voice(panel_key(one.exchange, one.timeframe)) for one in await opened(readers)]
    ills = [(one.about, f"{one.reason} (since {rfc3339(one.since)})") for one in troubles(apart)]
    return [
        *_holders(leases, await count_workers(readers)),
        *_nobody(leases, apart, panels),
        *_silent(leases, apart),
        *_stale(apart),
        *(_warning("settings", line) for line in disagreements(apart)),
        *(_warning(about, line) for about, line in ills),
    ]


async def orders(readers: asyncpg.Pool) -> list[Finding]:
    """Owners that orders wait for and nobody is: in whatever shape the system runs."""
    found = []
    for owner, of in groupby(await read_waiting(readers), key=lambda one: one.owner):
        first, *more = of
        count = f"{1 + len(more)} of them, the oldest of {rfc3339(first.asked_at)}"
        found.append(_warning(f"orders for {owner}", f"{count}: {first.why}"))
    return found


def _holders(leases: Sequence[Held], workers: int) -> Iterator[Finding]:
    """What each process does."""
    names: dict[str, list[str]] = {}
    for one in leases:
        if one.held:
            names.setdefault(one.holder, []).append(one.name)
    for holder, held in sorted(names.items()):
        yield Finding(name=f"{PROCESS}{holder}", good=True, detail=", ".join(held))
    busy = sum(any(name.startswith(panel_voice("")) for name in held) for held in names.values())
    if workers > busy:
        detail = f"{workers - busy} of {workers} have no panel, and stand by"
        yield Finding(name="workers", good=True, detail=detail)


def _nobody(
    leases: Sequence[Held], heard: Sequence[Told], panels: Sequence[str]
) -> Iterator[Finding]:
    """Panels that are to be run, and exchanges that were collected, and nobody does."""
    held = {one.name for one in leases if one.held}
    last = {one.name: one for one in leases}
    collected = [one.system for one in heard if not one.system.startswith(panel_voice(""))]
    for name in dict.fromkeys([*collected, *panels]):
        if name not in held:
            before = f"; {last[name].holder} had it last" if name in last else ""
            yield _warning(name, f"no process has it{before}")


def _silent(leases: Sequence[Held], heard: Sequence[Told]) -> Iterator[Finding]:
    """Who has a lease, and says nothing."""
    holders = {one.name: one.holder for one in leases if one.held}
    for one in heard:
        if one.system in holders and one.silent_s >= LOST_AFTER_S:
            said = f"{holders[one.system]} has been silent for {one.silent_s:.0f} s"
            yield _warning(one.system, said)


def _stale(heard: Sequence[Told]) -> Iterator[Finding]:
    """Whose newest predictions are too old, as `/readyz` says it, and why where it is known."""
    now = market_now(heard) if heard else None
    if now is None:
        return
    everything = _status_of(heard)
    for one in heard:
        status = _status_of([one])
        if one.silent_s >= LOST_AFTER_S or not (late := status.stale(now)):
            continue
        named = some_of([instrument.symbol for instrument, _ in late])
        since = rfc3339(min(status.newest[key] for key in late))
        away = everything.away().get(late[0][0].exchange)
        why = f"; {away}" if away else ""
        yield _warning(one.system, f"no fresh prediction of {named} since {since}{why}")


def _status_of(heard: Sequence[Told]) -> Status:
    status = Status(market=Market.LIVE)
    take(heard, status)
    return status


def _warning(name: str, detail: str) -> Finding:
    return Finding(name=name, good=False, detail=detail)
