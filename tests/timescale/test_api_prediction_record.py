"""The tests of its namesake, on TimescaleDB."""

from __future__ import annotations

import pytest

from tests.integration.api.test_api_prediction_record import *  # noqa: F403

pytestmark = pytest.mark.timescale
