"""What columns of higher timeframes, of the leader and of correlated instruments would add.

LightGBM as the release fits it, anew each month on all rows before, with and without them:

    python -m tests.benchmarks.context --data DIR --symbols … --from 2025-03-01 --horizon 4
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from backend.clock import VirtualClock
from backend.panel import Panel, PanelKey
from collectors.recorded import choose, read_folder
from domain.events import CandleBatch, Examples, Floats, Ints, Target
from domain.losses import Answer, deciding_loss
from domain.market import Horizon, Instrument, Timeframe, from_ms, to_ms
from services.features.feature_set import OHLCV
from services.models.artifacts import open_model
from services.models.catalogue import BUILT_IN
from services.models.examples import concatenate
from services.models.fitting import FitTask, train
from services.models.forecaster import Table
from services.models.walk_forward import SplitKind
from services.scores.skill import ScoredRows, pooled_skill
from services.signals.policy import PolicySettings

H1: Final = Timeframe.H1
LEADER: Final = "BTC/USDT"
HIGHER: Final = (4, 24)  # candles of an hour
PEERS_BARS: Final = 168  # over which correlations are taken
LEADING: Final = (
    *("log_return_1", "log_return_4", "log_return_24"),
    *("realized_volatility_24", "gk_variance_1", "gk_variance_24"),
)
FORECASTS: Final = ("lightgbm.volatility", "lightgbm.direction")


class Market:
    """Recorded candles as (closes, instruments, 5), and the feature rows of each close."""

    def __init__(self, data: Path, exchange: str, symbols: list[str], horizon: int) -> None:
        chosen = choose(read_folder(data), exchange=exchange, symbols=symbols, timeframe=H1)
        self.instruments = tuple(chosen.recordings)
        told = list(chosen.recordings.values())
        opens = np.unique(np.concatenate([one.open_ms for one in told]))
        self.close_ms: Ints = opens + H1.ms
        self.candles = np.full((len(opens), len(told), 5), np.nan)
        for number, one in enumerate(told):
            self.candles[np.searchsorted(opens, one.open_ms), number] = one.values
        self.horizon = horizon
        self.values = np.full((*self.candles.shape[:2], len(OHLCV.columns)), np.nan)
        self.examples = self._played(exchange)

    def _played(self, exchange: str) -> Examples:
        """Feature rows with what came true, as the rooms make them."""
        key = PanelKey(exchange=exchange, timeframe=H1)
        clock = VirtualClock(from_ms(0))
        panel = Panel(key, [self.horizon], clock=clock, policy=PolicySettings())
        rooms, parts = panel.rooms[self.horizon], []
        for tick, close_ms in enumerate(self.close_ms.tolist()):
            batch = self._tick(exchange, tick, from_ms(close_ms))
            features = panel.sentiment.beside(panel.engine.on_candles(batch))
            places = [self.instruments.index(one) for one in batch.instruments]
            self.values[tick, places] = features.values
            rooms.joiner.on_features(features)
            parts += [rooms.joiner.on_labels(one)[1] for one in rooms.labeller.on_candles(batch)]
        return concatenate([part for part in parts if len(part)])

    def _tick(self, exchange: str, tick: int, as_of: datetime) -> CandleBatch:
        there = np.flatnonzero(np.isfinite(self.candles[tick]).all(axis=1))
        opened, high, low, close, volume = np.ascontiguousarray(self.candles[tick, there].T)
        return CandleBatch(
            exchange=exchange,
            timeframe=H1,
            as_of=as_of,
            instruments=tuple(self.instruments[place] for place in there.tolist()),
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=volume,
            known_at=as_of,
            revision=np.ones(len(there), dtype=np.int64),
        )


def higher(market: Market, bars: int) -> Floats:
    """(closes, instruments, 5) of the newest candle of `bars` hours that has closed by then.

    Its log return, Garman-Klass variance, mean of that over 14, close within its range, and
    close beside the mean of 20 closes.
    """
    ends = np.flatnonzero(market.close_ms // H1.ms % bars == 0)
    ends = ends[ends >= bars - 1]
    parts = np.stack([market.candles[end - bars + 1 : end + 1] for end in ends])
    opened, close = parts[:, 0, :, 0], parts[:, -1, :, 3]
    high, low = parts[..., 1].max(axis=1), parts[..., 2].min(axis=1)
    variance = 0.5 * np.log(high / low) ** 2 - (2 * np.log(2) - 1) * np.log(close / opened) ** 2
    change = np.vstack((np.full((1, close.shape[1]), np.nan), np.diff(np.log(close), axis=0)))
    columns = (
        change,
        variance,
        trailing(variance, 14),
        (close - low) / np.where(high > low, high - low, np.nan),
        np.log(close / trailing(close, 20)),
    )
    newest = np.searchsorted(ends, np.arange(len(market.close_ms)), side="right") - 1
    made: Floats = np.stack(columns, axis=-1)[np.maximum(newest, 0)]
    made[newest < 0] = np.nan
    return made


def trailing(values: Floats, bars: int) -> Floats:
    """Mean of the last `bars` rows; NaN before there are as many."""
    sums = np.cumsum(np.nan_to_num(values), axis=0)
    means: Floats = np.full_like(values, np.nan)
    means[bars - 1 :] = sums[bars - 1 :]
    means[bars:] -= sums[:-bars]
    return means / bars


def leader(market: Market) -> Floats:
    """(closes, instruments, 6) of the leader's own row at that close."""
    row = market.values[:, [one.symbol for one in market.instruments].index(LEADER)]
    places = [OHLCV.columns.index(name) for name in LEADING]
    wide = np.broadcast_to(row[:, None, places], (*market.candles.shape[:2], len(places)))
    return np.array(wide)


