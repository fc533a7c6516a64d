"""What every kind of class label must do: `label_checks(KIND)` in a parametrised test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np

from alphapulse_testing.check import Check, checks, require
from domain.classes import NOTHING, VOID, Close, LabelKind
from domain.events import Floats, Ints, LabelBatch, Target
from domain.market import Instrument, Timeframe
from services.classes.grid import LabelGrid

INSTRUMENTS: Final = tuple(
    Instrument("walk", f"{base}/USDT") for base in ("ADA", "BTC", "DOGE", "ETH", "SOL")
)
H1: Final = Timeframe.H1
HORIZON: Final = 4
FIRST: Final = 473_352  # hours since 1970: a Monday
JUDGED: Final = 60  # closes, the last of the walk
LEAST: Final = 200  # closes of it
LONGEST_MEMORY: Final = 5_000  # closes that are kept of every instrument
ARRAYS: Final = (
    *("log_return", "realized_volatility"),
    *("past_log_return", "past_realized_volatility"),
)


@lru_cache(maxsize=8)
def market(closes: int) -> Floats:
    """Log returns over the horizon and their volatilities, shape (2, closes, instruments)."""
    rng = np.random.default_rng(7)
    level = np.exp(np.cumsum(rng.normal(0, 0.05, closes + HORIZON)).clip(-1, 1))[:, None]
    steps = rng.normal(0, 0.01, (closes + HORIZON, len(INSTRUMENTS))) * level
    windows = np.lib.stride_tricks.sliding_window_view(steps, HORIZON, axis=0)[1:]
    return np.stack((windows.sum(axis=-1), np.sqrt((windows**2).sum(axis=-1))))


@dataclass
class Told:
    """A kind, and what it is told of a market with holes."""

    kind: LabelKind

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def length(self) -> int:
        return max(LEAST, self.kind.memory + JUDGED)

    @cached_property
    def closes(self) -> list[Close]:
        """The last ones, each when its label has just become known."""
        grid = LabelGrid(H1, HORIZON, memory=self.kind.memory, kinds=0)
        values, found = market(self.length), list[Close]()
        for number in range(self.length):
            grid.promise(INSTRUMENTS, _hour(number))
            if number >= HORIZON:
                past = number - HORIZON
                for as_of_ms, _ in grid.put(_labels(past, values[:, past])):
                    if number >= self.length - JUDGED:
                        found.append(grid.close(as_of_ms, self.kind.memory))
        return found

    def tell(self, close: Close) -> Ints:
        return self.kind.tell(close)


def label_checks(kind: LabelKind) -> list[Check]:
    """The suite."""
    return checks(Told(kind), OF_LABELS)


def it_says_what_a_label_may_be(subject: Told) -> None:
    kind = subject.kind
    require(len(set(kind.classes)) > 1, "it has fewer than two classes")
    require(len(set(kind.classes)) == len(kind.classes), "two classes have one name")
    require(kind.name.isidentifier() and kind.name.islower(), f"{kind.name!r} is no name")
    require(kind.name not in {*Target}, f"{kind.name} is a target's name")
    require(kind.version >= 1, "versions count from 1")
    require(0 <= kind.memory <= LONGEST_MEMORY, f"a memory of {kind.memory} closes")


def its_subjects_are_among_the_instruments(subject: Told) -> None:
    found = subject.kind.subjects(INSTRUMENTS)
    require(found, "it has labels of nobody in a market of five with BTC")
    require(set(found) <= set(INSTRUMENTS), "it has labels of others")
    require(len(set(found)) == len(found), "it has one twice")
    require(subject.kind.subjects(()) == (), "it has labels of nobody's close")


def classes_are_within_range(subject: Told) -> None:
    for close in subject.closes:
        told = subject.tell(close)
        require(told.shape == (len(close.instruments),), f"{told.shape} of {len(INSTRUMENTS)}")
        require(told.dtype == np.int64, f"classes are {told.dtype}, not int64")
        require(told.min() >= NOTHING, "a class below 0 that is neither VOID nor NOTHING")
        require(told.max() < len(subject.kind.classes), "a class that it does not have")


def a_market_has_labels(subject: Told) -> None:
    told = [subject.tell(close) for close in subject.closes]
    require((np.array(told) >= 0).any(), "it tells nothing of sixty closes")


def only_its_subjects_have_labels(subject: Told) -> None:
    for close in subject.closes:
        theirs = np.isin(
            [str(one) for one in close.instruments],
            [str(one) for one in subject.kind.subjects(close.instruments)],
        )
        require((subject.tell(close)[~theirs] == NOTHING).all(), "a label of no subject")


def what_it_is_told_is_not_changed(subject: Told) -> None:
    for close in subject.closes[:5]:
        before = {name: getattr(close, name).copy() for name in ARRAYS}
        subject.tell(close)
        same = all(
            np.array_equal(getattr(close, name), array, equal_nan=True)
            for name, array in before.items()
        )
        require(same, "what it was told was changed")


def truncation_changes_nothing(subject: Told) -> None:
    """A close is told the same whether or not later ones were told before."""
    first = [subject.tell(close).tolist() for close in subject.closes]
    again = [subject.tell(close).tolist() for close in reversed(subject.closes)]
    require(first == again[::-1], "a label depends on what was told before it")


def a_shock_of_the_future_changes_nothing_before_it(subject: Told) -> None:
    close, later = subject.closes[0], subject.closes[-1]
    before = subject.tell(close).tolist()
    subject.tell(replace(later, **{name: 1e6 * getattr(later, name) for name in ARRAYS}))
    require(subject.tell(close).tolist() == before, "a label before a shock is another")


def what_is_not_known_is_not_told(subject: Told) -> None:
    close = subject.closes[0]
    nothing: dict[str, Any] = {name: np.full_like(getattr(close, name), np.nan) for name in ARRAYS}
    known = np.zeros(len(close.instruments), dtype=np.bool_)
    told = subject.tell(replace(close, **nothing, known=known))
    require((told == NOTHING).all(), "a label of a close of which none is known")


def a_void_label_has_no_class(subject: Told) -> None:
    """Where a candle is missing within the horizon, no class is made of what is left."""
    for close in subject.closes:
        unknown = np.full(len(close.instruments), np.nan)
        void = replace(close, log_return=unknown, realized_volatility=unknown)
        for one in (close, void):
            told = subject.tell(one)[np.isnan(one.log_return)]
            require(np.isin(told, (VOID, NOTHING)).all(), "a class of labels that are void")


OF_LABELS: Final[tuple[Callable[[Told], None], ...]] = (
    it_says_what_a_label_may_be,
    its_subjects_are_among_the_instruments,
    classes_are_within_range,
    a_market_has_labels,
    only_its_subjects_have_labels,
    what_it_is_told_is_not_changed,
    truncation_changes_nothing,
    a_shock_of_the_future_changes_nothing_before_it,
    what_is_not_known_is_not_told,
    a_void_label_has_no_class,
)


def _hour(number: int) -> int:
    return (FIRST + number) * H1.ms


def _labels(number: int, values: Floats) -> LabelBatch:
    """Of a close, known a horizon later; one in twenty is void."""
    n = len(INSTRUMENTS)
    values = values.copy()
    values[:, np.random.default_rng(number).random(n) < 1 / 20] = np.nan
    known = np.full(n, _hour(number + HORIZON))
    zeros = np.zeros(n)
    return LabelBatch(
        exchange="walk",
        timeframe=H1,
        horizon=HORIZON,
        instruments=INSTRUMENTS,
        as_of_ms=np.full(n, _hour(number)),
        revision=np.ones(n, dtype=np.int64),
        direction_known_ms=known,
        known_ms=known,
        outcome=zeros,
        weight=zeros,
        log_return=values[0],
        realized_volatility=values[1],
        uniqueness=zeros,
    )
