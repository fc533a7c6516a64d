"""What an operator says of jobs: have models fitted now, and what became of what was asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import orjson

from backend.clock import SystemClock
from backend.commands import COMMAND, audited, ordering
from backend.orders import cancel
from backend.settings import Settings
from backend.store.jobs import JobStore, read_job, read_jobs
from backend.store.waiting import told_of, why_waiting
from backend.upkeep import store_of
from domain.errors import UsageError, shortened
from domain.market import rfc3339

_JSON = ("request", "progress", "result")


async def train_models(place: Mapping[str, Any], settings: Settings) -> None:
    """Have the running system fit its models at the next tick.

    Args:
        place: exchange, timeframe, horizon; what is None is every one.
        settings: name the system.

    Raises:
        StateFolderError: no system runs.
        UsageError: nothing is predicted there.
    """
    order = {name: value for name, value in place.items() if value is not None}
    async with ordering(settings) as desk:
        asked = await desk.order("retrain", order)
    sys.stdout.write(
        f"training asked for: it begins at the next close with enough labels; `alphapulse jobs show"
        f" {asked.row['id']}` tells how it goes on\n"
    )


async def list_jobs(settings: Settings, *, limit: int) -> None:
    """One line for each of the newest jobs, the newest last."""
    async with store_of(settings) as store:
        rows = await read_jobs(store.readers, limit=limit)
        waits = await why_waiting(store.readers, [row["id"] for row in rows])
    for row in reversed(rows):
        request = " ".join(f"{name}={one}" for name, one in orjson.loads(row["request"]).items())
        detail = told_of(row["detail"], waits.get(row["id"])) or ""
        sys.stdout.write(
            f"{rfc3339(row['created_at'])} {row['id']} {row['kind']:<8} {row['state']:<7}"
            f" {row['caller']:<12} {request} {detail}".rstrip()
            + "\n"
        )


async def cancel_job(name: str, settings: Settings) -> None:
    """End what of an order nobody has begun, whether a system runs or not.

    Raises:
        UsageError: there is none, or nothing of it waits.
    """
    clock = SystemClock()
    async with store_of(settings) as store, audited(store, "cancel", shortened(name)):
        job = await read_job(store.readers, name)
        if job is None:
            raise _unknown(name)
        await cancel(JobStore(store.writers), job, COMMAND, at=clock.now())
        after = await read_job(store.readers, name)
    state = "" if after is None else f": it is {after['state']}"
    sys.stdout.write(f"what waited of the {job['kind']} {name} is cancelled{state}\n")


def _unknown(name: str) -> UsageError:
    return UsageError(f"there is no job {shortened(name)}; `alphapulse jobs list` has the newest")


async def show_job(name: str, settings: Settings) -> None:
    """Everything that is known of a job, as JSON.

    Raises:
        UsageError: there is none.
    """
    async with store_of(settings) as store:
        row = await read_job(store.readers, name)
        waits = await why_waiting(store.readers, [name])
    if row is None:
        raise _unknown(name)
    shown = {
        key: orjson.loads(one) if key in _JSON and one is not None else one
        for key, one in row.items()
    }
    shown["detail"] = told_of(shown["detail"], waits.get(name))
    sys.stdout.write(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode() + "\n")
