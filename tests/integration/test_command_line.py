"""The command line as a stranger uses it: exit codes, one line on stderr, folders that are odd."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest

from backend.exported import KINDS
from tests.processes import HTTP, alphapulse, command, environment, one_line, until

REPLAY = ("replay", "--data", "data", "--timeframe", "1h", "--horizon", "4", "--report", "r.json")
DEAD = "postgresql://nobody:secret@127.0.0.1:1/none"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "--exchange", "binanse", "--symbols", "BTC/USDT"), "binance"),
        (("demo", "--timeframes", "2h"), "unknown timeframe '2h'; nearest: 4h, 1h"),
        (("demo", "--data", "nowhere"), "nowhere: no such folder"),
        (("run", "--exchange", "binance"), "--symbols"),
        (("run", "--exchange", "kraken", "--symbols", "krakn:BTC/USD"), "'krakn'; nearest: kraken"),
        ((*REPLAY, "--from", "2025-02-01", "--to", "2025-01-31"), "later than --to 2025-01-31"),
        (("demo", "--speed", "inf"), "--speed"),
        (("exchange", "--signal", "inf"), "--signal"),
        (("exchange", "--port", "99999"), "--port"),
        (("demo", "--from", "2025-02-01", "--to", "2025-01-31"), "--from 2025-02-01 is later"),
        (("models", "show", "lightgbm.direction@99999999999"), "name a model as NAME@VERSION"),
        (("models", "show", "lightgbm.direction@٣"), "name a model as NAME@VERSION"),
        (("models", "train", "--horizon", "99999999999"), "100000"),
        (("demo", "--horizons", "99999999999"), "at most 100000"),
        (("demo", "--horizons", "²"), "at most 100000"),
        (("demo", "--for", "99999999999999d"), "longer than 100 years"),
        ((*REPLAY, "--to", "9999-12-31T23:59-14:00"), "is not a time"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_2(
    tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    assert expected in one_line(alphapulse(tmp_path, *arguments), 2)
    assert not (tmp_path / ".alphapulse").exists()


def test_it_says_which_release_it_is(tmp_path: Path) -> None:
    done = alphapulse(tmp_path, "--version")

    assert (done.returncode, done.stdout) == (0, f"alphapulse {version('alphapulse')}\n")


def test_run_watches_what_the_settings_say_where_no_flag_does(tmp_path: Path) -> None:
    (tmp_path / "alphapulse.toml").write_text(
        '[watch]\nexchanges = ["binanse"]\nsymbols = ["BTC/USDT"]\n'
    )
    said = one_line(alphapulse(tmp_path, "run"), 2)
    assert "unknown exchange 'binanse'; nearest: binance" in said
    said = one_line(alphapulse(tmp_path, "run", "--exchange", "krakn"), 2)
    assert "unknown exchange 'krakn'; nearest: kraken" in said


DEAF = {"ALPHAPULSE_EXCHANGE__KRAKEN__REST_URL": "http://127.0.0.1:1"}


def test_init_writes_what_flags_say_and_never_over_a_file_unasked(tmp_path: Path) -> None:
    flags = ("--exchange", "kraken", "--symbols", "BTC/USD", "--horizons", "4,24")
    done = alphapulse(tmp_path, "init", *flags, **DEAF)
    assert done.returncode == 0, done.stderr
    assert "kraken cannot be asked for its symbols" in done.stderr
    assert "kraken serves the newest 720 candles" in done.stdout
    assert "without a fitted model; later by as long as it does not answer\n" in done.stdout
    written = (tmp_path / "alphapulse.toml").read_text()
    assert 'exchanges = ["kraken"]' in written
    shown = alphapulse(tmp_path, "settings").stdout
    assert "watch.horizons = [4, 24]  (alphapulse.toml)" in shown
    assert "--force" in one_line(alphapulse(tmp_path, "init"), 2)
    assert (tmp_path / "alphapulse.toml").read_text() == written

    (tmp_path / "alphapulse.toml").write_text(written.replace("# port = 8000", "port = 9000"))
    again = alphapulse(tmp_path, "init", "--force", "--timeframes", "1m", **DEAF)
    assert again.returncode == 0, again.stderr
    written = (tmp_path / "alphapulse.toml").read_text()
    assert 'timeframes = ["1m"]' in written
    assert "\nport = 9000\n" in written
    assert "horizons = [4, 24]" in written


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--exchange", "binanse"), "unknown exchange 'binanse'; nearest: binance"),
        (("--exchange", "kraken", "--timeframes", "2h"), "unknown timeframe '2h'; nearest: 4h"),
        (("--exchange", "kraken", "--horizons", "soon"), "--horizons soon: whole numbers"),
        (("--exchange", "kraken", "--symbols", ","), "--symbols: none is named"),
    ],
)
def test_init_writes_nothing_where_an_answer_cannot_be(
    tmp_path: Path, flags: tuple[str, ...], expected: str
) -> None:
    done = alphapulse(tmp_path, "init", *flags, **DEAF)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr.splitlines()[-1]
    assert not (tmp_path / "alphapulse.toml").exists()


def test_init_asks_at_a_terminal_and_asks_again_where_an_answer_cannot_be(tmp_path: Path) -> None:
    typed, terminal = os.openpty()
    with subprocess.Popen(  # noqa: S603 - our own program
        command("init", "--symbols", "BTC/USD"),
        cwd=tmp_path,
        env=environment(**DEAF),
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as asked:
        os.write(typed, b"krakn\nkraken\n\n4,8\n")
        said, errors = asked.communicate(timeout=60)
    os.close(typed)
    os.close(terminal)
    assert asked.returncode == 0, errors
    assert "exchanges (ids of ccxt, as binance or kraken) [binance]" in said
    assert "unknown exchange 'krakn'; nearest: kraken" in errors
    written = (tmp_path / "alphapulse.toml").read_text()
    assert 'exchanges = ["kraken"]' in written
    assert 'timeframes = ["1h"]' in written
    assert "horizons = [4, 8]" in written


def test_a_port_in_use_is_named_and_leaves_no_state_folder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = one_line(alphapulse(tmp_path, "demo", "--port", port), 1)
    assert f"port {port}" in said
    assert not (tmp_path / ".alphapulse").exists()


def test_help_lists_what_can_be_exported_and_is_no_error_message(tmp_path: Path) -> None:
    words = " ".join(alphapulse(tmp_path, "export", "--help").stdout.split())
    assert ", ".join(KINDS) in words
    assert alphapulse(tmp_path, "models").stderr.startswith("Usage: alphapulse models")


def test_a_state_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "version").write_text("99\n")
    said = one_line(alphapulse(tmp_path, "demo", "--state", "state", "--port", "0"), 1)
    assert "version '99'" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify",),
        ("features", "audit"),
        ("models", "list"),
        ("export", "candles", "--out", "c.csv"),
    ],
)
def test_who_only_reads_makes_no_state_folder(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    said = one_line(alphapulse(tmp_path, *arguments, "--state", "mistyped"), 1)
    assert "no system has run on the state folder" in said
    assert not (tmp_path / "mistyped").exists()


def test_a_database_that_is_not_there_ends_the_start_with_one_line(tmp_path: Path) -> None:
    done = alphapulse(tmp_path, "demo", "--port", "0", ALPHAPULSE_DATABASE_URL=DEAD)
    said = one_line(done, 1)
    assert "cannot reach the database" in said
    assert "secret" not in said


def test_an_exchange_that_cannot_be_reached_ends_the_start_with_one_line(tmp_path: Path) -> None:
    done = alphapulse(
        tmp_path,
        *("run", "--exchange", "binance", "--symbols", "BTC/USDT", "--port", "0"),
        ALPHAPULSE_EXCHANGE__BINANCE__REST_URL="http://127.0.0.1:1",
    )
    said = one_line(done, 1)
    assert "no exchange can be reached: binance GET http://127.0.0.1:1" in said
    assert said.endswith(": Connection refused\n")


def test_where_several_exchanges_cannot_be_reached_each_has_its_line(tmp_path: Path) -> None:
    done = alphapulse(
        tmp_path,
        *("run", "--exchange", "binance,kraken", "--symbols", "BTC/USDT", "--port", "0"),
        ALPHAPULSE_EXCHANGE__BINANCE__REST_URL="http://127.0.0.1:1",
        ALPHAPULSE_EXCHANGE__KRAKEN__REST_URL="http://127.0.0.1:1",
    )
    first, second = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert first.startswith("alphapulse: no exchange can be reached: binance GET")
    assert second.startswith("kraken GET")


def candles(bars: int = 30) -> pd.DataFrame:
    close = np.linspace(100.0, 110.0, bars)
    return pd.DataFrame(
        {
            "timestamp": 1_700_002_800_000 + np.arange(bars) * 3_600_000,
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": 1.0,
        }
    )


def spoiled(folder: Path) -> Path:
    """A file of 31 rows, 4 of which are not used, one in seconds and one that is none."""
    folder.mkdir()
    table = candles()
    close, low, opened = (table[name].to_numpy().copy() for name in ("close", "low", "timestamp"))
    close[5], low[7] = np.nan, -1.0
    opened[9] += 1_234
    table = table.assign(timestamp=opened, close=close, low=low)
    table = pd.concat([table, table.iloc[[20]]])
    table.to_parquet(folder / "binance_AAA-USDT_1h.parquet")
    (folder / "binance_BBB-USDT_1h.parquet").write_text("junk")
    seconds = candles().assign(timestamp=candles()["timestamp"] // 1_000)
    seconds.to_parquet(folder / "binance_CCC-USDT_1h.parquet")
    return folder


def test_import_uses_the_good_rows_names_the_others_and_export_gives_them(
    tmp_path: Path, database_url: str
) -> None:
    spoiled(tmp_path / "data").joinpath("notes.csv").write_text("")
    done = alphapulse(tmp_path, "import", "--data", "data", ALPHAPULSE_DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    assert "binance_BBB-USDT_1h.parquet" in done.stdout
    assert "binance_CCC-USDT_1h.parquet: timestamps look like seconds" in done.stdout
    assert "binance_AAA-USDT_1h.parquet: 27 rows used, 4 refused\n" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "4 files: 1 used, 2 without a usable candle, 1 left out by their names, "
        "4 rows refused in the used ones; 27 candles new or changed"
    )
    (tmp_path / "file").touch()
    for out, symbol, code, expected in (
        ("c.csv", "AAA/USD", 2, "unknown symbol 'AAA/USD'; nearest: AAA/USDT"),
        ("file/c.csv", "AAA/USDT", 2, "file: cannot be made"),
        ("new/c.csv", "AAA/USDT", 0, ""),
    ):
        flags = ("--out", out, "--symbols", symbol)
        told = alphapulse(
            tmp_path, "export", "candles", *flags, ALPHAPULSE_DATABASE_URL=database_url
        )
        assert (told.returncode, expected in told.stderr) == (code, True), told.stderr
    assert not (tmp_path / "c.csv").exists()
    assert len(pd.read_csv(tmp_path / "new" / "c.csv")) == 27


UNUSED = "4 rows of 1 files were not used; 2 files were not used at all"


def test_replay_names_what_it_does_not_use_and_counts_it(tmp_path: Path, database_url: str) -> None:
    spoiled(tmp_path / "data")
    done = alphapulse(tmp_path, *REPLAY, ALPHAPULSE_DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert "binance_AAA-USDT_1h.parquet row 6: close is not a finite number" in said
    assert "binance_AAA-USDT_1h.parquet: 2 more" in said
    assert any(line.startswith("binance_BBB-USDT_1h.parquet: cannot be read") for line in said)
    assert UNUSED in said
    data = orjson.loads((tmp_path / "r.json").read_bytes())["data"]
    assert (data["candles"], data["rejected"]) == (27, {"rows": 4, "files": 2})


@pytest.mark.long
def test_the_demo_names_what_it_does_not_use_and_its_page_counts_it(
    tmp_path: Path, database_url: str
) -> None:
    spoiled(tmp_path / "data")
    errors = tmp_path / "errors.log"
    with (
        errors.open("w") as output,
        subprocess.Popen(  # noqa: S603 - our own program
            command("demo", "--data", "data", "--port", "0"),
            cwd=tmp_path,
            env=environment(ALPHAPULSE_DATABASE_URL=database_url),
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        ) as demo,
    ):
        try:
            assert demo.stdout is not None
            page = next((line for line in demo.stdout if line.startswith("page")), "")
            url = page.split()[-1].rstrip("/")

            def notes() -> str:
                return str(HTTP.get(f"{url}/v1/status").json()["data"][0]["notes"])

            until(lambda: UNUSED in notes(), "a note of what was not used")

            def unfillable() -> list[dict[str, object]]:
                gaps = HTTP.get(f"{url}/v1/gaps")
                rows = gaps.json()["data"] if gaps.is_success else []
                before = [row for row in rows if row["to"] == "2023-11-14T23:00:00.000Z"]
                return [row for row in before if row["state"] == "unfillable"]

            until(lambda: bool(unfillable()), "the history that is not there in the gap ledger")
            until(lambda: "before them are unfillable, and models train" in notes(), "a note of it")
        finally:
            demo.terminate()
    said = errors.read_text().splitlines()
    assert "binance_AAA-USDT_1h.parquet row 6: close is not a finite number" in said
    assert UNUSED in said


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--from", "2030-01-01"), "the last candle closes at 2023-11-"),
        (("--report", "file/r.json"), "file: cannot be made"),
        (("--report", "data"), "data is a folder"),
        (("--out", "file"), "file: cannot be made"),
        (("--out", "file/rows"), "file/rows: cannot be made"),
        (("--out", "rows"), "rows/labels.parquet is a folder"),
        (("--out", "r" * 300), "File name too long"),
    ],
)
def test_what_cannot_be_written_or_predicted_is_said_before_a_replay_starts(
    tmp_path: Path, flags: tuple[str, ...], expected: str
) -> None:
    spoiled(tmp_path / "data")
    (tmp_path / "file").touch()
    (tmp_path / "rows" / "labels.parquet").mkdir(parents=True)
    assert expected in one_line(alphapulse(tmp_path, *REPLAY, *flags), 2)
    assert not (tmp_path / ".alphapulse").exists()


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(  # noqa: S603 - our own program
        command("demo", "--port", "0", "--symbols", "BTC/USDT,ETH/USDT"),
        cwd=tmp_path,
        env=environment(ALPHAPULSE_HISTORY_BARS="200"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        assert any(line.startswith("ready:") for line in demo.stdout)
        demo.send_signal(number)
        said, errors = demo.communicate(timeout=60)
    assert demo.returncode == 0, errors
    assert f"stopping on {number.name}" in said
    assert "Traceback" not in errors
    assert not (tmp_path / ".alphapulse" / "postgres" / "postmaster.pid").exists()
