"""A broker that a test may kill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka.broker import Broker, running


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Broker]:
    """One of the test's own."""
    with running(tmp_path) as broker:
        yield broker
