"""The panels of a process let each other's ticks pass."""

from __future__ import annotations

import asyncio

import pytest

from backend.runner import Lane


async def test_what_follows_a_tick_waits_while_others_are_on_their_way() -> None:
    lane = Lane()
    with lane.taken():
        with lane.taken():
            following = asyncio.create_task(lane.free())
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not following.done()

    await following


async def test_a_tick_that_fails_leaves_the_lane_free() -> None:
    lane = Lane()
    with pytest.raises(ZeroDivisionError), lane.taken():
        1 / 0  # noqa: B018 - it fails

    await lane.free()
