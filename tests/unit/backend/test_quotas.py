"""A quota lets through what it says and no more, and says what is left of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.api.quotas import MOST_ADDRESSES, WINDOW_S, Quotas, Spent

GAPS = st.lists(st.floats(0, 30), min_size=1, max_size=80)


def many(quotas: Quotas, count: int, at: float) -> list[Spent]:
    return [quotas.of_key("k", 100, at) for _ in range(count)]


def test_a_quota_is_spent_at_once_and_fills_up_evenly() -> None:
    quotas = Quotas()

    first, *_, last, refused = many(quotas, 101, 0.0)
    later = quotas.of_key("k", 100, 0.6)

    assert first.headers() == {
        "RateLimit-Policy": '"default";q=100;w=60',
        "RateLimit": '"default";r=99;t=1',
    }
    assert (last.left, last.full_s, last.wait_s) == (0, 60, 0)
    assert refused.left == 0
    assert refused.wait_s == pytest.approx(0.6)
    assert (later.left, later.wait_s) == (0, 0)
    problem = refused.refusal().body()
    assert (problem["status"], problem["retry_after_ms"]) == (429, 600)


@given(gaps=GAPS, quota=st.integers(1, 20))
def test_no_minute_sees_more_than_the_quota_and_what_filled_up_meanwhile(
    gaps: list[float], quota: int
) -> None:
    quotas, at, met = Quotas(), 0.0, []
    for gap in gaps:
        at += gap
        spent = quotas.of_key("k", quota, at)
        if not spent.wait_s:
            met.append(at)
        assert 0 <= spent.left <= quota

    for start in met:
        in_window = [one for one in met if start <= one < start + WINDOW_S]
        assert len(in_window) <= 2 * quota


@given(gaps=GAPS, quota=st.integers(1, 20))
def test_who_waits_as_long_as_is_said_is_answered(gaps: list[float], quota: int) -> None:
    quotas, at = Quotas(), 0.0
    for gap in gaps:
        at += gap
        wait_s = quotas.of_key("k", quota, at).wait_s
        if wait_s:
            at += wait_s + 1e-6
            assert quotas.of_key("k", quota, at).wait_s == 0


def test_keys_and_addresses_do_not_spend_from_each_other() -> None:
    quotas = Quotas()

    assert quotas.of_key("a", 1, 0.0).wait_s == 0
    assert quotas.of_key("b", 1, 0.0).wait_s == 0
    assert quotas.of_address("a", 1, 0.0).wait_s == 0
    assert quotas.of_address("2001:db8::1", 1, 0.0).wait_s == 0
    assert quotas.of_address("2001:db8::2", 1, 0.0).wait_s > 0
    assert quotas.of_address("2001:db8:0:1::1", 1, 0.0).wait_s == 0
    assert quotas.of_address("::ffff:10.0.0.8", 1, 0.0).wait_s == 0
    assert quotas.of_address("10.0.0.8", 1, 0.0).wait_s > 0


def test_addresses_of_a_flood_take_a_bounded_room() -> None:
    quotas = Quotas()
    for number in range(MOST_ADDRESSES + 1):
        quotas.of_address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1, 0.0)

    assert quotas.of_address("10.0.0.1", 1, 0.0).wait_s > 0
    assert quotas.of_address("10.0.0.0", 1, 0.0).wait_s == 0  # it asked longest ago
