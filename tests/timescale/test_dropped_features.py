"""The tests of its namesake, on TimescaleDB, of rows that are stored as columns."""

from __future__ import annotations

import pytest

from tests.integration.test_dropped_features import *  # noqa: F403
from tests.integration.test_dropped_features import whole as lived  # noqa: F401 - by name
from tests.panel_life import Life
from tests.timescale.conftest import packed

pytestmark = pytest.mark.timescale


@pytest.fixture  # type: ignore[no-redef]
async def whole(lived: Life, database_url: str) -> Life:  # noqa: F811
    await packed(database_url)
    return lived
