"""What is made of what a server says of itself."""

from __future__ import annotations

import pytest

from backend.store.server import Server


def server(timescale: str | None, edition: str | None, offered: str | None = None) -> Server:
    return Server(
        postgresql="17.6", timescale=timescale, offered=offered or timescale, edition=edition
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (server("2.28.3", "timescale"), "PostgreSQL 17.6, TimescaleDB 2.28.3 with its columnstore"),
        (server("2.18.0", "timescale"), "PostgreSQL 17.6, TimescaleDB 2.18.0 with its columnstore"),
    ],
)
def test_the_community_edition_has_a_columnstore(found: Server, said: str) -> None:
    assert found.has_columnstore
    assert str(found) == said


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (server(None, None), "PostgreSQL 17.6"),
        (
            server(None, "timescale", "2.28.3"),
            "PostgreSQL 17.6; TimescaleDB 2.28.3 is there and not used,"
            " for want of CREATE EXTENSION timescaledb",
        ),
        (
            server("2.28.3", "apache"),
            "PostgreSQL 17.6, TimescaleDB 2.28.3 of the Apache edition, which has no columnstore:"
            " used as plain PostgreSQL",
        ),
        (
            server("2.9.3", "timescale"),
            "PostgreSQL 17.6, TimescaleDB 2.9.3 older than 2.18: used as plain PostgreSQL",
        ),
    ],
)
def test_everything_else_is_plain(found: Server, said: str) -> None:
    assert not found.has_columnstore
    assert str(found) == said
