"""Once a second: who may no longer listen, what the store is to know of callers, which sets end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from backend.api.connection import CloseReason
from backend.api.handshake import UNAUTHORIZED
from backend.api.problems import ProblemError
from backend.api.state import ApiState
from backend.background import Rounds
from backend.store import candle_sets
from backend.store.database import CONNECTION_ERRORS
from backend.store.lacking import LOST, lacking
from domain.errors import StoreError, in_one_line

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0  # wall
LACKING_EVERY_S: Final = 10.0  # wall
AWAY: Final = (StoreError, *CONNECTION_ERRORS)
KEY_EXPIRED: Final = CloseReason(4510, "token_expired", 1_000)  # come back with another


async def keep_watch(state: ApiState) -> None:
    """Look again and again, for ever."""
    with Rounds("the watch over callers") as watch:
        while True:
            await asyncio.sleep(EVERY_S)
            with watch.going_on():
                await look(state)


async def keep_watch_of_tables(state: ApiState) -> None:
    """See again and again whether the database lacks any, for ever."""
    with Rounds("the watch over tables") as watch:
        while True:
            await asyncio.sleep(LACKING_EVERY_S)
            with watch.going_on():
                await look_at_tables(state)


async def look_at_tables(state: ApiState) -> None:
    """Have the status say which tables and columns are not there; while it is away none is said."""
    if state.reader is None:
        return
    with _or_later(state, "tables"):
        found = await lacking(state.reader)
        state.status.lacks(f"it lacks {', '.join(found)}: {LOST}" if found else "")


async def look(state: ApiState) -> None:
    """End the sockets of keys that are no longer valid; while the database is away nobody's is."""
    with _or_later(state, "callers and sets"):
        await _end_sockets(state)
        await state.access.keyring.note_used()
        await state.access.trail.flush()
        await _note_retired(state)


@contextmanager
def _or_later(state: ApiState, what: str) -> Iterator[None]:
    """While the database is away that is logged, once for each reason."""
    try:
        yield
    except AWAY as error:
        reason = in_one_line(error)
        if state.later.get(what) != reason:
            log.warning("%s are looked at later", what, extra={"reason": reason})
        state.later[what] = reason
    else:
        state.later.pop(what, None)


async def _note_retired(state: ApiState) -> None:
    """That a set is to end, while one is beside it that takes its place."""
    if state.reader is not None and len(state.status.feature_sets) > 1:
        state.status.retired = frozenset(await candle_sets.retired(state.reader))


async def _end_sockets(state: ApiState) -> None:
    callers = [one.caller for one in state.hub.connections]
    for key in {one.name: one.key for one in callers if one.key is not None}.values():
        try:
            await state.access.keyring.again(key)
        except ProblemError as problem:
            expired = problem.code == "token_expired"
            reason = KEY_EXPIRED if expired else CloseReason(UNAUTHORIZED, problem.code)
            for one in state.hub.connections:
                if one.caller.name == key.id:
                    one.close(reason)
