"""What the server of a database can do: TimescaleDB with its columnstore, or plain PostgreSQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from backend.store.database import PoolOrConnection

SINCE: Final = (2, 18)  # of TimescaleDB: the columnstore by the names that it has now
# What the library sets where the server has loaded it tells that it has: which libraries those are
# (`shared_preload_libraries`) is not for every role.
ASK: Final = """
SELECT current_setting('server_version') AS postgresql,
    (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescale,
    (SELECT default_version FROM pg_available_extensions
     WHERE name = 'timescaledb' AND current_setting('timescaledb.disable_load', true) IS NOT NULL
    ) AS offered,
    current_setting('timescaledb.license', true) AS edition
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What is known of it.

    Attributes:
        postgresql: its version.
        timescale: version of the extension in this database; None without it.
        offered: version of the extension that the server has loaded; None without it.
        edition: its license: `timescale` of the Community edition, or `apache`.
    """

    postgresql: str
    timescale: str | None
    offered: str | None
    edition: str | None

    @property
    def has_columnstore(self) -> bool:
        """Whether tables are hypertables here; else everything is as on plain PostgreSQL."""
        return self._reason is None and self.timescale is not None

    @property
    def _reason(self) -> str | None:
        """Why an extension that is there is not used."""
        if self.timescale is None:
            return None
        if self.edition != "timescale":
            return "of the Apache edition, which has no columnstore"
        if _numbers(self.timescale) < SINCE:
            return f"older than {'.'.join(map(str, SINCE))}"
        return None

    def __str__(self) -> str:
        said = f"PostgreSQL {self.postgresql}"
        if self.timescale is None:
            unused = "is there and not used, for want of CREATE EXTENSION timescaledb"
            return f"{said}; TimescaleDB {self.offered} {unused}" if self.offered else said
        said += f", TimescaleDB {self.timescale}"
        if self._reason:
            return f"{said} {self._reason}: used as plain PostgreSQL"
        return f"{said} with its columnstore"


async def read_server(connection: PoolOrConnection) -> Server:
    """Of the database that is connected to."""
    return Server(**await connection.fetchrow(ASK))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(one) for one in re.findall(r"\d+", version)[:2])
