"""Once a second: who may no longer listen, what the store is to know of callers, which sets end."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from backend.api.connection import CloseReason
from backend.api.handshake import UNAUTHORIZED
from backend.api.problems import STORE_FAILURES, ProblemError
from backend.api.state import ApiState
from backend.background import Rounds
from backend.store import candle_sets

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0  # wall
KEY_EXPIRED: Final = CloseReason(4510, "token_expired", 1_000)  # come back with another


async def keep_watch(state: ApiState) -> None:
    """Look again and again, for ever."""
    with Rounds("the watch over callers") as watch:
        while True:
            await asyncio.sleep(EVERY_S)
            with watch.going_on():
                await look(state)


async def look(state: ApiState) -> None:
    """End the sockets of keys that are no longer valid; while the database is away nobody's is."""
    try:
        await _end_sockets(state)
        await state.access.keyring.note_used()
        await state.access.trail.flush()
        await _note_retired(state)
    except STORE_FAILURES as error:
        log.warning("callers and sets are looked at later", extra={"reason": str(error)})


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
