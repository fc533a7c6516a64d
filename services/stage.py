"""A room's place on the path: what it reads, what it writes, its step; and the chain of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from domain.topics import Topic

Step = Callable[[Any], Iterable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One room: events of `reads` go into `step`, events of `writes` come out."""

    name: str
    reads: tuple[Topic, ...]
    writes: tuple[Topic, ...]
    step: Step

    def accepted(self, events: Iterable[object]) -> list[object]:
        """Those of `events` that this room reads."""
        kinds = tuple(topic.event for topic in self.reads)
        return [event for event in events if isinstance(event, kinds)]


@dataclass(frozen=True, slots=True)
class Chain:
    """Stages in the order of the data path, run to the end within one process.

    A stage sees every event that came before it, in the order in which they arose;
    so a stage later in the tuple may read what any earlier one wrote.
    """

    stages: Sequence[Stage]
    timer: Callable[[], float]  # seconds; for the stage latencies only

    def run(self, *events: object) -> tuple[list[object], dict[str, int]]:
        """Everything the stages made of `events`, and microseconds spent per stage."""
        log: list[object] = list(events)
        microseconds: dict[str, int] = {}
        for stage in self.stages:
            began = self.timer()
            for event in stage.accepted(log):
                log.extend(stage.step(event))
            microseconds[stage.name] = round((self.timer() - began) * 1e6)
        return log[len(events) :], microseconds
