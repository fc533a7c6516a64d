"""A system as several processes over one database and one broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from backend.store import database
from tests.account import complaints_of, lasting
from tests.processes import SYMBOLS, Exchange, System, running_system, until

HELD = """
SELECT name, holder FROM leases WHERE starts_with(name, 'panel ') AND (name, generation) IN (
    SELECT name, max(generation) FROM leases GROUP BY name)
"""
NEWEST = """
SELECT exchange, max(as_of) AS newest FROM ml_predictions JOIN instruments USING (instrument_id)
WHERE role = 'champion' GROUP BY exchange
"""


@dataclass(slots=True, kw_only=True)
class Apart:
    """Starts processes that share a state folder, a database and a broker.

    Args:
        folder: with a folder for each process.
        exchange: plays the market.
        database_url, broker: what they share.
        names: the exchanges that it is taken for.
        flags: further ones.
        settings: further ones.
    """

    folder: Path
    exchange: Exchange
    database_url: str
    broker: str
    names: tuple[str, ...] = ("binance",)
    flags: tuple[str, ...] = ("--timeframes", "1m", "--symbols", ",".join(SYMBOLS))
    settings: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        places = {
            f"ALPHAPULSE_EXCHANGE__{name.upper()}__{kind}_URL": self.exchange.url.replace(
                "http", to
            )
            for name in self.names
            for kind, to in (("REST", "http"), ("WS", "ws"))
        }
        return {
            **self.exchange.settings(),
            **places,
            "ALPHAPULSE_DATABASE_URL": self.database_url,
            "ALPHAPULSE_BUS_URL": f"kafka://{self.broker}",
            **self.settings,
        }

    @contextmanager
    def process(self, name: str, rooms: str) -> Iterator[System]:
        """Some rooms, until they are stopped; killed where they are not."""
        place = self.folder / name
        place.mkdir(exist_ok=True)
        (self.folder / "state").mkdir(exist_ok=True)
        link = place / "state"
        if not link.is_symlink():
            link.symlink_to(self.folder / "state")
        flags = ("--exchange", ",".join(self.names), *self.flags, "--rooms", rooms)
        with running_system(place, "run", *flags, **self.environment()) as system:
            yield system

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        return asyncio.run(self._ask(question))

    async def _ask(self, question: str) -> list[tuple[Any, ...]]:
        connection = await database.connect(self.database_url)
        try:
            return [tuple(row) for row in await connection.fetch(question)]
        finally:
            await connection.close()

    def holders(self) -> dict[str, str]:
        """Panel → process."""
        return {str(name): str(holder) for name, holder in self.ask(HELD)}

    def wait_for_closes(self, count: int) -> None:
        """Until so many more closes of a minute are predicted at each exchange."""
        wanted = f"SELECT min(newest) FROM ({NEWEST}) AS each"  # noqa: S608 - ours
        last = self.ask(wanted)[0][0] + count * timedelta(minutes=1)
        until(lambda: bool(self.ask(wanted)[0][0] >= last), f"predictions of the close at {last}")

    def complaints(self, *, but: str = "") -> list[str]:
        """What the record does not account for in the end, `but` aside."""
        return lasting(lambda: self._unaccounted(but))

    def _unaccounted(self, but: str) -> list[str]:
        """Now, and the last two closes aside too."""
        newest = self.ask(f"SELECT min(newest) FROM ({NEWEST}) AS each")[0][0]  # noqa: S608
        last = newest - timedelta(minutes=2)
        return asyncio.run(complaints_of(self.database_url, self.exchange, last, but=but))
