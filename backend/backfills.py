"""Jobs of the kind `backfill`: missing candles that the exchange is asked for once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from backend.following import Following
from backend.jobs import JobFailedError, Note, Outcome
from backend.store.database import patiently
from backend.store.gaps import Expected
from backend.store.jobs import Job
from collectors.gaps import Gap, GapState, Range, ceil_ms, count
from collectors.ledger import united, without
from domain.errors import UnknownSymbolError, UsageError
from domain.market import EPOCH, Instrument, SeriesKey, Timeframe, from_ms, rfc3339, to_ms

LOOK_EVERY: Final = timedelta(milliseconds=500)  # of wall time
ASK_EVERY: Final = 120  # looks: a connection that was being made did not hear


@dataclass(slots=True)
class _Search:
    """One series: what was missing, is, and does not exist."""

    key: SeriesKey
    asked: Range  # of open times
    before: int  # candles that were missing
    expected: Expected | None = None
    absent: list[Range] = field(default_factory=list)  # the exchange said so since it was asked

    @property
    def missing(self) -> list[Range]:
        return self.expected.missing if self.expected else []

    @property
    def wanted(self) -> list[Range]:
        """What is missing and may still come."""
        return [part for span in self.missing for part in without(span, self.absent)]

    def hear(self, gap: Gap) -> None:
        if (gap.instrument, gap.timeframe) == self.key and gap.state is GapState.ABSENT:
            self.absent = united([*self.absent, Range(gap.from_ms, gap.to_ms)])

    def counted(self, spans: Sequence[Range]) -> int:
        return sum(count(span, self.key[1]) for span in spans)

    def row(self) -> dict[str, Any]:
        left = self.counted(self.missing)
        return {
            "timeframe": self.key[1].value,
            "missing": self.before,
            "filled": self.before - left,
            "not_there": left,
        }

    def remark(self) -> str | None:
        """What of the request lies before the history."""
        timeframe = self.key[1].value
        if self.expected is None:
            return f"{timeframe}: no candle of it is stored yet"
        if self.asked.from_ms and self.asked.from_ms < self.expected.since_ms:
            since = rfc3339(from_ms(self.expected.since_ms))
            return f"{timeframe}: history begins at {since}; `alphapulse import` brings earlier"
        return None


class Backfills:
    """Has an exchange asked again for what is missing.

    Args:
        following: the exchange.
    """

    def __init__(self, following: Following) -> None:
        self._following = following

    async def do(self, job: Job, note: Note) -> Outcome:
        following, keys = self._following, self._series(job.request)
        before: Mapping[str, int] = job.progress.get("missing", {})
        searches = [_Search(key, _span(job, key[1]), before.get(key[1].value, 0)) for key in keys]

        def hear(gap: Gap) -> None:
            for search in searches:
                search.hear(gap)

        with following.auditor.heard_by(hear):
            await self._until_known(following, searches, note)
        remarks = [remark for search in searches if (remark := search.remark())]
        return Outcome(
            result=[search.row() for search in searches], detail="; ".join(remarks) or None
        )

    async def _until_known(
        self, following: Following, searches: Sequence[_Search], note: Note
    ) -> None:
        """Until each candle is stored, or the exchange has said again that it has none."""
        wall, looks, told = following.feed.pace.wall, 0, dict[str, Any]()
        while True:
            for search in searches:
                read = partial(following.store.ledger.expected, search.key, search.asked)
                search.expected = await patiently(read, wall)
                search.before = max(search.before, search.counted(search.missing))
            if (now := _progress(searches)) != told:
                told = now
                await note(told)
            wanted = {search.key: search.wanted for search in searches if search.wanted}
            if not wanted:
                return
            if looks % ASK_EVERY == 0:
                following.edge.ask_again(wanted)
            await wall.sleep(LOOK_EVERY)
            looks += 1
            if gone := [one for one, _ in wanted if one not in following.listings]:
                raise JobFailedError(f"{gone[0]} left before all was known")

    def _series(self, request: Mapping[str, Any]) -> list[SeriesKey]:
        """The series that a request is about.

        Raises:
            UnknownSymbolError: it is not watched.
            UsageError: it is not watched at that timeframe.
        """
        following = self._following
        instrument = Instrument(following.feed.exchange.id, request["symbol"])
        if instrument not in following.listings:
            known = [one.symbol for one in following.listings]
            raise UnknownSymbolError(instrument.symbol, known)
        timeframes = following.feed.timeframes
        asked = request.get("timeframe")
        if asked is not None and Timeframe(asked) not in timeframes:
            there = ", ".join(one.value for one in timeframes)
            raise UsageError(f"{instrument} is watched at {there}, not at {asked}")
        return [(instrument, one) for one in timeframes if asked in (None, one.value)]


def _span(job: Job, timeframe: Timeframe) -> Range:
    """The open times that a job is about; those to come are not its business."""
    start, end = (job.request.get(name) for name in ("start", "end"))
    since = datetime.fromisoformat(start) if start else EPOCH
    until = min(datetime.fromisoformat(end) if end else job.created_at, job.created_at)
    return Range(ceil_ms(to_ms(since), timeframe), ceil_ms(to_ms(until), timeframe))


def _progress(searches: Sequence[_Search]) -> dict[str, Any]:
    total = sum(search.before for search in searches)
    return {
        "done": total - sum(search.counted(search.wanted) for search in searches),
        "total": total,
        "missing": {search.key[1].value: search.before for search in searches},
    }
