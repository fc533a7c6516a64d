"""REST: who was told what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.api.answers import answer_list, reading, state_of
from backend.api.described import listed
from backend.api.notification_pages import NOTIFICATIONS, read_notifications
from backend.api.parameters import NotificationSelection
from backend.api.spellings import ListAnswer

router = APIRouter(prefix="/v1", tags=["notifications"])


@router.get("/notifications", responses=listed(NOTIFICATIONS.described))
async def notifications(
    request: Request, selection: Annotated[NotificationSelection, Query()]
) -> Response:
    """Notifications, newest first, and what became of each; addresses of channels are not told."""
    state = state_of(request)
    async with reading(state) as connection:
        found, following = await read_notifications(connection, selection)
    told = ListAnswer(
        data=found,
        described=NOTIFICATIONS.described,
        as_of=state.clock.now(),
        following=following,
    )
    return await answer_list(request, selection.format, told)
