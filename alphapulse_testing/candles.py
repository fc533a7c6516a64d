"""What every candle feature set of a plug-in must do: `candle_checks(SET)` in a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from alphapulse_testing.check import Check, checks, require
from alphapulse_testing.walk import FIRST, INSTRUMENTS, NEAR, walked_candles
from domain.events import Floats
from domain.market import Timeframe
from services.features.engine import FeatureEngine
from services.features.extended import begin
from services.features.feature_set import OHLCV
from services.features.kinds import KEPT, LONGEST, CandleKind, CandleSet

CANDLES: Final = 400
PIECE: Final = 130  # candles before the state is handed on


@dataclass
class Computed:
    """A set, and its rows over a random walk of four instruments."""

    kind: CandleKind

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def own(self) -> int:
        """How many columns are its own; they come last."""
        return len(self.kind.adds)

    def engine(self) -> FeatureEngine:
        return begin(CandleSet.of(self.kind), "walk", Timeframe.H1)

    @cached_property
    def candles(self) -> Floats:
        """(T + 1, n, 5)."""
        return walked_candles(CANDLES)

    @cached_property
    def rows(self) -> Floats:
        """(T, n, columns)."""
        return self.walk(self.engine(), self.candles[:-1])

    @staticmethod
    def walk(engine: FeatureEngine, candles: Floats, since: int = 0) -> Floats:
        hours = (FIRST + since + np.arange(1, len(candles) + 1)) * Timeframe.H1.ms
        values, _ = engine.walk(instruments=INSTRUMENTS, as_of_ms=hours, candles=candles)
        return values


def candle_checks(kind: CandleKind) -> list[Check]:
    """The suite."""
    return checks(Computed(kind), OF_CANDLES)


def it_is_a_version_with_names_and_formulas(subject: Computed) -> None:
    kind, names = subject.kind, [one.name for one in subject.kind.adds]
    require(kind.version > OHLCV.version, f"version {kind.version} is not above {OHLCV.version}")
    require(1 <= kind.candles <= LONGEST, f"it sees {kind.candles} candles, not 1 to {LONGEST}")
    require(kind.without or names, "it is what there is already")
    for one in kind.adds:
        good = one.name.isidentifier() and one.name.islower()
        require(good, f"{one.name!r} is no name of a column")
        require(one.formula.strip(), f"{one.name} has no formula")
        within = 1 <= one.known_after <= kind.candles
        require(within, f"{one.name} is known after {one.known_after} of {kind.candles} candles")
    taken = {*OHLCV.columns} - {*kind.without}
    twice = {name for name in names if names.count(name) > 1} | (taken & {*names})
    require(not twice, f"{', '.join(sorted(twice))} is there twice")


def it_leaves_out_what_there_is_and_nobody_else_reads(subject: Computed) -> None:
    left = {*subject.kind.without}
    unknown = left - {*OHLCV.columns}
    require(not unknown, f"{', '.join(sorted(unknown))} is no column of {OHLCV.id}")
    needed = left & {*KEPT}
    require(not needed, f"{', '.join(sorted(needed))} is read of every set")


def its_columns_are_known_from_their_candle_on(subject: Computed) -> None:
    for place, one in enumerate(subject.kind.adds):
        known = np.any(np.isfinite(subject.rows[:, :, place - subject.own]), axis=1)
        since = np.flatnonzero(known)
        require((since >= one.known_after - 1).all(), f"{one.name} is known too soon")
        require(len(since), f"{one.name} is never known")


def what_it_takes_over_is_the_same(subject: Computed) -> None:
    kernels = FeatureEngine(OHLCV, "walk", Timeframe.H1)
    values = subject.walk(kernels, subject.candles[:-1])
    taken = [name for name in OHLCV.columns if name not in subject.kind.without]
    theirs = values[..., [OHLCV.columns.index(name) for name in taken]]
    same = np.array_equal(subject.rows[..., : len(taken)], theirs, equal_nan=True)
    require(same, f"a column of {OHLCV.id} is another")


def live_equals_history(subject: Computed) -> None:
    """Candle by candle, and in pieces with the state handed on, to the bit."""
    engine, parts = subject.engine(), []
    for tick in range(CANDLES):
        parts.append(subject.walk(engine, subject.candles[tick : tick + 1], tick))
        if (tick + 1) % PIECE == 0:
            state, engine = engine.snapshot(), subject.engine()
            engine.restore(state)
    same = np.array_equal(np.concatenate(parts), subject.rows, equal_nan=True)
    require(same, "rows of single candles are others than those of history")


def truncation_changes_nothing(subject: Computed) -> None:
    for at in (1, CANDLES // 2, CANDLES - 1):
        head = subject.walk(subject.engine(), subject.candles[:at])
        same = np.array_equal(head, subject.rows[:at], equal_nan=True)
        require(same, f"rows before {at} are others without the rest")


def an_instrument_is_computed_alone_as_among_others(subject: Computed) -> None:
    alone = np.full_like(subject.candles[:-1], np.nan)
    alone[:, 0] = subject.candles[:-1, 0]
    rows = subject.walk(subject.engine(), alone)[:, 0, -subject.own :]
    same = not subject.own or np.array_equal(
        rows, subject.rows[:, 0, -subject.own :], equal_nan=True
    )
    require(same, "a row depends on those beside it")


def the_candles_are_not_changed(subject: Computed) -> None:
    seen = np.lib.stride_tricks.sliding_window_view(subject.candles[:, 0], subject.kind.candles, 0)
    given = np.ascontiguousarray(np.moveaxis(seen, -1, 1))
    before = given.copy()
    subject.kind.compute(given)
    require(np.array_equal(given, before), "the candles were changed")


def nothing_is_made_of_nothing(subject: Computed) -> None:
    made = subject.kind.compute(np.full((3, subject.kind.candles, 5), np.nan))
    require(made.shape == (3, subject.own), f"{made.shape} of 3 rows, not {(3, subject.own)}")
    require(np.isnan(made).all(), "a value of candles of which nothing is known")


def noise_is_not_foretold(subject: Computed) -> None:
    """The next step of a random walk has nothing to do with any column."""
    close = subject.candles[..., 3]
    following = np.log(close[1:] / close[:-1]).ravel()
    for place, one in enumerate(subject.kind.adds):
        values = subject.rows[:, :, place - subject.own].ravel()
        known = np.isfinite(values)
        if known.sum() < CANDLES or values[known].std() == 0.0:
            continue
        found = np.corrcoef(values[known], following[known])[0, 1]
        limit = NEAR / np.sqrt(known.sum())
        require(abs(found) <= limit, f"{one.name} foretells a random walk: {found:.2f}")


OF_CANDLES: Final[tuple[Callable[[Computed], None], ...]] = (
    it_is_a_version_with_names_and_formulas,
    it_leaves_out_what_there_is_and_nobody_else_reads,
    its_columns_are_known_from_their_candle_on,
    what_it_takes_over_is_the_same,
    live_equals_history,
    truncation_changes_nothing,
    an_instrument_is_computed_alone_as_among_others,
    the_candles_are_not_changed,
    nothing_is_made_of_nothing,
    noise_is_not_foretold,
)
