"""The tests of its namesake, on TimescaleDB."""

from __future__ import annotations

import pytest

from tests.integration.test_retold_rows import *  # noqa: F403

pytestmark = pytest.mark.timescale
