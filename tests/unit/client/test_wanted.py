"""What is asked of a new connection."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse_client.events import Position
from alphapulse_client.wanted import GRANTED, Wanted

PATTERN = "signals.1h.*.*"


@given(
    symbols=st.lists(st.text("AB/é", min_size=1, max_size=40), unique=True, max_size=120),
    frame_bytes=st.integers(2_000, 9_000),
)
def test_frames_are_as_short_as_they_must_and_name_each_stream_once(
    symbols: list[str], frame_bytes: int
) -> None:
    streams = [f"signals.1h.x.{symbol}" for symbol in symbols]
    places = {stream: Position("e" * 16, number) for number, stream in enumerate(streams)}

    asked = Wanted(streams=(PATTERN,)).requests({PATTERN: GRANTED, **places}, frame_bytes)

    assert all(len(each.text(1, snapshot=False).encode()) <= frame_bytes for each in asked)
    *known, pattern = asked
    assert [stream for each in known for stream in each.streams] == streams
    since = {stream: place for each in known for stream, place in each.since.items()}
    assert since == {
        stream: {"epoch": "e" * 16, "offset": number} for number, stream in enumerate(streams)
    }
    assert (pattern.streams, pattern.since) == ((PATTERN,), {"*": {"offset": 0}})


@pytest.mark.parametrize(
    ("since", "spelt"),
    [
        ("head", "head"),
        ("start", {"*": {"offset": 0}}),
        (datetime(2024, 1, 1, tzinfo=UTC), {"time": "2024-01-01T00:00:00.000000Z"}),
    ],
)
def test_what_was_never_granted_begins_where_the_caller_says(since: object, spelt: object) -> None:
    wanted = Wanted(streams=("gaps", PATTERN), since=since)  # type: ignore[arg-type]
    kept = {PATTERN: GRANTED, "models": Position("e", 1), "signals.1h.a.B": Position(None, 0)}

    again, fresh, pattern = wanted.requests(kept, 65_536)

    assert again.streams == ("signals.1h.a.B",)
    assert (fresh.streams, fresh.since) == (("gaps",), spelt)
    assert pattern.streams == (PATTERN,)
    asked = json.loads(fresh.text(3, snapshot=True))
    others = {"snapshot": True, "deliver": "all"}
    assert asked["params"] == {"streams": ["gaps"], "since": spelt, **others}
    assert (asked["id"], asked["method"]) == (3, "subscribe")
