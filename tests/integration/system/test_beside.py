"""Every other command works beside a running system, and a second system is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pandas as pd
import pytest
from pydantic import SecretStr

from backend.exported import KINDS
from backend.settings import Settings
from backend.transfer import ExportPlan, export_table
from tests.documented_receiver import Listening
from tests.integration.system.conftest import QUIET
from tests.processes import Exchange, System, alphapulse, one_line, until

# What the interface promises of each command: its exit code, and some of what it says.
COMMANDS = [
    (("verify",), 0, [" streams are intact, and predictions and signals are as published\n"]),
    (("doctor",), 1, ["WARN gaps: ", "ok   running system: process ", "ok   streams: "]),
    (("migrate",), 0, ["(unchanged)\n"]),
    (("models", "list"), 0, ["no model has been fitted yet"]),
    (("models", "train"), 0, ["training asked for"]),
    (("dashboard", "rebuild"), 0, ["dashboard rebuilt: "]),
]


@pytest.mark.parametrize(("arguments", "code", "expected"), COMMANDS)
def test_a_command_beside_a_running_system(
    stalled: System, arguments: tuple[str, ...], code: int, expected: list[str]
) -> None:
    done = alphapulse(stalled.state.parent, *arguments, "--state", "state")

    assert (done.returncode, done.stderr) == (code, "")
    assert all(words in done.stdout for words in expected), done.stdout


def test_what_happens_is_told_to_whom_a_rule_names(stalled: System, listener: Listening) -> None:
    gaps = {f"gap.opened binance:{symbol}" for symbol in QUIET}
    until(lambda: gaps <= set(listener.said), "a gap of each")

    done = alphapulse(stalled.state.parent, "notify", "list", "sent", "--state", "state")

    sent = [line.split()[1:5] for line in done.stdout.splitlines()]
    assert {("sent", "ops", *one.split()) for one in gaps} <= {tuple(line) for line in sent}
    assert stalled.metric("alphapulse_notifications_sent_total") >= len(gaps)


def test_a_second_system_on_a_state_folder_is_refused_and_told_of_the_first(
    stalled: System, tmp_path: Path
) -> None:
    said = one_line(alphapulse(tmp_path, "demo", "--port", "0", "--state", str(stalled.state)), 1)

    assert f"in use by process {stalled.process.pid}" in said
    assert stalled.process.poll() is None


def test_a_symbol_that_the_exchange_does_not_list_is_refused_with_what_is_near(
    exchange: Exchange, tmp_path: Path
) -> None:
    run = ("run", "--exchange", "binance", "--symbols", "BTC/USDC", "--port", "0")

    assert "BTC/USDT" in one_line(alphapulse(tmp_path, *run, **exchange.settings()), 2)
    assert not (tmp_path / ".alphapulse").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("export", "prediction", "--out", "p.csv"), "predictions"),
        (("export", "predictions", "--out", "p.xlsx"), ".parquet or a .csv"),
        (("import", "--data", "."), "no "),
        (("models", "rollback", "lightgbm.direction"), "unknown model 'lightgbm.direction'"),
        (("models", "show", "lightgbm.direction"), "unknown model 'lightgbm.direction'"),
    ],
)
def test_a_mistake_beside_a_running_system_is_one_line(
    stalled: System, arguments: tuple[str, ...], expected: str
) -> None:
    done = alphapulse(stalled.state.parent, *arguments, "--state", "state")

    assert expected in one_line(done, 2)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_every_kind_can_be_exported(stalled: System, tmp_path: Path, ending: str) -> None:
    settings = Settings(database_url=SecretStr(stalled.database_url()), state=stalled.state)
    found = {}
    for kind in KINDS:
        out = tmp_path / f"{kind}.{ending}"
        plan = ExportPlan(kind=kind, out=out, since=None, until=None, symbols=list(QUIET))
        asyncio.run(export_table(plan, settings))
        found[kind] = pd.read_csv(out) if ending == "csv" else pd.read_parquet(out)

    empty = {kind for kind, table in found.items() if not len(table)}
    # A prediction that a busy machine makes after the next close opens no signal.
    assert {"models", "decisions"} <= empty <= {"models", "decisions", "signals"}
    assert set(found["candles"].symbol) == set(QUIET)
    assert {"origin", "role", "target", "members", "degraded"} <= set(found["predictions"].columns)
    keys = ["symbol", "horizon", "as_of", "revision", "role", "model"]
    assert not found["predictions"].duplicated(keys).any()
