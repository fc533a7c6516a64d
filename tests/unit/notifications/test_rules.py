"""Rules choose what they say, and what they cannot choose by keeps nothing out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.market import Instrument
from domain.notifications import Notice
from services.notifications.rules import Rule, channels_of
from tests.doubles import START
from tests.notices import PATTERNS, notices, rules

BTC = Instrument("binance", "BTC/USDT")
RULE = Rule(events=("signal.opened", "model.promoted"), channels=("ops",))
SIGNAL = Notice(
    event="signal.opened",
    at=START,
    subject=str(BTC),
    key=("1",),
    data=b"{}",
    instruments=(BTC,),
    timeframe="1h",
    strength=0.25,
)
PROMOTION = Notice(
    event="model.promoted", at=START, subject="m", key=("1",), data=b"{}", timeframe="1h"
)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, True),
        ({"events": ("signal.closed",)}, False),
        ({"instruments": ("binance:*",)}, True),
        ({"instruments": ("kraken:*", "*:BTC/USDT")}, True),
        ({"instruments": ("kraken:*",)}, False),
        ({"timeframes": ("1h", "1d")}, True),
        ({"timeframes": ("1m",)}, False),
        ({"minimum_strength": 0.25}, True),
        ({"minimum_strength": 0.3}, False),
    ],
)
def test_each_choice_counts(changes: dict[str, object], wanted: bool) -> None:  # noqa: FBT001
    assert replace(RULE, **changes).wants(SIGNAL) is wanted  # type: ignore[arg-type]


def test_what_has_no_instrument_and_no_strength_is_not_kept_out_by_them() -> None:
    rule = replace(RULE, instruments=("kraken:*",), minimum_strength=0.9)

    assert not rule.wants(SIGNAL)
    assert rule.wants(PROMOTION)


def test_of_several_instruments_one_is_enough() -> None:
    both = replace(SIGNAL, instruments=(BTC, Instrument("kraken", "ETH/USD")))

    assert replace(RULE, instruments=("kraken:*",)).wants(both)


@given(notices(), st.lists(rules(), max_size=4))
def test_who_is_told_is_who_a_rule_names_each_once(notice: Notice, several: list[Rule]) -> None:
    told = channels_of(notice, several)

    assert len(told) == len(set(told))
    assert set(told) == {name for rule in several if rule.wants(notice) for name in rule.channels}
    assert channels_of(notice, several * 2) == told


@given(notices(), rules(), st.sampled_from(PATTERNS), st.floats(0, 1))
def test_a_narrower_rule_never_tells_more(
    notice: Notice, rule: Rule, pattern: str, strength: float
) -> None:
    narrower = replace(
        rule,
        instruments=rule.instruments or (pattern,),
        minimum_strength=max(rule.minimum_strength, strength),
        events=rule.events[:1],
    )

    assert rule.wants(notice) or not narrower.wants(notice)


@given(notices(), rules())
def test_whatever_else_it_chooses_by_a_rule_tells_only_its_events(
    notice: Notice, rule: Rule
) -> None:
    assert notice.event in rule.events or not rule.wants(notice)
