"""One simulated exchange for all tests of whole systems, and one system that it stalls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.documented_receiver import Listening, listening
from tests.processes import Exchange, System, running_exchange, running_run
from tests.receiver import SECRET

NOTIFY = """
[notify.channels.ops]
url = "{url}"
secret = "{secret}"
per_minute = 1000
[[notify.rules]]
events = ["gap.opened", "predictions.stale", "predictions.fresh"]
channels = ["ops"]
"""
QUIET = ("XRP/USDT", "ADA/USDT")  # of the system that is stalled


@pytest.fixture(scope="session")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    with running_exchange(tmp_path_factory.mktemp("exchange")) as started:
        yield started


@pytest.fixture(scope="session")
def listener() -> Iterator[Listening]:
    """The documented receiver of notifications."""
    with listening() as started:
        yield started


@pytest.fixture(scope="session")
def stalled(
    tmp_path_factory: pytest.TempPathFactory, exchange: Exchange, listener: Listening
) -> Iterator[System]:
    """A system whose instruments have fallen silent: nothing by socket, errors by REST.

    It takes half a minute until it is stale; the other tests use it meanwhile.
    """
    folder = tmp_path_factory.mktemp("stalled")
    (folder / "alphapulse.toml").write_text(NOTIFY.format(url=listener.url, secret=SECRET))
    with running_run(folder, exchange, QUIET) as system:
        system.wait_until_ready()
        system.wait_for_ticks(16)  # some live ones, and four after them, for a score
        for symbol in QUIET:
            exchange.fault("stall", instrument=symbol, count=1_000_000)
            exchange.fault("status_503", instrument=symbol, count=1_000_000)
        yield system
        assert system.stop() == 0
