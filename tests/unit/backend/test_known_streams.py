"""Patterns over the streams that exist."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backend.api.streams import KnownStreams

SEGMENT = st.sampled_from(["a", "b", "c", "*"])
SYMBOL = st.sampled_from(["X/U", "X.Y/U", "a", "*"])
PATTERN = st.tuples(SEGMENT, SEGMENT, SEGMENT, SYMBOL).map(".".join)
NAME = PATTERN.filter(lambda name: "*" not in name) | st.sampled_from(["gaps", "a.b"])


@given(st.lists(NAME), PATTERN | st.sampled_from(["*", "gaps", "a.b", "a.b.*", ""]))
def test_a_pattern_means_the_names_that_agree_with_it_in_every_segment(
    names: list[str], pattern: str
) -> None:
    def agrees(name: str) -> bool:
        wanted, segments = pattern.split(".", 3), name.split(".", 3)
        alike = [want in ("*", segment) for want, segment in zip(wanted, segments, strict=False)]
        whole = len(wanted) == len(segments) and (len(wanted) == 4 or "*" not in pattern)
        return pattern == "*" or (whole and all(alike))

    assert KnownStreams(names).expand(pattern) == sorted(filter(agrees, set(names)))


def test_the_closest_streams_are_those_of_symbols_like_the_one_asked_for() -> None:
    known = KnownStreams(
        [f"{kind}.1h.kraken.{symbol}/USD" for kind in ("candles", "signals") for symbol in "ABCDEF"]
        + ["signals.1h.kraken.BTC/USD", "candles.1h.kraken.BTC/USD", "gaps"]
    )

    assert known.closest("signals.1h.kraken.BTC/USDT")[0] == "signals.1h.kraken.BTC/USD"
    assert known.closest("candels.1h.kraken.BTC/USD")[0] == "candles.1h.kraken.BTC/USD"
    assert known.closest("candles.1h.BTC/USD")[0] == "candles.1h.kraken.BTC/USD"
    assert known.closest("gap") == ["gaps"]
    assert known.closest("candles.4h.*.*") == []
