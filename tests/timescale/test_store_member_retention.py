"""The tests of its namesake, on TimescaleDB, of rows that are stored as columns."""

from __future__ import annotations

import pytest

from tests.integration.test_store_member_retention import *  # noqa: F403
from tests.integration.test_store_member_retention import Record
from tests.integration.test_store_member_retention import record as written  # noqa: F401 - by name
from tests.timescale.conftest import packed

pytestmark = pytest.mark.timescale


@pytest.fixture  # type: ignore[no-redef]
async def record(written: Record, database_url: str) -> Record:  # noqa: F811
    await packed(database_url)
    return written
