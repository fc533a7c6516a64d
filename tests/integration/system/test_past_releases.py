"""A state folder of each past release starts, is migrated, and serves what it served."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domain.codec import unpack
from domain.market import Timeframe
from tests.processes import alphapulse, until
from tests.releases import RELEASES, Release
from tests.releases.state import (
    FOLLOWING,
    Kept,
    chosen,
    demo,
    forecasts,
    restored,
    served,
    snapshot,
)

EXACT = 1e-12
TESTS = Path(__file__).parents[2]
NUMBERS = ("p_down", "p_flat", "p_up", "q10", "q50", "q90", "volatility")


def numbers(rows: list[dict[str, Any]]) -> list[list[float]]:
    return [[np.nan if row[name] is None else row[name] for name in NUMBERS] for row in rows]


def names(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: one for name, one in row.items() if name not in NUMBERS} for row in rows]


@pytest.mark.long
@pytest.mark.parametrize("beside", ["", "second"], ids=["alone", "beside a second set"])
@pytest.mark.parametrize("release", RELEASES, ids=str)
def test_its_champion_goes_on_with_unchanged_numbers(
    tmp_path: Path, release: Release, beside: str
) -> None:
    kept = Kept.read(release.said)
    state = restored(tmp_path / "again", release.backup)

    reached, said = asyncio.run(forecasts(state))
    before = asyncio.run(snapshot(state))
    last = kept.until + FOLLOWING * Timeframe.H1.duration
    more = with_candidate(state, beside) if beside else {}
    with demo(state.parent, **more) as system:
        system.wait_until_ready()
        until(lambda: system.newest() >= last, f"a prediction of the close at {last}")
        rows = chosen(asyncio.run(served(system.database_url())), reached)
        assert system.stop() == 0
    verified = alphapulse(state.parent, "verify", "--state", "state")
    after = asyncio.run(snapshot(state))

    assert reached == kept.until
    assert said.keys() == kept.forecasts.keys()
    for model, values in kept.forecasts.items():
        was, now = (np.array(one, dtype=float) for one in (values, said[model]))
        np.testing.assert_allclose(now, was, rtol=0, atol=EXACT, err_msg=model)
    assert names(rows) == names(kept.served)
    np.testing.assert_allclose(numbers(rows), numbers(kept.served), rtol=0, atol=EXACT)
    assert verified.returncode == 0, verified.stdout
    assert sorted(parts(before) - parts(after)) == [], "an older release would miss it"
    assert ("engine/ohlcv@2" in parts(after)) == bool(beside)


def with_candidate(state: Path, name: str) -> dict[str, str]:
    """The settings by which the set of the tests is made beside that of the release."""
    (state / "plugins").mkdir()
    (state / f"plugins/{name}.py").write_text((TESTS / f"{name}_set.py").read_text())
    return {"ALPHAPULSE_TRAINING__CANDIDATE": name}


def parts(state: bytes) -> set[str]:
    """What the panel keeps, and what each of its rooms does."""
    rooms: dict[str, Any] = unpack(state)
    found = set(rooms)
    for name, room in rooms.items():
        if isinstance(room, str) and (kept := bytes.fromhex(room)).startswith(b"{"):
            found |= {f"{name}: {one}" for one in unpack(kept)}
    return found
