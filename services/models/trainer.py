"""When to train, in candle time: first, on schedule, on request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.market import Timeframe
from services.models.walk_forward import SplitKind

MINIMUM_ROWS = 1_000
SHORT_DELAY = timedelta(minutes=15)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """A fit to start at `as_of`, taking effect at the first close from `effective_from` on."""

    as_of: datetime
    effective_from: datetime
    reason: str  # first, schedule, request, or the kind of drift that asks for it
    split: SplitKind


class Trainer:
    """Asks for the first fit at 1 000 pooled matured rows, then every `every`.

    Takes effect after `delay`: one candle from 1h on, else 15 minutes.

    Args:
        timeframe: of the ticks.
        every: between two scheduled fits.
        at: time of day, UTC, of scheduled fits that are whole days apart; None: as they come.
        minimum_rows: matured, before the first fit.
        delay: until a fit takes effect.
    """

    def __init__(
        self,
        timeframe: Timeframe,
        *,
        every: timedelta,
        at: timedelta | None = None,
        minimum_rows: int = MINIMUM_ROWS,
        delay: timedelta | None = None,
    ) -> None:
        self._every, self._at = every, at
        self._minimum_rows = minimum_rows
        one_candle = timeframe.duration
        usual = one_candle if one_candle >= timedelta(hours=1) else SHORT_DELAY
        self._delay = usual if delay is None else delay
        self._requested = ""
        self.started: datetime | None = None  # as_of of the last training that was asked for

    def request(self, reason: str = "request") -> None:
        """Train at the next tick that has enough rows."""
        self._requested = reason

    @property
    def requested(self) -> bool:
        """Whether a training is asked for that no tick has begun yet."""
        return bool(self._requested)

    def resume(self, started: datetime | None) -> None:
        """Continue after a restart from the stored time of the last training."""
        self.started = started

    def on_tick(self, as_of: datetime, matured_rows: int) -> TrainingRequest | None:
        """A request, when a training is due at `as_of`; each is made once."""
        reason = self._reason(as_of)
        if matured_rows < self._minimum_rows or reason is None:
            return None
        split = SplitKind.LEAN if self.started is None else SplitKind.REFRESH
        self.started, self._requested = as_of, ""
        return TrainingRequest(
            as_of=as_of, effective_from=as_of + self._delay, reason=reason, split=split
        )

    def _reason(self, as_of: datetime) -> str | None:
        if self.started is None:
            return "first"
        if self._requested:
            return self._requested
        return "schedule" if as_of >= self._scheduled(self.started) else None

    def _scheduled(self, started: datetime) -> datetime:
        due = started + self._every
        if self._at is None or self._every % DAY:
            return due
        return due.replace(hour=0, minute=0, second=0, microsecond=0) + self._at