def peers(market: Market) -> Floats:
    """(closes, instruments, 2): the others' returns in σ, weighted by correlation; what is left."""
    change = market.values[:, :, OHLCV.columns.index("log_return_1")]
    known = np.nan_to_num(change)
    made = np.full((*change.shape, 2), np.nan)
    for tick in range(PEERS_BARS, len(change)):
        window = known[tick - PEERS_BARS + 1 : tick + 1]
        sigma = np.sqrt((window**2).mean(axis=0))
        scaled = window / np.where(sigma > 0, sigma, np.nan)
        correlation = np.nan_to_num(scaled.T @ scaled / PEERS_BARS)
        np.fill_diagonal(correlation, 0.0)
        now = np.nan_to_num(scaled[-1])
        pull = correlation @ now / (change.shape[1] - 1)
        made[tick] = np.column_stack((pull, now - pull))
    return made


def contexts(market: Market) -> dict[str, Floats]:
    """The columns to try, by name."""
    parts = {
        "higher timeframes": np.concatenate([higher(market, bars) for bars in HIGHER], axis=2),
        "leader": leader(market),
        "correlated": peers(market),
    }
    nothing = np.empty((*market.candles.shape[:2], 0))
    return {"nothing": nothing, **parts, "all": np.concatenate([*parts.values()], axis=2)}


def widened(market: Market, columns: Floats) -> Examples:
    """The examples with these columns after their own."""
    ticks = np.searchsorted(market.close_ms, market.examples.as_of_ms)
    place = {one: number for number, one in enumerate(market.instruments)}
    rows = np.array([place[one] for one in market.examples.instruments])
    more = tuple(f"context_{number}" for number in range(columns.shape[2]))
    return replace(
        market.examples,
        columns=market.examples.columns + more,
        features=np.hstack((market.examples.features, columns[ticks, rows])),
    )


def losses(market: Market, examples: Examples, name: str, since: datetime) -> Floats:
    """Of each row from `since` on, by the fit of its month; NaN before."""
    recipe = BUILT_IN.recipes[name]
    columns = (*OHLCV.model_columns, *(one for one in examples.columns if "context_" in one))
    span_ms = market.horizon * H1.ms
    month = examples.as_of_ms.astype("datetime64[ms]").astype("datetime64[M]")
    said = np.full(
        (len(examples), 3) if recipe.target is Target.DIRECTION else len(examples), np.nan
    )
    for one in np.unique(month[examples.as_of_ms >= to_ms(since)]):
        begins_ms = int(one.astype("datetime64[ms]").astype(np.int64))
        task = FitTask(
            recipe=recipe,
            horizon=market.horizon,
            horizon_ms=span_ms,
            columns=columns,
            examples=examples,
            split=SplitKind.LEAN,
            seed=7,
        )
        known = np.flatnonzero(examples.known_ms + span_ms <= begins_ms)
        model = open_model(train(task, BUILT_IN, examples.take(known)), "1")
        rows = np.flatnonzero(month == one)
        said[rows] = model.forecast(Table.of(examples.take(rows)))
    answer = Answer(
        outcome=examples.outcome,
        log_return=examples.log_return,
        realized_volatility=examples.realized_volatility,
    )
    return deciding_loss(recipe.target, said, answer)


def main() -> None:
    """Print a table of what each of them adds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--exchange", default="binance")
    parser.add_argument("--symbols", required=True)
    parser.add_argument("--from", dest="since", required=True)
    parser.add_argument("--horizon", type=int, default=4)
    arguments = parser.parse_args()
    since = datetime.fromisoformat(arguments.since).replace(tzinfo=UTC)
    horizon = Horizon(H1, arguments.horizon)
    symbols = arguments.symbols.split(",")
    market = Market(arguments.data, arguments.exchange, symbols, arguments.horizon)
    sys.stdout.write("| forecast | with | loss | added | 95 % |\n|---|---|---|---|---|\n")
    order: list[Instrument] = list(market.instruments)
    numbers = np.array([order.index(one) for one in market.examples.instruments])
    for name in FORECASTS:
        bare: Floats | None = None
        for words, columns in contexts(market).items():
            lost = losses(market, widened(market, columns), name, since)
            bare = lost if bare is None else bare
            rows = ScoredRows(
                as_of_ms=market.examples.as_of_ms, instrument=numbers, loss=lost, baseline_loss=bare
            )
            one = pooled_skill(rows, horizon, 7)
            spread = f"{100 * one.low:+.2f} to {100 * one.high:+.2f}"
            line = f"| {name} | {words} | {one.loss:.5g} | {100 * one.skill:+.2f} % | {spread} |\n"
            sys.stdout.write(line)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
