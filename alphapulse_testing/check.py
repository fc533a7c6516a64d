"""A check by its name, what it raises, and the words that it fails with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from domain.errors import AlphaPulseError


class BreachError(AlphaPulseError):
    """A promise that was not kept."""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise; calling it raises where it is not kept."""

    name: str  # `oak.direction: no rows give no forecasts`
    run: Callable[[], None]

    def __call__(self) -> None:
        self.run()

    def __str__(self) -> str:
        return self.name


def checks(subject: Any, promises: Iterable[Callable[[Any], None]]) -> list[Check]:  # noqa: ANN401 - each suite has its own
    """The promises of a suite, made about one subject, which has a name."""
    return [Check(f"{subject.name}: {_words(one)}", _about(subject, one)) for one in promises]


def require(condition: object, words: str) -> None:
    """Raise BreachError with `words` unless the condition holds."""
    if not condition:
        raise BreachError(words)


def _about(subject: Any, promise: Callable[[Any], None]) -> Callable[[], None]:  # noqa: ANN401
    return lambda: promise(subject)


def _words(promise: Callable[[Any], None]) -> str:
    return promise.__name__.replace("_", " ")
