"""What a caller sees of answers that are not of one instrument each."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, Final

import asyncpg

from backend.api.callers import Caller
from domain.market import Instrument
from domain.sources import MARKET

OF_NO_INSTRUMENT: Final = frozenset({"sentiment"})  # panels: what is told to everybody


async def whole_exchanges(connection: asyncpg.Connection, caller: Caller) -> set[str]:
    """The exchanges of which a caller sees all that was ever known of them.

    What is pooled over an exchange's instruments (models, a paper account) is for those who see
    them all: of a few it would tell about the others.
    """
    listed = await connection.fetch(
        "SELECT exchange, symbol FROM instruments WHERE exchange <> $1", MARKET.exchange
    )
    hidden = {
        row["exchange"]
        for row in listed
        if not caller.sees(Instrument(row["exchange"], row["symbol"]))
    }
    return {row["exchange"] for row in listed} - hidden


def panel_for(caller: Caller, whole: AbstractSet[str], name: str, payload: Any) -> Any:  # noqa: ANN401 - JSON
    """The rows of a panel that a caller sees.

    Args:
        caller: who asks.
        whole: the exchanges that it sees whole.
        name: of the panel.
        payload: rows, each with its exchange, and with its symbol where it is of one.
    """
    if name in OF_NO_INSTRUMENT:
        return payload
    return [
        row
        for row in payload
        if (
            caller.sees(Instrument(row["exchange"], row["symbol"]))
            if "symbol" in row
            else row["exchange"] in whole
        )
    ]
