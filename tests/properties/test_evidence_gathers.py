"""However the past is cut into cold starts, and whoever is beside, evidence stays what it is."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.market import Horizon, Timeframe
from services.scores.blocks import Dates
from services.scores.gathering import Gathering, capital_of, shown_by_means

H2 = Horizon(Timeframe.H1, 2)
HOUR, BLOCK = Timeframe.H1.ms, 4
LOGS = st.floats(-8.0, 12.0)
NAMES = st.text("abcdef", min_size=1, max_size=2)


def told(differences: list[float]) -> Dates:
    closes = np.arange(len(differences) * BLOCK)
    losses = np.column_stack([np.ones(len(closes)), 1.0 - np.repeat(differences, BLOCK)])
    return Dates(as_of_ms=closes * HOUR, losses=losses, counts=np.ones(len(closes), np.int64))


@given(
    st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=40),
    st.lists(st.integers(0, 170), max_size=8),
)
def test_each_block_counts_once_over_refits_and_restarts(
    differences: list[float], asked_at: list[int]
) -> None:
    """Each cold start is shown what was known by then, from any point of the past on."""
    dates, end = told(differences), (len(differences) + 1) * BLOCK
    whole = Gathering().add({"kind": dates}, H2, end * HOUR)

    found = Gathering()
    for hour in [*sorted(asked_at), end]:
        found = found.add({"kind": dates.between(0, hour * HOUR)}, H2, hour * HOUR)
        restarted = Gathering.read(json.loads(json.dumps(found.numbers(H2))))
        assert restarted == found

    assert found == whole
    assert found.capitals["kind"].blocks == len(differences)


@given(st.dictionaries(NAMES, LOGS, min_size=1, max_size=7), NAMES, LOGS, st.floats(0.0, 6.0))
def test_more_kinds_never_promote_sooner(
    logs: dict[str, float], name: str, log: float, needed: float
) -> None:
    more = {name: log} | logs

    assert shown_by_means(more, needed) & set(logs) <= shown_by_means(logs, needed)


@given(st.dictionaries(NAMES, st.tuples(LOGS, st.integers(1, 99), st.integers(0, 99)), min_size=1))
def test_more_trials_never_promote_sooner(drawn: dict[str, tuple[float, int, int]]) -> None:
    gathering = Gathering(capitals={name: capital_of(log) for name, (log, _, _) in drawn.items()})
    fewer = {name: trials for name, (_, trials, _) in drawn.items()}
    more = {name: trials + further for name, (_, trials, further) in drawn.items()}

    lifted = gathering.judge(list(drawn), trials=more).models
    assert set(lifted) <= set(gathering.judge(list(drawn), trials=fewer).models)


@given(st.dictionaries(NAMES, LOGS, min_size=1, max_size=6), LOGS)
def test_nobody_is_shown_whose_set_has_too_poor_a_mean(
    logs: dict[str, float], needed: float
) -> None:
    """Against the definition: each set of kinds that holds one is asked."""
    names = list(logs)
    sets = [
        [name for bit, name in enumerate(names) if mask >> bit & 1]
        for mask in range(1, 2 ** len(names))
    ]
    low = {
        name: min(np.mean([np.exp(logs[one]) for one in kinds]) for kinds in sets if name in kinds)
        for name in names
    }
    near = [name for name in names if abs(low[name] / np.exp(needed) - 1.0) < 1e-9]

    shown = shown_by_means(logs, needed)
    assert {name for name in names if low[name] >= np.exp(needed)} ^ shown <= set(near)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_noise_is_worth_what_it_was_on_average(seed: int, blocks: int) -> None:
    """Of independent blocks around 0 a capital is on average no more than 1 (and here less)."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(300, blocks))
    gatherings = (Gathering().add({"kind": told(list(row))}, H2, 10**12) for row in noise)

    mean = np.mean([np.exp(one.capitals["kind"].log) for one in gatherings])
    assert mean <= 1.5
