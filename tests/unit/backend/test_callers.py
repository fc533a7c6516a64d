"""What a caller hears is what it sees."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from backend.api.callers import operator

NAMES = st.text(alphabet="abc", min_size=1, max_size=3)
STREAMS = st.builds(
    "{}.1h.{}.{}".format, st.sampled_from(["candles", "signals"]), NAMES, st.just("A/B.C")
)


@given(names=st.lists(STREAMS | st.just("gaps"), unique=True), exchange=NAMES)
def test_the_streams_of_a_caller_are_those_of_its_instruments(
    names: list[str], exchange: str
) -> None:
    some = replace(operator("some", ""), instruments=(f"{exchange}:*",))

    assert operator("all", "").streams(names) == names
    assert some.streams(names) == [one for one in names if f".{exchange}.A/B.C" in one]
