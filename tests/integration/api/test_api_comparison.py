"""Two forecasters beside each other on the rows that both were scored on."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from tests.served_market import HORIZON, MEMBERS, TICKS, ServedMarket, outcomes

BLOCK = 2 * HORIZON


async def compared(rest: httpx.AsyncClient, **asked: str) -> dict[str, Any]:
    asked = {"a": "served", "b": "class_prior.direction", **asked}
    answer = await rest.get("/v1/models/compare", params=asked)
    assert answer.status_code == 200, answer.text
    (row,) = answer.json()["data"]
    return dict(row)


@pytest.fixture
async def scored(market: ServedMarket) -> np.ndarray:
    """The losses of what was served, (ticks, instruments); the prior's are 1."""
    for batch in market.batches[:TICKS]:
        scored_at = batch.as_of + HORIZON * batch.timeframe.duration
        await market.recorder.commit_learning(outcomes(batch, scored_at), published_at=scored_at)
    found = await market.pool.fetch(
        "SELECT log_loss FROM ml_prediction_outcomes WHERE model = 'served'"
        " ORDER BY as_of, instrument_id"
    )
    return np.array([row["log_loss"] for row in found]).reshape(TICKS, len(MEMBERS))


async def test_losses_are_those_of_the_rows_that_both_have(
    market: ServedMarket, rest: httpx.AsyncClient, scored: np.ndarray
) -> None:
    await market.pool.execute(
        "DELETE FROM ml_prediction_outcomes WHERE model = 'class_prior.direction'"
        " AND as_of = (SELECT max(as_of) FROM ml_prediction_outcomes)"
    )
    scored = scored[:-1]

    row = await compared(rest)

    first = int(market.batches[0].as_of.timestamp()) // 3600 // BLOCK
    hours = int(market.batches[0].as_of.timestamp()) // 3600 + np.arange(len(scored))
    blocks = [scored[hours // BLOCK == number].mean() for number in np.unique(hours // BLOCK)]
    assert row["losses"]["count"] == scored.size
    assert row["losses"]["a"] == pytest.approx(scored.mean())
    assert row["losses"]["b"] == 1.0
    assert row["losses"]["difference"] == pytest.approx(np.mean(blocks) - 1.0)
    low, high = row["losses"]["interval95"]
    assert low < row["losses"]["difference"] < high
    assert [one["a"] for one in row["blocks"]] == pytest.approx(blocks)
    assert row["losses"]["n_blocks"] == len(blocks) == hours[-1] // BLOCK - first + 1


async def test_slices_have_each_row_once(
    market: ServedMarket, rest: httpx.AsyncClient, scored: np.ndarray
) -> None:
    row = await compared(rest)

    for slices in row["slices"].values():
        assert sum(one["count"] for one in slices) == scored.size
    by_instrument = {one["name"]: one["a"] for one in row["slices"]["instrument"]}
    assert [by_instrument[each.symbol] for each in MEMBERS] == pytest.approx(scored.mean(axis=0))
    hours = (np.arange(TICKS) + market.batches[0].as_of.hour) % 24
    by_hour = {one["name"]: one["a"] for one in row["slices"]["hour"]}
    assert by_hour == {
        int(hour): pytest.approx(scored[hours == hour].mean()) for hour in np.unique(hours)
    }


async def test_the_sides_are_exchanged(rest: httpx.AsyncClient, scored: np.ndarray) -> None:
    one = await compared(rest)
    other = await compared(rest, a="class_prior.direction", b="served")

    assert other["losses"]["difference"] == -one["losses"]["difference"]
    assert (other["losses"]["a"], other["losses"]["b"]) == (one["losses"]["b"], one["losses"]["a"])


async def test_the_decisions_about_either_are_told_in_words(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await market.pool.execute(
        "INSERT INTO promotion_decisions (exchange, timeframe, horizon, target, name,"
        " champion_version, challenger_version, verdict, trigger, decided_at, evidence) VALUES"
        " ('simulated', '1h', $1, 'direction', 'xgboost.direction', 1, 2, 'refreshed', 'clock',"
        " now(), $2), ('simulated', '1h', $1, 'direction', 'river.direction', 1, 2, 'refused',"
        " 'clock', now(), '{}')",
        HORIZON,
        '{"p": 0.01, "words": "as good as the one before"}',
    )

    row = await compared(rest, a="xgboost.direction")

    (decision,) = row["decisions"]
    assert decision["words"] == "as good as the one before"
    assert decision["evidence"] == {"p": 0.01}
    assert row["losses"]["difference"] is None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"a": "xgboost.direction@x"}, "NAME@VERSION"),
        ({"a": "xgboost.direction@9"}, "never registered"),
        ({"a": "xgbost.direction"}, "nearest: xgboost.direction"),
        ({"a": "har.volatility"}, "same target"),
        ({"a": "served", "b": "served"}, "same target"),
        ({"timeframe": "2h"}, "timeframe"),
        ({"start": "2001-01-01"}, "blocks"),
    ],
)
async def test_what_cannot_be_compared_is_said(
    rest: httpx.AsyncClient, asked: dict[str, str], said: str
) -> None:
    params = {"a": "served", "b": "class_prior.direction", **asked}
    answer = await rest.get("/v1/models/compare", params=params)

    assert answer.status_code == 422
    assert said in answer.json()["detail"]
