"""What is asked for over REST is done by the running system, also by the one after a kill."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.market import to_ms
from tests.killing import hold_fits
from tests.processes import HTTP, System, running_exchange, running_system, until

DENIED = "BTC/USDT"
MINUTE = timedelta(minutes=1)
FLAGS = (
    "run",
    "--exchange",
    "binance",
    "--symbols",
    "BTC/USDT,ETH/USDT",
    "--timeframes",
    "1m",
    "--horizons",
    "4",
)
LEARNING = {
    "ALPHAPULSE_TRAINING__MINIMUM_ROWS": "300",
    "ALPHAPULSE_TRAINING__EVERY_BARS": "1000000",
    "ALPHAPULSE_TRAINING__KINDS": '["logistic.direction"]',
    "ALPHAPULSE_TRAINING__ONLINE": "[]",
}


@pytest.mark.long
def test_a_retrain_makes_a_version_and_a_backfill_fills_what_was_denied(tmp_path: Path) -> None:
    with running_exchange(tmp_path) as exchange:
        settings = {**exchange.settings(), **LEARNING}
        with running_system(tmp_path, *FLAGS, **settings) as system:
            system.wait_until_ready()
            until(lambda: versions(system) >= 1, "a first fit")
            since = exchange.now()
            exchange.fault("hole", instrument=DENIED, count=2)
            until_denied(system, since, 2)
            request = {"exchange": "binance", "symbol": DENIED, "start": "2020-01-01"}
            denied = until_ended(system, posted(system, "backfills", **request))
            HTTP.delete(f"{exchange.url}/_control/holes").raise_for_status()
            filled = until_ended(system, posted(system, "backfills", **request))
            assert denied["result"] == [counts(missing=2, filled=0, not_there=2)]
            assert filled["result"] == [counts(missing=2, filled=2, not_there=0)]
            assert "history begins at" in filled["detail"]
            until(lambda: unfillable(system, since) == 0, "a ledger that has them filled")
            nothing = until_ended(system, posted(system, "backfills", **request))
            assert nothing["result"] == [counts(missing=0, filled=0, not_there=0)]
            hold_fits(system)
            asked = posted(system, "retrains", "monday", horizon=4)
            until(lambda: job(system, asked)["state"] == "running", "a training that is asked for")
            system.kill()

        with running_system(tmp_path, *FLAGS, **settings) as system:
            system.wait_until_ready()
            assert posted(system, "retrains", "monday", horizon=4) == asked
            trained = until_ended(system, asked)
            known = versions(system)
            assert system.stop() == 0

    (training,) = trained["result"]
    assert known == int(training["models"][0]["model"].removeprefix("logistic.direction@")) > 1
    assert training["models"][0]["verdict"] is not None


@pytest.mark.long
def test_a_backfill_that_a_kill_cuts_short_goes_on_and_each_candle_is_there_once(
    tmp_path: Path,
) -> None:
    with running_exchange(tmp_path) as exchange:
        settings = {**exchange.settings(), **LEARNING}
        with running_system(tmp_path, *FLAGS, **settings) as system:
            system.wait_until_ready()
            since = exchange.now()
            exchange.fault("hole", instrument=DENIED, count=5)
            until_denied(system, since, 5)
            exchange.fault("status_503", instrument=DENIED, count=1_000_000)
            HTTP.delete(f"{exchange.url}/_control/holes").raise_for_status()
            asked = posted(system, "backfills", exchange="binance", symbol=DENIED)
            until(lambda: job(system, asked)["progress"] is not None, "a backfill under way")
            begun = job(system, asked)
            system.kill()
        exchange.mend()
        with running_system(tmp_path, *FLAGS, **settings) as system:
            system.wait_until_ready()
            done = until_ended(system, asked)
            latest = system.newest()
            until(lambda: unfillable(system, since) == 0, "a ledger that has them filled")
            query = {"symbol": DENIED, "start": since.isoformat(), "end": latest.isoformat()}
            stored = HTTP.get(f"{system.url}/v1/candles", params={**query, "limit": 5_000}).json()
            assert system.stop() == 0
        there = exchange.candles(DENIED, since, latest)

    assert (begun["state"], begun["progress"]["total"]) == ("running", 5)
    assert (done["state"], done["attempts"]) == ("done", 2)
    assert done["result"] == [counts(missing=5, filled=5, not_there=0)]
    opens = [to_ms(datetime.fromisoformat(row["open_time"])) for row in stored["data"]]
    assert opens == [row[0] for row in there]
    assert len(opens) > 5


def counts(**candles: int) -> dict[str, Any]:
    return {"timeframe": "1m", **candles}


def posted(system: System, kind: str, key: str = "", **order: Any) -> str:
    headers = {"Idempotency-Key": key} if key else {}
    answers: list[httpx.Response] = []

    def taken() -> bool:  # ready is a moment before orders are taken
        answers.append(HTTP.post(f"{system.url}/v1/{kind}", json=order, headers=headers))
        return answers[-1].status_code != httpx.codes.SERVICE_UNAVAILABLE

    until(taken, "an order that is taken")
    assert answers[-1].status_code in (200, 202), answers[-1].text
    return answers[-1].headers["location"]


def job(system: System, place: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = HTTP.get(f"{system.url}{place}").raise_for_status().json()["data"]
    return rows[0]


def until_ended(system: System, place: str) -> dict[str, Any]:
    until(lambda: job(system, place)["ended_at"] is not None, f"an end of {place}")
    return job(system, place)


def versions(system: System) -> int:
    return len(HTTP.get(f"{system.url}/v1/models").json()["data"])


def until_denied(system: System, since: datetime, count: int) -> None:
    """Until so many candles are known not to exist, and lie within the history."""
    until(lambda: unfillable(system, since) == count, "candles that do not exist")
    behind = max(end for _, end in holes(system, since)).isoformat()
    query = {"symbol": DENIED, "start": behind}

    def stored() -> bool:
        return bool(HTTP.get(f"{system.url}/v1/candles", params=query).json()["data"])

    until(stored, "a candle that follows them")


def unfillable(system: System, since: datetime) -> int:
    """Minutes of holes that end after `since`."""
    return sum((end - begin) // MINUTE for begin, end in holes(system, since))


def holes(system: System, since: datetime) -> list[tuple[datetime, datetime]]:
    """Those that end after `since`, and are unfillable."""
    query = {"symbol": DENIED, "state": "unfillable", "start": since.isoformat()}
    found = HTTP.get(f"{system.url}/v1/gaps", params=query).json()["data"]
    ends = (tuple(datetime.fromisoformat(row[name]) for name in ("from", "to")) for row in found)
    return [(begin, end) for begin, end in ends]
