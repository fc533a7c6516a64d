"""REST: tickets for the socket."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, Request, Response

from backend.api.answers import envelope, state_of
from backend.api.callers import caller_of
from backend.api.described import answering
from backend.api.schemas import TicketRow
from backend.api.tickets import LASTS_S

router = APIRouter(prefix="/v1", tags=["streams"])


@router.post("/ws-tickets", responses=answering(TicketRow))
async def ticket(request: Request) -> Response:
    """A ticket for one connection of the caller, within 30 s.

    A page sends it as the sub-protocol `alphapulse.ticket.` and the ticket, beside
    `alphapulse.v1.json`, or as the `token` of `auth`. It ends with its use.
    """
    state = state_of(request)
    row = {
        "ticket": state.access.ticket(caller_of(request)),
        "expires_at": state.access.wall.now() + timedelta(seconds=LASTS_S),
    }
    answer = envelope([row], as_of=state.clock.now())
    answer.headers["Cache-Control"] = "no-store"
    return answer
