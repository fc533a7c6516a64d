"""Orders where rooms run apart: any process takes them, who owns the matter does them, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.apart import Apart
from tests.kafka.broker import Broker
from tests.killing import hold_fits
from tests.processes import HTTP, System, alphapulse, running_exchange, until

pytestmark = pytest.mark.kafka

ADDED = "XRP/USDT"
LEARNING = {
    "ALPHAPULSE_TRAINING__MINIMUM_ROWS": "300",
    "ALPHAPULSE_TRAINING__EVERY_BARS": "1000000",
    "ALPHAPULSE_TRAINING__KINDS": '["logistic.direction"]',
    "ALPHAPULSE_TRAINING__ONLINE": "[]",
}
NAMED = {"Idempotency-Key": "monday"}
SERVED = """
SELECT count(*), count(*) FILTER (WHERE degraded LIKE '%warming_up%') FROM ml_predictions
JOIN instruments USING (instrument_id)
WHERE symbol = 'XRP/USDT' AND role = 'champion' AND origin <> 'backtest'
"""
RUNS = "SELECT count(*), count(DISTINCT as_of) FROM training_runs WHERE reason = 'request'"
OPEN_SIGNALS = """
SELECT count(*) FROM trading_signals JOIN instruments USING (instrument_id)
WHERE symbol = 'XRP/USDT' AND status IN ('pending', 'active') AND revision = (
    SELECT max(revision) FROM trading_signals AS other
    WHERE (other.instrument_id, other.timeframe, other.horizon, other.as_of)
        = (trading_signals.instrument_id, trading_signals.timeframe, trading_signals.horizon,
           trading_signals.as_of))
"""
OF_OTHERS = """
WITH gone AS (SELECT instrument_id FROM instruments WHERE symbol = 'XRP/USDT'),
    candle AS (DELETE FROM candles USING gone WHERE candles.instrument_id = gone.instrument_id)
DELETE FROM ml_predictions USING gone WHERE ml_predictions.instrument_id = gone.instrument_id
"""  # it is not predicted from the first close on, and not to the last


def test_an_order_to_any_process_is_done_once_by_its_owner(
    own: Broker, tmp_path: Path, database_url: str
) -> None:
    with ExitStack() as stack:
        exchange = stack.enter_context(running_exchange(tmp_path))
        apart = Apart(
            folder=tmp_path,
            exchange=exchange,
            database_url=database_url,
            broker=own.address,
            settings=LEARNING,
        )
        collectors = stack.enter_context(apart.process("collectors", "collectors"))
        workers = {
            name: stack.enter_context(apart.process(name, "panels")) for name in ("one", "two")
        }
        here, there = (stack.enter_context(apart.process(name, "api")) for name in ("a", "b"))
        for server in (here, there):
            server.wait_until_ready()
        added = HTTP.post(f"{here.url}/v1/instruments", json={"symbol": ADDED})
        unknown = HTTP.post(f"{there.url}/v1/instruments", json={"symbol": "XRB/USDT"})
        until(lambda: state_of(there) == "watched", "that it is predicted")
        until(lambda: apart.ask(SERVED)[0][0] > 0, "a prediction of its newest close")
        (_, warming), *_ = apart.ask(SERVED)
        until(lambda: models(here) >= 1, "a first fit")
        (holder,) = apart.holders().values()
        (owner,) = (one for one in workers.values() if holder.endswith(f":{one.process.pid}"))
        hold_fits(owner)
        with ThreadPoolExecutor() as both:
            asked = list(both.map(retrained, [here, there] * 4))
        place = asked[0].headers["location"]
        until(lambda: job(there, place)["state"] == "running", "that its owner trains")
        owner.kill()
        until(lambda: job(there, place)["state"] in {"done", "failed"}, "that the next one ends it")
        done = job(here, place)
        (runs, closes), *_ = apart.ask(RUNS)
        again = retrained(there)
        order = ("instruments", "remove", ADDED, "--state", "nowhere")
        left = alphapulse(tmp_path, *order, **apart.environment())
        (open_signals,), *_ = apart.ask(OPEN_SIGNALS)
        until(lambda: state_of(here) == "left", "that it has left")
        apart.wait_for_closes(3)
        apart.ask(OF_OTHERS)

        assert (added.status_code, added.json()["data"][0]["state"]) == (202, "joining")
        assert (unknown.status_code, unknown.json()["suggestions"][0]) == (404, ADDED)
        assert warming == 0
        assert {one.headers["location"] for one in [*asked, again]} == {place}
        assert sum("idempotency-replayed" not in one.headers for one in asked) == 1
        assert (done["state"], done["attempts"], len(done["result"])) == ("done", 2, 1), done
        assert runs == closes >= 1
        assert again.status_code == httpx.codes.OK
        assert (left.returncode, "left; its history stays" in left.stdout) == (0, True), left.stderr
        assert open_signals == 0
        assert apart.complaints(but=ADDED) == []
        for each in (collectors, *(one for one in workers.values() if one is not owner), here):
            assert each.stop() == 0


def test_an_instrument_joins_though_whoever_collects_dies(
    own: Broker, tmp_path: Path, database_url: str
) -> None:
    with ExitStack() as stack:
        exchange = stack.enter_context(running_exchange(tmp_path))
        apart = Apart(
            folder=tmp_path, exchange=exchange, database_url=database_url, broker=own.address
        )
        collectors = stack.enter_context(apart.process("collectors", "collectors"))
        workers = stack.enter_context(apart.process("workers", "panels"))
        server = stack.enter_context(apart.process("server", "api"))
        server.wait_until_ready()
        exchange.fault("status_503", instrument=ADDED, count=1_000_000)
        added = HTTP.post(f"{server.url}/v1/instruments", json={"symbol": ADDED})
        collectors.kill()
        between = state_of(server)
        exchange.mend()
        late = HTTP.post(f"{server.url}/v1/instruments", json={"symbol": "ADA/USDT"})
        again = stack.enter_context(apart.process("again", "collectors"))
        until(lambda: state_of(server) == "watched", "that it is predicted")
        until(lambda: state_of(server, "ADA/USDT") == "watched", "what was ordered meanwhile")
        until(lambda: apart.ask(SERVED)[0][0] > 0, "a prediction of its newest close")
        server.wait_until_ready()
        for each in (again, workers, server):
            assert each.stop() == 0

    assert (added.status_code, added.json()["data"][0]["state"]) == (202, "joining")
    assert between == "joining"
    assert (late.status_code, late.json()["data"][0]["state"]) == (202, "ordered")


def retrained(server: System) -> httpx.Response:
    return HTTP.post(f"{server.url}/v1/retrains", json={"horizon": 4}, headers=NAMED)


def job(server: System, place: str) -> dict[str, Any]:
    (row,) = HTTP.get(f"{server.url}{place}").json()["data"]
    return dict(row)


def state_of(server: System, symbol: str = ADDED) -> str | None:
    rows = HTTP.get(f"{server.url}/v1/instruments").json()["data"]
    return next((row["state"] for row in rows if row["symbol"] == symbol), None)


def models(server: System) -> int:
    return len(HTTP.get(f"{server.url}/v1/models").json()["data"])
