"""Labels that are classes: the port of their kinds, what a kind is told, and what travels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, runtime_checkable

from domain.events import Bools, FeatureBatch, Floats, Ints, Origin, Tick
from domain.market import Instrument, Timeframe

NOTHING: Final = -2  # not told, or not yet
VOID: Final = -1  # cannot be told: a candle is missing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Close:
    """What a kind of label is told of one close: n instruments that had a candle then.

    Of the close itself all that is known by now, of the m closes before it only what was
    known at it: a row is NaN where that is nothing, and where a label is void.
    """

    instruments: tuple[Instrument, ...]  # (n,) sorted
    known: Bools  # (n,) the label of the close is, perhaps as void
    log_return: Floats  # (n,) over the horizon
    realized_volatility: Floats  # (n,)
    past_log_return: Floats  # (m, n) of earlier closes, oldest first
    past_realized_volatility: Floats  # (m, n)


@runtime_checkable
class LabelKind(Protocol):
    """Makes a class for instruments of a close of what label rows say; a pure function of them."""

    @property
    def name(self) -> str:
        """`regime`; last part of its models' names."""
        ...

    @property
    def version(self) -> int:
        """Another rule is another version, with a record of its own."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """What it may be, two at least."""
        ...

    @property
    def memory(self) -> int:
        """How many closes before the one in question it is told of."""
        ...

    def subjects(self, instruments: tuple[Instrument, ...]) -> tuple[Instrument, ...]:
        """Those of the instruments of a close that it has labels of."""
        ...

    def tell(self, close: Close) -> Ints:
        """Positions in `classes`, shape (n,); `VOID`, or `NOTHING` of those not told."""
        ...


def label_id(kind: LabelKind) -> str:
    """As rows name it: `regime@1`."""
    return f"{kind.name}@{kind.version}"


class Classifier(Protocol):
    """A model of one kind of label at one horizon; `probabilities` changes nothing in it."""

    @property
    def name(self) -> str:
        """`lightgbm.regime`."""
        ...

    @property
    def version(self) -> str: ...

    def probabilities(self, features: FeatureBatch) -> Floats:
        """Of each class, shape (n, classes); NaN in a row that it cannot judge."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassLabelBatch:
    """Topic `classes.known`: which class it was, of some instruments and past closes."""

    exchange: str
    timeframe: Timeframe
    horizon: int  # candles
    kind: str  # `regime@1`
    instruments: tuple[Instrument, ...]
    as_of_ms: Ints  # (n,)
    revision: Ints  # (n,) from 1; the next where another class follows from other labels
    known_ms: Ints  # (n,)
    names: tuple[str, ...]  # of the kind's classes
    classes: Ints  # (n,) positions in `names`; VOID

    def __len__(self) -> int:
        return len(self.instruments)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassPredictionBatch(Tick):
    """Topic `classes.predicted`: what one model says of the rows of a close."""

    horizon: int  # candles
    kind: str  # `regime@1`
    model: str  # `lightgbm.regime`, `class_prior.regime`
    version: str
    made_at: datetime
    origin: Origin
    revision: Ints  # (n,) of the features that it read
    served: Bools  # (n,) of each row one model's is
    names: tuple[str, ...]  # of the kind's classes
    probabilities: Floats  # (n, len(names)), all known
    degraded: tuple[str, ...]  # (n,) codes joined by `,`; "" = none
