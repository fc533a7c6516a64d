"""One instrument's candles in one timeframe on their way in: which to release, which to ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain

from collectors.doubts import Doubts
from collectors.gaps import Cause, Gap, GapState, Range, floor_ms, missing_ranges, pages
from collectors.holes import PAGE, Hole, newest_pages
from collectors.versions import rank, same_values
from domain.events import Candle, Source
from domain.market import Instrument, Timeframe
from domain.trades import MadeOf

Event = Candle | Gap

OVERLAP = 2  # candles asked for again before a hole, to see whether they were revised
CONFIRMED_WITHIN = 8  # candles after one of the socket: REST is asked for all at once
REMEMBERED = 16  # newest released candles whose revision is recognised, beside those in doubt
LONGEST_PATIENCE = 64  # candles
ATTEMPTS = 4  # answers of the exchange without a candle before it is called absent


class Series:
    """Turns versions as they come into released candles and notices of gaps; does no I/O.

    A candle is released once it is closed: by the exchange's flag, or where its stream has none
    by the first candle of the next interval or by time; the latter two are then compared with
    REST, and so are those that were put together; the others a few at a time. Candles are
    released in order of open time, except that one whose repair failed or came late follows when
    it comes. A version is released again only when it outranks the released one and its values
    differ. No candle is made up.
    While a repair is under way later candles are held; `release` ends that.

    Args:
        instrument, timeframe: Of its candles.
        streamed: Else each candle is asked for once its time has passed, and is a gap only if
            that does not bring it.
        flagged: The stream says which candles are closed. One that it left open was cut short
            on its way to us, and is missing.
    """

    def __init__(
        self,
        instrument: Instrument,
        timeframe: Timeframe,
        *,
        streamed: bool = True,
        flagged: bool = False,
    ) -> None:
        self.instrument = instrument
        self.timeframe = timeframe
        self.streamed = streamed
        self._flagged = flagged
        self._silent_from: int | None = None  # the first candle that the stream did not tell
        self._listening_ms = 0
        self._doubts = Doubts(timeframe)
        self._patience = 1  # silent candles before the stream counts as stalled
        self._step = timeframe.ms
        self._last: int | None = None  # newest open time released
        self._forming: Candle | None = None
        self._released: dict[int, Candle] = {}
        self._held: dict[int, Candle] | None = None
        self._past: dict[int, Candle] = {}  # of old holes: nothing waits for them
        self._holes: list[Hole] = []
        self._absent: set[int] = set()  # open times that the exchange does not have

    @property
    def held(self) -> bool:
        """Whether candles wait for a repair."""
        return self._held is not None

    @property
    def broken(self) -> bool:
        """Whether candles are missing."""
        return bool(self._holes)

    @property
    def expecting(self) -> bool:
        """Whether a candle has closed that was not asked for yet."""
        return any(hole.expected and not hole.asked for hole in self._holes)

    @property
    def untried(self) -> bool:
        """Whether some holes were answered less often than others."""
        return len({hole.answers for hole in self._holes}) > 1

    @property
    def holes(self) -> list[Range]:
        """What is missing, oldest first, as it was found."""
        return [hole.span for hole in self._holes]

    @property
    def silent(self) -> bool:
        """Whether the stream has not told a candle whose time has passed."""
        return self._silent_from is not None

    def unsure(self, now_ms: int) -> bool:
        """Whether REST is to be asked for a candle that it has not told."""
        return self._doubts.due(now_ms)

    def hold(self) -> None:
        """A stream begins, or speaks again: until `release`, keep what comes."""
        self._forming = None
        self._hold()

    def recall(self, stored: Sequence[Candle]) -> None:
        """Take the newest stored candles as released."""
        for candle in sorted(stored, key=lambda candle: candle.open_ms):
            self._remember(candle)

    def begin(self, now_ms: int, *, stored: Iterable[int], cause: Cause) -> list[Event]:
        """The socket listens: what closed before `now_ms` and is not known is a gap.

        What was released of later closes may have been corrected while nobody listened:
        REST is to confirm it once their grace is over.

        Args:
            now_ms: The exchange's time, less the grace.
            stored: Open times known from before, at start; holes between them count too.
            cause: Of the gaps that are found.
        """
        known = set(stored)
        self._listening_ms = now_ms
        self._doubts.add(ms for ms in self._released if ms + self._step > now_ms)
        next_open = floor_ms(now_ms, self.timeframe)
        if self._last is None:  # with nothing stored, nothing older was asked for
            self._last = max(known, default=next_open - self._step)
        first = min(known, default=self._last)
        known.update(self._released, self._absent, {self._last})
        spans = missing_ranges(known, self.timeframe, since_ms=first, until_ms=next_open)
        return [notice for span in spans for notice in self._miss(span, cause)]

    def lost(self, spans: Iterable[Range], *, denied: bool = False) -> list[Event]:
        """What was released long ago is not in the store: ask for it again.

        Holes that are known already are left to their repair; what is absent too, unless `denied`.
        """
        found: list[Event] = []
        for span in spans if self._last is not None else ():
            self._absent -= set(range(*span, self._step)) if denied else set()
            for open_ms in [ms for ms in self._released if span.from_ms <= ms < span.to_ms]:
                del self._released[open_ms]
            found += self._miss(span, Cause.AUDIT)
        return found

    def spans(self, now_ms: int) -> list[Range]:
        """What is asked of the exchange now: the newest holes, else the newest candles again."""
        back = OVERLAP * self._step
        groups = newest_pages(self._holes, self._step)
        for hole in chain.from_iterable(groups):
            hole.asked = True
        if groups:
            return [Range(group[-1].span.from_ms - back, group[0].span.to_ms) for group in groups]
        end = floor_ms(now_ms, self.timeframe)
        self._doubts.ask(now_ms)
        return [Range(min(end - back, self._doubts.oldest(end)), end)]

    def asking(self) -> list[Event]:
        """That the exchange is asked for the newest holes now."""
        holes = chain.from_iterable(newest_pages(self._holes, self._step))
        return [self._notice(hole, GapState.ASKED) for hole in holes if not hole.expected]

    def on_message(self, candle: Candle) -> list[Event]:
        """A version came over the socket; what is released because of it."""
        self._silent_from = None
        self._patience = 1
        if candle.closed:
            return self._close(candle)
        events: list[Event] = []
        forming = self._forming
        if forming is not None and candle.open_ms > forming.open_ms:
            events = self._close_unflagged(forming)
            forming = None
        newer = forming is None or (
            candle.open_ms == forming.open_ms and candle.event_ms >= forming.event_ms
        )
        if newer and (self._last is None or candle.open_ms > self._last):
            self._forming = candle
        return events

    def on_time(self, now_ms: int) -> list[Event]:
        """Every candle that closed by `now_ms` should have come; what is released or missed.

        Args:
            now_ms: The exchange's time, less the grace that a candle has.
        """
        due = now_ms - now_ms % self._step - self._step
        if self._last is not None and self._last >= due:
            return []
        events: list[Event] = []
        if self._forming is not None and self._forming.open_ms <= due:
            events = self._close_unflagged(self._forming)
        newest = self._newest()
        if newest is None or newest >= due:
            return events
        span = Range(newest + self._step, due + self._step)
        self._hold()
        if not self.streamed:
            self._miss(span, Cause.SILENCE, expected=True)
            return events
        self._silent_from = self._silent_from or span.from_ms
        return events + self._miss(span, Cause.SILENCE)

    def absorb(self, candles: Iterable[Candle], asked: Range) -> None:
        """The exchange answered `asked`; `release` lets go what it told."""
        expected = {ms for hole in self._holes if hole.expected for ms in hole.absent}
        candles = [
            replace(one, source=Source.LIVE) if one.open_ms in expected else one for one in candles
        ]
        if self._held is None and self._is_past(asked):
            self._past.update({candle.open_ms: candle for candle in candles})
        else:
            self._hold(*candles)
        self._doubts.answer(candles, asked)
        for hole in self._holes:
            if asked.from_ms <= hole.span.from_ms and hole.span.to_ms <= asked.to_ms:
                hole.answers += 1

    def stalled(self, told: Sequence[Candle]) -> bool:
        """Whether trades were made, as REST `told`, of which the stream said nothing.

        Each time that a new connection did not help, the next verdict takes twice as long.
        """
        silent_from = self._silent_from
        if silent_from is None:
            return False
        first = max(silent_from, self._listening_ms)
        unheard = [c for c in told if c.open_ms >= first and c.volume > 0.0]
        newest = max((candle.open_ms for candle in unheard), default=0)
        if newest < silent_from + (self._patience - 1) * self._step:
            return False
        self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        self._silent_from = None
        return True

    def release(self) -> list[Event]:
        """Let go what is held, oldest first, and say what became of the gaps.

        What comes after a gap that nobody has asked about yet stays held.
        """
        held = self._held or {}
        self._held = None
        past, self._past = self._past, {}
        events: list[Event] = []
        for open_ms in sorted(past):
            events += self._emit(past[open_ms])
        for open_ms in sorted(held):
            events += self._jump(open_ms)
            if any(hole.span.from_ms < open_ms for hole in self._holes if not hole.asked):
                self._held = {ms: held[ms] for ms in held if ms >= open_ms}
                break
            events += self._emit(held[open_ms])
        for hole in [one for one in self._holes if one.expected and (one.asked or not one.absent)]:
            events += self._own_up(hole)
        for hole in list(self._holes):
            if not hole.absent or hole.answers >= ATTEMPTS:
                self._holes.remove(hole)
                self._absent |= hole.absent
                self._doubts.give_up(hole.absent)
                events += self._outcome(hole)
        return events

    def _close_unflagged(self, forming: Candle) -> list[Event]:
        """Its interval is over; whether this is its last version REST has to say."""
        if self._flagged:
            self._forming = None
            return []
        events = self._close(replace(forming, closed=True))
        self._doubts.add([forming.open_ms])
        return events

    def _close(self, candle: Candle) -> list[Event]:
        if not candle.confirmed:
            said = candle.made_of is MadeOf.EXCHANGE
            self._doubts.add([candle.open_ms], after=CONFIRMED_WITHIN if said else 0)
        if self._forming is not None and self._forming.open_ms <= candle.open_ms:
            self._forming = None
        if self._held is None:
            events = self._jump(candle.open_ms)
            if not events:
                return self._emit(candle)
        else:
            events = []
        self._hold(candle)
        return events

    def _hold(self, *candles: Candle) -> None:
        held = self._held = {} if self._held is None else self._held
        for candle in candles:
            other = held.get(candle.open_ms)
            if other is None or self._holds(candle, other):
                held[candle.open_ms] = candle

    def _emit(self, candle: Candle) -> list[Event]:
        """The candle, where it is news; first the gap that its release leaves behind."""
        open_ms = candle.open_ms
        before = self._released.get(open_ms)
        if before is not None:
            if not self._holds(candle, before):
                return []
            self._released[open_ms] = candle
            return [] if same_values(candle, before) else [candle]
        events = self._jump(open_ms)
        missed = self._fill(open_ms)
        if self._last is not None and open_ms <= self._last and not missed:
            return []  # released so long ago that it is not remembered
        self._remember(candle)
        return [*events, candle]

    def _holds(self, candle: Candle, before: Candle) -> bool:
        """Whether it takes the place of `before`; against REST's word, REST is to speak again."""
        if before.confirmed and not candle.confirmed and not same_values(candle, before):
            self._doubts.add([candle.open_ms])
        return rank(candle) > rank(before)

    def _remember(self, candle: Candle) -> None:
        self._released[candle.open_ms] = candle
        self._last = candle.open_ms if self._last is None else max(self._last, candle.open_ms)
        for oldest in sorted(self._released)[:-REMEMBERED]:
            if oldest not in self._doubts:
                del self._released[oldest]

    def _fill(self, open_ms: int) -> bool:
        """Whether the candle was missing."""
        if not self._holes and not self._absent:
            return False
        for absent in (self._absent, *(hole.absent for hole in self._holes)):
            if open_ms in absent:
                absent.remove(open_ms)
                return True
        return False

    def _jump(self, open_ms: int) -> list[Event]:
        """The gap that a candle at `open_ms` leaves behind it, where that is news."""
        if self._last is None or open_ms <= self._last + self._step:
            return []
        return self._miss(Range(self._last + self._step, open_ms), Cause.JUMP)

    def _own_up(self, hole: Hole) -> list[Event]:
        """What was expected and asked for, and did not come, is a gap."""
        self._holes.remove(hole)
        came = set(range(*hole.span, self._step)) - hole.absent
        events: list[Event] = []
        for part in missing_ranges(
            came, self.timeframe, since_ms=hole.span.from_ms, until_ms=hole.span.to_ms
        ):
            events += self._miss(part, hole.cause)
        return events

    def _miss(self, span: Range, cause: Cause, *, expected: bool = False) -> list[Event]:
        """Note a hole, less what is known to be missing already."""
        noted = self._absent.union(*(hole.absent for hole in self._holes))
        found: list[Event] = []
        for part in missing_ranges(
            noted, self.timeframe, since_ms=span.from_ms, until_ms=span.to_ms
        ):
            for page in pages(part, self.timeframe, size=PAGE):
                absent = set(range(page.from_ms, page.to_ms, self._step))
                hole = Hole(page, cause, absent, expected, asked=self._is_past(page))
                self._holes.append(hole)
                found.append(self._notice(hole, GapState.FOUND))
        return found

    def _is_past(self, span: Range) -> bool:
        """Whether later candles were released: nothing is to wait for these."""
        return self._last is not None and span.to_ms <= self._last

    def _newest(self) -> int | None:
        """The newest open time that is released, held or already known to be missing."""
        known = [] if self._last is None else [self._last]
        known += list(self._held or ())
        known += [hole.span.to_ms - self._step for hole in self._holes]
        known += self._absent
        return max(known, default=None)

    def _outcome(self, hole: Hole) -> list[Event]:
        """Which of its candles came, and which the exchange does not have."""
        came = set(range(hole.span.from_ms, hole.span.to_ms, self._step)) - hole.absent
        return [
            self._notice(replace(hole, span=part), state)
            for state, others in ((GapState.FILLED, hole.absent), (GapState.ABSENT, came))
            for part in missing_ranges(
                others, self.timeframe, since_ms=hole.span.from_ms, until_ms=hole.span.to_ms
            )
        ]

    def _notice(self, hole: Hole, state: GapState) -> Gap:
        return Gap(
            instrument=self.instrument,
            timeframe=self.timeframe,
            from_ms=hole.span.from_ms,
            to_ms=hole.span.to_ms,
            cause=hole.cause,
            state=state,
        )
