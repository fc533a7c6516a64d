"""The kinds of class label of this release keep the contract that plug-ins are asked to keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from alphapulse_testing.check import BreachError, Check
from alphapulse_testing.labels import OF_LABELS, Told, label_checks
from domain.classes import Close
from domain.events import Ints
from domain.market import Instrument
from services.classes.catalogue import LABELS
from services.classes.rotation import ROTATION

CHECKS = [check for kind in LABELS.values() for check in label_checks(kind)]
Tell = Callable[[Close], Ints]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_the_contract_is_kept(check: Check) -> None:
    check()


@dataclass
class Faulty:
    """Rotation with a fault in what it tells."""

    told: Tell
    classes: tuple[str, ...] = ROTATION.classes
    memory: int = 10
    name: str = "faulty"
    version: int = 1
    seen: list[float] = field(default_factory=list)

    def subjects(self, instruments: tuple[Instrument, ...]) -> tuple[Instrument, ...]:
        return ROTATION.subjects(instruments)

    def tell(self, close: Close) -> Ints:
        return self.told(close)


def beyond(close: Close) -> Ints:
    return ROTATION.tell(close) + 2


def for_all(close: Close) -> Ints:
    return np.where(close.known, 1, -2)


def of_nothing(close: Close) -> Ints:
    told = ROTATION.tell(close)
    return np.where(np.isin(told, (-1, -2)) & (np.arange(len(told)) == 1), 0, told)


def overwriting(close: Close) -> Ints:
    told = ROTATION.tell(close)
    close.past_log_return[:] = 0.0
    return told


def remembering() -> Tell:
    largest: list[float] = [0.0]

    def tell(close: Close) -> Ints:
        largest[0] = max(largest[0], float(np.nanmax(np.abs(close.log_return), initial=0.0)))
        told = ROTATION.tell(close)
        small = np.nanmax(np.abs(close.log_return), initial=0.0) < largest[0]
        return np.where(told >= 0, int(small), told)

    return tell


FAULTS = {
    "classes are within range": beyond,
    "only its subjects have labels": for_all,
    "what it is told is not changed": overwriting,
    "truncation changes nothing": remembering(),
    "a shock of the future changes nothing before it": remembering(),
    "what is not known is not told": of_nothing,
    "a void label has no class": of_nothing,
    "a market has labels": lambda close: np.full(len(close.instruments), -2),
}


@pytest.mark.parametrize(("words", "told"), FAULTS.items(), ids=[*FAULTS])
def test_a_fault_is_named_by_the_check_that_is_about_it(words: str, told: Tell) -> None:
    (promise,) = [one for one in OF_LABELS if one.__name__.replace("_", " ") == words]

    with pytest.raises(BreachError):
        promise(Told(Faulty(told)))


def test_a_kind_that_says_nothing_of_itself_is_refused() -> None:
    of_itself = OF_LABELS[0]

    for kind in (
        Faulty(ROTATION.tell, classes=("one",)),
        Faulty(ROTATION.tell, classes=("one", "one")),
        Faulty(ROTATION.tell, memory=10**6),
        Faulty(ROTATION.tell, name="direction"),
    ):
        with pytest.raises(BreachError):
            of_itself(Told(kind))
