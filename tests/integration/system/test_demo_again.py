"""A demo that is started again on its state folder goes on where it was."""

from __future__ import annotations

import re
import time
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.played import remember
from collectors.simulated.market import START_MS, SyntheticMarket
from domain.market import Timeframe, to_ms
from tests.processes import HTTP, SYMBOLS, System, alphapulse, one_line, running_system, until

GOES_ON = "the market goes on at "
HOUR = timedelta(hours=1)
ADDED = "BNB/USDT"
STATE = ("--state", "state")
FEW = {"ALPHAPULSE_HISTORY_BARS": "200"}
MOST = 5_000  # rows of a page: an hour passes each second, however long a start takes


def demo(folder: Path) -> AbstractContextManager[System]:
    return running_system(folder, "demo", "--symbols", ",".join(SYMBOLS), **FEW)


def stopped(system: System) -> datetime:
    """The moment in the market that its end did not outlast."""
    now, began = datetime.fromisoformat(status_of(system)["now"]), time.monotonic()
    assert system.stop() == 0
    return now + (1 + time.monotonic() - began) * HOUR


def taken(system: System, order: dict[str, str]) -> bool:
    """What is ready takes orders a moment later."""
    return HTTP.post(f"{system.url}/v1/instruments", json=order).is_success


def candles_of(system: System, symbol: str) -> list[dict[str, Any]]:
    """What it stored, oldest first."""
    answer = HTTP.get(f"{system.url}/v1/candles", params={"symbol": symbol, "limit": MOST})
    rows: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
    return sorted(rows, key=lambda row: str(row["open_time"]))


def newest_of(system: System, symbol: str) -> datetime:
    """The close that its newest served prediction is of."""
    answer = HTTP.get(f"{system.url}/v1/predictions/latest", params={"symbol": symbol})
    (row,) = answer.raise_for_status().json()["data"]
    return datetime.fromisoformat(row["as_of"])


def texts_of(system: System, until_time: datetime | None = None) -> list[dict[str, Any]]:
    """What its sources told it, oldest first."""
    asked = {"limit": str(MOST), "order": "asc"}
    if until_time is not None:
        asked["as_of"] = until_time.isoformat()
    answer = HTTP.get(f"{system.url}/v1/sentiment", params=asked)
    rows: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
    return rows


def instruments_of(system: System) -> dict[str, str]:
    """The state of each, by symbol."""
    rows = HTTP.get(f"{system.url}/v1/instruments").raise_for_status().json()["data"]
    return {row["symbol"]: row["state"] for row in rows}


def status_of(system: System) -> dict[str, Any]:
    """What it says of itself."""
    (status,) = HTTP.get(f"{system.url}/v1/status").raise_for_status().json()["data"]
    return dict(status)


def states_of(system: System) -> set[str]:
    """How its sources are doing."""
    return {str(one["state"]) for one in status_of(system)["sources"]}


@pytest.mark.long
def test_candles_and_predictions_go_on_where_the_demo_was_stopped(tmp_path: Path) -> None:
    with demo(tmp_path) as first:
        first.wait_until_ready()
        start = first.newest()
        until(lambda: first.newest() >= start + 2 * HOUR, "predictions of the first run")
        told_before, first_texts = texts_of(first, until_time=start), texts_of(first)
        joined = alphapulse(tmp_path, "instruments", "add", f"simulated:{ADDED}", *STATE)
        orders = ("instruments", "remove", f"simulated:{SYMBOLS[1]}", *STATE)
        left, left_again = (alphapulse(tmp_path, *orders) for _ in range(2))
        listed = instruments_of(first)
        reached = first.newest()
        ended = stopped(first)
    with demo(tmp_path) as second:
        second.wait_until_ready()
        start = newest_of(second, SYMBOLS[0])
        until(
            lambda: newest_of(second, SYMBOLS[0]) >= start + 2 * HOUR,
            "predictions of the second run",
        )
        code, answer = second.ready()
        assert (code, answer["prediction_age_seconds"] > -5) == (httpx.codes.OK, True)
        rows = candles_of(second, SYMBOLS[0])
        listed_again, notes = instruments_of(second), status_of(second)["notes"]
        listing = alphapulse(tmp_path, "instruments", "list", *STATE)
        back = alphapulse(tmp_path, "instruments", "add", SYMBOLS[1], *STATE)
        notes_then = status_of(second)["notes"]
        added = candles_of(second, ADDED)
        until(lambda: states_of(second) == {"ok"}, "all sources answer")
        second_texts = texts_of(second)
        assert second.stop() == 0

    assert [done.returncode for done in (joined, left)] == [0, 0], joined.stderr + left.stderr
    assert "is watched and predicted after" in joined.stdout
    watched = dict.fromkeys(SYMBOLS, "watched")
    assert listed == {**watched, SYMBOLS[1]: "left", ADDED: "watched"}
    assert listed_again == listed  # one stays added, one away though a flag names it
    assert "it has left already" in one_line(left_again, 2)
    assert re.search(rf"{SYMBOLS[1]} +removed ", listing.stdout)
    (note,) = (each for each in notes if "was removed" in each)
    assert f"`alphapulse instruments add simulated:{SYMBOLS[1]}` brings it back" in note
    assert (back.returncode, "is watched and predicted" in back.stdout) == (0, True), back.stderr
    assert note not in notes_then
    opened = [to_ms(datetime.fromisoformat(row["open_time"])) for row in added]
    assert opened == [opened[0] + number * Timeframe.H1.ms for number in range(len(added))]
    assert len(told_before) >= 200 // 3  # from the first candle on
    assert {row["scores"][0]["scorer"] for row in first_texts} == {"blend@1"}
    assert second_texts[: len(first_texts)] == first_texts
    assert len({row["item_id"] for row in second_texts}) == len(second_texts)
    (said,) = (line for line in second.said if line.startswith(GOES_ON))
    went_on = datetime.fromisoformat(said.removeprefix(GOES_ON).partition(",")[0])
    assert reached <= went_on <= ended  # and it did not jump ahead
    opened = [to_ms(datetime.fromisoformat(row["open_time"])) for row in rows]
    market = SyntheticMarket(SYMBOLS, seed=7)
    assert opened == [START_MS + number * Timeframe.H1.ms for number in range(len(rows))]
    assert [row["close"] for row in rows] == market.candles(0, len(rows), 0)[:, 3].tolist()


def test_a_demo_of_another_market_is_refused_before_it_starts(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    remember(tmp_path / "state", {"--seed": "7", "--signal": "1.0", "--timeframes": "1h"})

    refused = alphapulse(tmp_path, "demo", "--state", "state", "--seed", "8")

    assert "holds the market of --seed 7" in one_line(refused, 2)


@pytest.mark.long
def test_orders_that_were_answered_are_kept_through_a_kill(tmp_path: Path) -> None:
    late = (ADDED, "SOL/USDT")  # the second waits for the first
    with demo(tmp_path) as first:
        first.wait_until_ready()
        for symbol in late:
            order = {"exchange": "simulated", "symbol": symbol}
            until(partial(taken, first, order), "the order is taken")
        first.kill()
    with demo(tmp_path) as second:
        second.wait_until_ready()
        watched = {one for one, state in instruments_of(second).items() if state == "watched"}
        assert second.stop() == 0

    assert watched == {*SYMBOLS, *late}
