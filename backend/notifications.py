"""What an operator asks about notifications: what became of them, once more, and a trial."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from backend.clock import SystemClock
from backend.notify.channels import open_channels
from backend.setting_tables import UnknownChannelError
from backend.settings import Settings
from backend.store.outbox import STATES, Outbox, listed
from backend.upkeep import store_of
from domain.errors import UndeliveredError, UnknownNameError, UsageError
from domain.market import rfc3339
from services.notifications.wording import trial


class UnknownStateError(UnknownNameError):
    """A state that no notification has."""

    noun = "state"


async def list_notifications(
    settings: Settings, *, state: str | None, channel: str | None, limit: int
) -> None:
    """One line for each, the newest first.

    Raises:
        UnknownStateError: a notification is never so.
    """
    if state is not None and state not in STATES:
        raise UnknownStateError(state, STATES)
    async with store_of(settings) as store:
        rows = await listed(store.readers, state=state, channel=channel, limit=limit)
    sys.stdout.writelines(f"{_line(row)}\n" for row in rows)


async def retry_notifications(
    settings: Settings, ids: Sequence[str], *, channel: str | None
) -> None:
    """Let dead letters be tried again, as if they were new; a running system does it.

    Raises:
        UsageError: none is named, or one is no dead letter.
        UnknownChannelError: the settings have no such channel.
    """
    if not ids and channel is None:
        raise UsageError("name dead letters by their ids, or --channel for all of one")
    if channel is not None:
        _refuse_unknown(channel, settings)
    async with store_of(settings) as store:
        now = SystemClock().now()
        raised = await Outbox(store.writers).raise_dead(ids, channel=channel, at=now)
    sys.stdout.write(f"{len(raised)} to be tried again\n")
    if strange := sorted(set(ids) - set(raised)):
        raise UsageError(f"no dead letter has the id {', '.join(strange)}")


async def try_channel(settings: Settings, channel: str) -> None:
    """Send something that says that it is a test, at once and without the outbox.

    Raises:
        UnknownChannelError: the settings have no such channel.
        UndeliveredError: it was not taken.
    """
    _refuse_unknown(channel, settings)
    about, wall = settings.notify, SystemClock()
    alone = about.model_copy(update={"channels": {channel: about.channels[channel]}})
    async with open_channels(alone, wall) as channels:
        told = trial(channel, rfc3339(wall.now()))
        try:
            await channels[channel].send(told)
        except UndeliveredError as error:
            raise UndeliveredError(f"{channel} did not take it: {error}") from None
    sys.stdout.write(f"{channel} took {told.id}\n")


def _refuse_unknown(channel: str, settings: Settings) -> None:
    if channel not in settings.notify.channels:
        raise UnknownChannelError(channel, settings.notify.channels)


def _line(row: Mapping[str, Any]) -> str:
    when = f"sent {rfc3339(row['sent_at'])}" if row["sent_at"] else f"tries: {row['attempts']}"
    error = f", {row['error']}" if row["error"] else ""
    return (
        f"{row['id']} {row['state']:<7} {row['channel']} {row['event']} {row['subject']}"
        f" at {rfc3339(row['at'])}, {when}{error}"
    )
