"""The tests of its namesake, on TimescaleDB, of rows that are stored as columns."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.test_two_feature_sets import *  # noqa: F403
from tests.integration.test_two_feature_sets import Replayed
from tests.integration.test_two_feature_sets import replayed as written  # noqa: F401 - by name
from tests.timescale.conftest import packed

pytestmark = pytest.mark.timescale


@pytest.fixture(scope="module")  # type: ignore[no-redef]
def replayed(written: Replayed) -> Replayed:  # noqa: F811
    for settings in (written.settings, written.alone):
        assert settings.database_url is not None
        asyncio.run(packed(settings.database_url.get_secret_value()))
    return written
