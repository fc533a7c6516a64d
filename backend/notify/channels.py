"""Which adapter stands behind each channel of the settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from backend.notify.apprise_channel import open_service
from backend.notify.webhook import Webhook
from backend.setting_tables import ChannelSettings, NotifySettings, webhook_key
from domain.errors import UsageError
from domain.ports import Channel, Clock


@asynccontextmanager
async def open_channels(about: NotifySettings, wall: Clock) -> AsyncIterator[dict[str, Channel]]:
    """The channels by their names.

    Args:
        about: who they are.
        wall: the machine's clock.

    Raises:
        UsageError: one cannot be; its address is not repeated.
    """
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        channels: dict[str, Channel] = {}
        try:
            for name, one in about.channels.items():
                channels[name] = await _open(name, one, session, wall)
            yield channels
        finally:
            for channel in channels.values():
                await channel.close()


async def _open(
    name: str, about: ChannelSettings, session: aiohttp.ClientSession, wall: Clock
) -> Channel:
    if about.apprise is not None:
        return await asyncio.to_thread(open_service, name, about.apprise.get_secret_value())
    key = webhook_key(about.secret.get_secret_value() if about.secret else "")
    return Webhook(session, _address(name, about), key, clock=wall)


def _address(name: str, about: ChannelSettings) -> URL:
    try:
        url = URL(about.url.get_secret_value() if about.url else "")
    except ValueError:
        url = URL()
    if not url.host:
        raise UsageError(f"setting notify.channels.{name}.url is no address")
    return url
