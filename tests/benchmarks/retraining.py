"""Self-training beside the same models never fitted again, and fitted weekly without being judged.

A replay of the same candles for each policy, and of each what was said live of the same rows:

    python -m tests.benchmarks.retraining --data DIR --symbols … --from 2025-03-01 --horizon 4

What each trigger of a training earns: the clock alone, and beside it one kind of drift or all:

    … --policies "clock alone,clock and error,clock and coverage,clock and feature,clock and \
        prediction,clock and calibration"
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from domain.events import Floats, Target
from domain.losses import BASELINES, Answer, deciding_loss
from domain.market import Horizon, Timeframe
from services.scores.skill import ScoredRows, SkillEstimate, pooled_skill
from tests.benchmarks.skills import skill_by_instrument, spread

WEEK: Final = "168"  # candles of an hour
TRIGGERS: Final = "ALPHAPULSE_TRAINING__TRIGGERS"
NO_TRIGGERS: Final = {TRIGGERS: "[]"}
DRIFT: Final = ("error", "coverage", "feature", "prediction", "calibration")
POLICIES: Final[Mapping[str, Mapping[str, str]]] = {
    "self-training": {},
    "never again": {"ALPHAPULSE_TRAINING__EVERY_BARS": "1000000", **NO_TRIGGERS},
    "weekly, always": {
        "ALPHAPULSE_TRAINING__EVERY_BARS": WEEK,
        "ALPHAPULSE_TRAINING__PROMOTION": "always",
        **NO_TRIGGERS,
    },
}
ABLATION: Final[Mapping[str, Mapping[str, str]]] = {
    "clock alone": NO_TRIGGERS,
    **{f"clock and {kind}": {TRIGGERS: f'["{kind}"]'} for kind in DRIFT},
}
FORECASTS: Final = {
    Target.DIRECTION: ["p_down", "p_flat", "p_up"],
    Target.QUANTILES: ["q10", "q50", "q90"],
    Target.VOLATILITY: ["volatility"],
}
ROW: Final = ["symbol", "as_of"]


def replay(arguments: argparse.Namespace, policy: Mapping[str, str], out: Path) -> float:
    """Seconds of the replay whose rows are in `out` afterwards."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "backend", "replay", "--data", str(arguments.data)]
    command += ["--exchange", arguments.exchange, "--timeframe", "1h", "--seed", "7"]
    command += ["--horizon", str(arguments.horizon), "--symbols", arguments.symbols]
    command += ["--from", arguments.since, "--out", str(out), "--state", str(out / "state")]
    command += ["--report", str(out / "report.json")]
    subprocess.run(command, env={**os.environ, **policy}, check=True)  # noqa: S603 - our own program
    return time.perf_counter() - started


def fits(out: Path) -> int:
    """How many models a replay fitted."""
    events = json.loads((out / "report.json").read_text())["events"]
    return sum(event["kind"] == "trained" for event in events)


def told(out: Path) -> pd.DataFrame:
    """What a replay said live, each row with what came true of it."""
    labels = pq.read_table(out / "labels.parquet").to_pandas().sort_values("revision")
    labels = labels.groupby(ROW, as_index=False).first()
    said = pq.read_table(out / "predictions.parquet").to_pandas()
    truth = labels[[*ROW, "outcome", "log_return", "realized_volatility"]]
    rows: pd.DataFrame = said[said.origin == "live"].merge(truth, on=ROW)
    return rows


def lost(live: pd.DataFrame, target: Target) -> pd.DataFrame:
    """Of each row of a target the losses of all that was said of it live, a column for a model."""
    rows = live[live[FORECASTS[target]].notna().all(axis=1)].copy()
    answer = Answer(
        outcome=_floats(rows.outcome),
        log_return=_floats(rows.log_return),
        realized_volatility=_floats(rows.realized_volatility),
    )
    forecast = np.asarray(rows[FORECASTS[target]], dtype=np.float64)
    if target is Target.VOLATILITY:
        forecast = forecast[:, 0]
    rows["loss"] = deciding_loss(target, forecast, answer)
    by_model: pd.DataFrame = rows.pivot_table(index=ROW, columns="model", values="loss")
    return by_model.reset_index()


def beside(
    losses: pd.DataFrame, model: str, target: Target, horizon: Horizon
) -> tuple[str, SkillEstimate, tuple[float, float]]:
    """The best baseline of the same rows, the skill over it, and the spread over instruments."""
    means = {name: float(np.nanmean(_floats(losses[name]))) for name in BASELINES[target]}
    best = min(means, key=means.__getitem__)
    rows = ScoredRows(
        as_of_ms=losses.as_of.dt.as_unit("ms").astype("int64").to_numpy(),
        instrument=losses.symbol.astype("category").cat.codes.to_numpy().astype(np.int64),
        loss=_floats(losses[model]),
        baseline_loss=_floats(losses[best]),
    )
    known = rows.known()
    return best, pooled_skill(known, horizon, 7), spread(skill_by_instrument(known, horizon, 7))


def table(out: Path, policy: str, horizon: Horizon) -> list[str]:
    """Rows of Markdown: what is served, and the fitted models' own rows, seated or not."""
    lines, live = [], told(out)
    for target in FORECASTS:
        losses = lost(live, target)
        for model in sorted(set(losses.columns) - {*ROW, *BASELINES[target]}):
            best, skill, (median, above) = beside(losses, model, target, horizon)
            shares = (skill.skill, skill.low, skill.high, median)
            earned, low, high, middle = (f"{100 * share:+.2f}" for share in shares)
            lines.append(
                f"| {policy} | {model} {target} | {skill.loss:.5g} | {best}"
                f" {skill.baseline_loss:.5g} | {earned} % | {low} to {high} | {middle} %"
                f" | {100 * above:.0f} % | {skill.count} |"
            )
    return lines


def _floats(column: Any) -> Floats:
    return np.asarray(column, dtype=np.float64)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Replay, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--exchange", default="binance")
    parser.add_argument("--symbols", required=True)
    parser.add_argument("--from", dest="since", required=True)
    parser.add_argument("--horizon", type=int, default=4)
    parser.add_argument("--policies", default=",".join(POLICIES).replace(", ", " "))
    parser.add_argument("--rows", type=Path, help="folder of rows that were replayed before")
    arguments = parser.parse_args()
    horizon = Horizon(Timeframe.H1, arguments.horizon)
    known = {name.replace(", ", " "): name for name in (*POLICIES, *ABLATION)}
    wanted = arguments.policies.split(",")
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"no policy is called {unknown[0]}; there are {', '.join(known)}")
    say("| policy | forecast | loss | best baseline | skill | 95 % | median | above 0 | rows |")
    say("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in (known[one] for one in wanted):
            policy = {**POLICIES, **ABLATION}[name]
            out = (arguments.rows or Path(folder)) / name.replace(", ", "_").replace(" ", "_")
            seconds = None if arguments.rows else replay(arguments, policy, out)
            say("\n".join(table(out, name, horizon)))
            if seconds is not None:
                sys.stderr.write(f"{name}: {fits(out)} fits, {seconds:.0f} s\n")


if __name__ == "__main__":
    main()
