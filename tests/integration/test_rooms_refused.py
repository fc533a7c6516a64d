"""Rooms that cannot run apart say so at their start, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import SERVED, alphapulse

DATABASE = {"ALPHAPULSE_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"}
BUS = {"ALPHAPULSE_BUS_URL": "kafka://127.0.0.1:9"}
NO_SET = {"ALPHAPULSE_TRAINING__CANDIDATE": "forest"}


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({}, "set ALPHAPULSE_DATABASE_URL"),
        (DATABASE, "set ALPHAPULSE_BUS_URL"),
        (
            DATABASE | BUS | NO_SET,
            "setting training.candidate: plug-in forest: it is no candle feature set",
        ),
    ],
)
def test_what_they_lack_is_named(tmp_path: Path, about: dict[str, str], said: str) -> None:
    watched = {"ALPHAPULSE_WATCH__EXCHANGES": "kraken", "ALPHAPULSE_WATCH__SYMBOLS": "BTC/USD"}

    ended = alphapulse(tmp_path, "run", "--rooms", "panels", "--port", "0", **watched, **about)

    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_system_with_a_candidate_that_is_none_ends_before_it_serves(tmp_path: Path) -> None:
    ended = alphapulse(tmp_path, "demo", "--port", "0", **NO_SET)

    assert ended.returncode == 2
    assert SERVED not in ended.stdout
    assert "training.candidate: plug-in forest: it is no candle feature set" in ended.stderr
