"""What an operator asks of a state folder: schema, health, chains, models, dashboard."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg

from backend.api.health import some_of
from backend.attached import status_of
from backend.checkup import PROCESS, Finding, orders, processes
from backend.clock import SystemClock
from backend.dead_letters import count_dead_letters
from backend.reading import read_text
from backend.relaying import RELAYED
from backend.settings import Settings
from backend.store import chain, growth, kept_heads, migrate, panels, published, retention, schema
from backend.store.database import CONNECTION_ERRORS
from backend.store.lacking import LOST, lacking
from backend.store.outbox import Outbox
from backend.store.relayed import behind
from backend.store.schema import Standing
from backend.store.server import read_server
from backend.store.state import StateFolder
from backend.wiring import Store, database_of, open_store
from domain.errors import AlphaPulseError, in_one_line
from services.features import feature_set

ENOUGH_DISK_GB = 5.0


@asynccontextmanager
async def store_of(settings: Settings) -> AsyncIterator[Store]:
    """The store that the settings name, its schema brought up to date.

    Raises:
        StateFolderError: there is none yet; a folder that was mistyped is not made.
    """
    if settings.database_url is None:
        StateFolder(settings.state).exists()
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(database_of(settings))
        yield await stack.enter_async_context(open_store(url, settings.state / "artifacts"))


async def migrate_store(settings: Settings) -> None:
    """Bring the schema up to date and say which revision it has."""
    async with database_of(settings) as url:
        before = await asyncio.to_thread(migrate.current, url)
        await asyncio.to_thread(migrate.upgrade, url)
        after = await asyncio.to_thread(migrate.current, url)
    changed = "unchanged" if before == after else f"was {before or 'empty'}"
    sys.stdout.write(f"schema {after} ({changed})\n")


async def verify_streams(settings: Settings, heads: Path | None = None) -> int:
    """Recompute every chain and compare rows with it; 1 when any is not as published.

    Args:
        settings: name the store.
        heads: a file of heads that were kept elsewhere, which the log must go through.

    Raises:
        UsageError: `heads` is no such file.
    """
    kept = kept_heads.parse(read_text(heads)) if heads else []
    async with store_of(settings) as store, store.readers.acquire() as connection:
        faults: list[object] = [
            *await chain.breaks(connection),
            *await published.compare(connection),
        ]
        faults += await kept_heads.breaks(connection, kept)
        if faults:
            sys.stderr.write("of each log the first is named; what follows it is not judged\n")
            sys.stdout.writelines(f"{fault}\n" for fault in faults)
            return 1
        streams, events, dropped = await chain.size(connection)
        lost = await kept_heads.unjudged(connection, kept)
    sys.stdout.write(
        f"{events} events of {streams} streams are intact, "
        f"and predictions and signals are as published\n"
    )
    if dropped:
        sys.stdout.write(f"{dropped} older events are no longer kept, and are not judged\n")
    if heads:
        through = f"{len(kept) - lost} of {len(kept)}" if lost else f"all {len(kept)}"
        sys.stdout.write(f"they go through {through} heads of {heads}")
        sys.stdout.write("; the others are of events that are no longer kept\n" if lost else "\n")
    return 0


async def print_heads(settings: Settings) -> None:
    """The head of every stream, a line of JSON each, to be kept or published elsewhere."""
    async with store_of(settings) as store, store.readers.acquire() as connection:
        for head in await kept_heads.heads(connection):
            sys.stdout.write(f"{head.line()}\n")


async def rebuild_dashboard(settings: Settings) -> None:
    """Compute the panels again from the tables."""
    async with store_of(settings) as store, store.writers.acquire() as connection:
        changed = await panels.rebuild(connection)
    sys.stdout.write(f"dashboard rebuilt: {', '.join(changed) or 'nothing'} changed\n")


async def check_health(settings: Settings) -> int:
    """Print the checklist; 1 on any warning."""
    findings = [_disk(settings.state), _kernel(), _memory()]
    findings += await _store(settings)
    if settings.bus_url:
        findings.append(await _dead_letters(settings))
    apart = any(one.name.startswith(PROCESS) for one in findings)
    findings.append(await _system(settings, apart=apart))
    for finding in findings:
        mark = "ok  " if finding.good else "WARN"
        sys.stdout.write(f"{mark} {finding.name}: {finding.detail}\n")
    return 0 if all(finding.good for finding in findings) else 1


def _disk(state: Path) -> Finding:
    place = next(one for one in (state.absolute(), *state.absolute().parents) if one.exists())
    free = shutil.disk_usage(place).free / 1e9
    return Finding(name="disk", good=free >= ENOUGH_DISK_GB, detail=f"{free:.1f} GB free")


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return Finding(name="memory", good=total >= 1.0, detail=f"{total:.1f} GB in all")


def _kernel() -> Finding:
    compiled = any(Path(feature_set.__file__).parent.glob("__pycache__/*.nbi"))
    detail = "compiled" if compiled else "not compiled yet; the first tick will wait for it"
    return Finding(name="feature kernel", good=compiled, detail=detail)


async def _store(settings: Settings) -> list[Finding]:
    checks: tuple[Callable[[Store], Awaitable[Finding]], ...] = (
        _server,
        _schema,
        _chains,
        _gaps,
        _quarantine,
        _notifications,
        _growth,
    )
    found: list[Finding] = []
    try:
        async with store_of(settings) as store:
            for check in checks:
                found.append(await check(store))  # noqa: PERF401 - what was found stays
            if settings.kafka.brokers:
                found.append(await _relay(store))
            found.append(await _retention(store, settings))
            found += [*await processes(store.readers), *await orders(store.readers)]
    except (AlphaPulseError, asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
        found.append(Finding(name="database", good=False, detail=in_one_line(error)))
    return found


async def _system(settings: Settings, *, apart: bool) -> Finding:
    """The system that runs on the state folder, and what it has to do without now.

    Args:
        settings: name the folder.
        apart: whether rooms run apart over the database.
    """
    name = "running system"
    try:
        runtime = StateFolder(settings.state).attach()
        if runtime is None:
            detail = "rooms apart, the processes above" if apart else "none on this state folder"
            return Finding(name=name, good=True, detail=detail)
        status = await status_of(runtime)
    except AlphaPulseError as error:
        return Finding(name=name, good=False, detail=str(error))
    lines = [
        f"{one['about']}: {one['reason']} (since {one['since']})" for one in status["troubles"]
    ]
    late = [f"{one['symbol']} {one['timeframe']}" for one in status["freshness"] if one["stale"]]
    if late:
        lines.append(f"no fresh prediction of {some_of(late)}")
    detail = "; ".join([f"process {runtime.pid}", *lines])
    return Finding(name=name, good=not lines, detail=detail)


async def _server(store: Store) -> Finding:
    return Finding(name="database", good=True, detail=str(await read_server(store.readers)))


async def _schema(store: Store) -> Finding:
    found = await schema.look(store.readers)
    stands = migrate.standing(found)
    served = f", {stands.value}" if stands is Standing.SERVED else ""
    good = stands in {Standing.NEWEST, Standing.SERVED}
    absent = await lacking(store.readers)
    lacks = f"; it lacks {', '.join(absent)}: {LOST}" if absent else ""
    detail = f"{found.revision}{served}{lacks}"
    return Finding(name="schema", good=good and not absent, detail=detail)


async def _chains(store: Store) -> Finding:
    async with store.readers.acquire() as connection:
        fault = await chain.verify(connection)
    return Finding(name="streams", good=fault is None, detail=str(fault or "every chain intact"))


async def _gaps(store: Store) -> Finding:
    count = await store.readers.fetchval(
        "SELECT count(*) FROM ingest_gaps WHERE state IN ('open', 'repairing')"
    )
    return Finding(name="gaps", good=count == 0, detail=f"{count} open")


async def _quarantine(store: Store) -> Finding:
    count = await store.readers.fetchval("SELECT count(*) FROM quarantine")
    return Finding(name="quarantine", good=count == 0, detail=f"{count} rows set aside")


async def _notifications(store: Store) -> Finding:
    counts = {"pending": 0, "dead": 0}
    for one in await Outbox(store.readers).unsent():
        counts[one.state] += one.count
    detail = f"{counts['pending']} pending, {counts['dead']} dead letters"
    return Finding(name="notifications", good=not counts["dead"], detail=detail)


async def _relay(store: Store) -> Finding:
    """How much no broker has taken yet; whether it is stuck the running system knows."""
    count = await behind(store.readers, RELAYED)
    return Finding(name="broker", good=True, detail=f"blocks of the log that it lacks: {count}")


async def _dead_letters(settings: Settings) -> Finding:
    """Ticks that no panel could read, by the broker between rooms."""
    name = "ticks between rooms"
    try:
        count = await count_dead_letters(settings)
    except AlphaPulseError as error:
        return Finding(name=name, good=False, detail=str(error))
    told = f"{count} dead letters" + (": alphapulse dead-letters list" if count else "")
    return Finding(name=name, good=not count, detail=told)


async def _growth(store: Store) -> Finding:
    """Size of the database, and what a month adds by what its live candles take up."""
    size = await store.readers.fetchval("SELECT pg_database_size(current_database())")
    detail = f"{size / 1e9:.2f} GB"
    if (found := await growth.measured(store.readers)) is not None:
        detail += f", about {found.gb_per_month:.2f} GB per month: {found.candles:.0f} candles"
        detail += f" of {found.candle_bytes / 1000:.1f} kB"
    return Finding(name="growth", good=True, detail=detail)


async def _retention(store: Store, settings: Settings) -> Finding:
    """What is dropped after how many days, and which logs a reader keeps from it."""
    drops = settings.retention.drops
    detail = ", ".join(f"{name} after {days} days" for name, days in drops.items())
    held: list[str] = []
    if "events" in drops:
        relayed = RELAYED if settings.kafka.brokers else ()
        before = SystemClock().now() - timedelta(days=drops["events"])
        held = await retention.held(store.readers, relayed, before=before)
        detail += f"; held for notifications or a broker: {', '.join(held)}" if held else ""
    return Finding(name="retention", good=not held, detail=detail or "everything is kept")
