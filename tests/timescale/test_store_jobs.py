"""The tests of its namesake, on TimescaleDB."""

from __future__ import annotations

import pytest

from tests.integration.test_store_jobs import *  # noqa: F403

pytestmark = pytest.mark.timescale
