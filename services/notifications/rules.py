"""Rules: whether a notice is for a channel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from domain.keys import allows
from domain.market import Instrument
from domain.notifications import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which events go to which channels.

    What a notice does not have does not keep it out: a promotion has no instrument, and comes
    however the rule chooses instruments.

    Args:
        events: names of `EVENTS`.
        channels: names of the settings.
        instruments: patterns, as those of API keys; one has to fit. None: all.
        timeframes: none chooses all.
        minimum_strength: of signals.
    """

    events: tuple[str, ...]
    channels: tuple[str, ...]
    instruments: tuple[str, ...] | None = None
    timeframes: tuple[str, ...] = ()
    minimum_strength: float = 0.0

    def wants(self, notice: Notice) -> bool:
        """Whether `notice` is chosen."""
        return (
            notice.event in self.events
            and (not notice.instruments or any(map(self._chooses, notice.instruments)))
            and (not self.timeframes or notice.timeframe in {None, *self.timeframes})
            and (notice.strength is None or notice.strength >= self.minimum_strength)
        )

    def _chooses(self, instrument: Instrument) -> bool:
        return allows(self.instruments, instrument)


def channels_of(notice: Notice, rules: Iterable[Rule]) -> list[str]:
    """Who is told, each once however many rules say so."""
    named = (name for rule in rules if rule.wants(notice) for name in rule.channels)
    return list(dict.fromkeys(named))
