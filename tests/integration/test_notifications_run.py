"""The notifications of a system, running: whatever one channel does, the others are told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import numpy as np
import pytest

from backend.clock import SystemClock
from backend.notify.notifications import NO_CHANNEL, notifications_of
from backend.setting_tables import NotifySettings
from collectors.pacing import Pace
from domain.notifications import Notification
from domain.ports import Channel
from tests.doubles import RecordingChannel
from tests.integration.notified import Notified, nobody, notified
from tests.integration.test_sender import enter
from tests.receiver import SECRET

ABOUT = NotifySettings.model_validate(
    {
        "channels": {
            name: {"url": "http://127.0.0.1:9", "secret": SECRET} for name in ("ops", "phone")
        },
        "rules": [{"events": ["signal.opened"], "channels": ["ops", "phone"]}],
    }
)


class BrokenChannel(RecordingChannel):
    """One with a mistake that nobody foresaw."""

    async def send(self, notification: Notification) -> None:
        await super().send(notification)
        raise RuntimeError("a mistake")


@pytest.fixture
async def record(database_url: str) -> AsyncIterator[Notified]:
    async with notified(database_url) as found:
        yield found


async def test_a_mistake_of_one_channel_ends_neither_the_others_nor_the_system(
    record: Notified, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound, clock = BrokenChannel(), RecordingChannel(), SystemClock()
    channels: dict[str, Channel] = {"ops": broken, "phone": sound}
    pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(7))
    with caplog.at_level(logging.ERROR):
        async with notifications_of(
            ABOUT, channels, url=database_url, status=record.status, pace=pace, free=nobody
        ) as found:
            await record.signals(1)
            running = asyncio.create_task(found.run())
            async with asyncio.timeout(60):
                while len(sound.got) < 3 or not broken.got or not found.unsent():  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.02)
            waiting = {(one.channel, one.state) for one in found.unsent()}
            assert not running.done()
            running.cancel()

    assert len({one.id for one in sound.got}) == 3
    assert "notifications pause" in caplog.text
    assert ("ops", "pending") in waiting
    assert len(broken.got) == 1


async def test_without_channels_nothing_runs_and_what_waited_is_dead(
    record: Notified, database_url: str
) -> None:
    await record.notifier()
    await enter(record, "BTC/USDT")
    pace = Pace(clock=record.clock, wall=record.clock, random=np.random.default_rng(7))

    async with notifications_of(
        NotifySettings(), {}, url=database_url, status=record.status, pace=pace, free=nobody
    ) as found:
        await found.run()

    (row,) = await record.rows()
    assert (row["state"], row["error"]) == ("dead", NO_CHANNEL)
    assert await record.pool.fetch("SELECT * FROM notification_cursors") == []
