"""Instruments that are followed no more: who stays away, and what becomes of open signals."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from backend.runner import Runner
from backend.store.database import patiently
from backend.wiring import Store
from domain.events import SignalBatch
from domain.market import Instrument


def staying_away(
    named: Collection[Instrument], removed: Collection[Instrument]
) -> list[Instrument]:
    """What an order removed stays so though it is named, unless nothing else is.

    A system that watches nothing could not be told to watch it again.
    """
    away = [one for one in named if one in removed]
    return away if len(away) < len(named) else []


def why_away(instrument: Instrument) -> str:
    """A note of one that stays away."""
    return (
        f"{instrument} was removed and is not watched;"
        f" `alphapulse instruments add {instrument}` brings it back"
    )


async def withdraw_signals(runner: Runner, store: Store, followed: Collection[Instrument]) -> None:
    """Close the open signals of whoever is not followed, at its last close."""
    timeframe, now = runner.panel.key.timeframe, runner.clock.now()
    async with runner.turn:
        books = [rooms.book for rooms in runner.panel.rooms.values()]
        closed: list[SignalBatch] = []
        for instrument in sorted({one for book in books for one in book.instruments}):
            if instrument not in followed:
                (last,) = await store.collected.newest(instrument, timeframe, count=1)
                closed += [batch for book in books for batch in book.leave(last, at=now)]
        if closed:
            commit = partial(store.recorder.commit_tick, closed, published_at=now)
            runner.publish(await patiently(commit, runner.wall))
