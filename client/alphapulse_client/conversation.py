"""What one connection says, checked frame by frame; no input or output of its own.

A frame that is missing shows in `seq`, an event that is missing in `offset`, and a stream that is
quiet because its events got lost in the heads of a heartbeat. Each ends the connection; the next
resumes behind the last event that was handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from alphapulse_client.errors import (
    ChainBrokenError,
    HistoryLostError,
    ProblemError,
    ProtocolError,
)
from alphapulse_client.events import (
    FIRST_HASH,
    START,
    Position,
    Snapshot,
    Update,
    follow,
    update_of,
)
from alphapulse_client.exact import Row, frame
from alphapulse_client.problems import problem_of
from alphapulse_client.progress import Head, Progress
from alphapulse_client.times import parsed, with_times
from alphapulse_client.wanted import GRANTED, Request, Wanted, is_pattern

SUB_PROTOCOL: Final = "alphapulse.v1.json"
FIRST_FRAME_S: Final = 15.0  # a server waits 10 s for a caller to say who it is
PATIENCE: Final = 2.5  # heartbeats; so long may nothing be heard
TOO_FAR: Final = "too_far"


class DisconnectedError(Exception):
    """The connection is of no use any more; the next one resumes.

    Attributes:
        retry_s: how long the server asks to wait.
        code: with which it closed.
    """

    def __init__(self, why: str, retry_s: float | None = None, code: int | None = None) -> None:
        super().__init__(why)
        self.retry_s = retry_s
        self.code = code


class BehindError(Exception):
    """Streams lie further behind than a connection replays; pages of the log have their events."""

    def __init__(self, streams: list[str]) -> None:
        super().__init__(", ".join(streams))
        self.streams = streams


class Conversation:
    """The client's side of one connection.

    Args:
        wanted: what is asked for.
        progress: over all connections; where streams begin is entered here.
    """

    def __init__(self, wanted: Wanted, progress: Progress) -> None:
        self.patience_s = FIRST_FRAME_S  # how long the next frame may take
        self._wanted = wanted
        self._latest = wanted.deliver == "latest"
        self._progress = progress
        self._seq = 0
        self._requests: list[Request] = []
        self._asked: Request | None = None
        self._number = 0
        self._catching_up: set[str] = set()  # granted and not live
        self._refused: dict[str, str] = {}  # stream → why a snapshot comes in place of events
        self._quiet: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "welcome": self._welcome,
            "reply": self._reply,
            "live": self._live,
            "joined": self._joined,
            "heartbeat": self._heartbeat,
        }

    def next_request(self) -> str | None:
        """The frame to send now: the next once all that was granted before is live."""
        if self._asked is not None or self._catching_up or not self._requests:
            return None
        self._asked, self._number = self._requests.pop(0), self._number + 1
        wanted = self._wanted
        return self._asked.text(self._number, snapshot=wanted.snapshots, deliver=wanted.deliver)

    def take(self, text: str) -> Update | Snapshot | None:
        """Check a frame; what it tells the user, if anything.

        Raises:
            DisconnectedError: something is missing, or the server cannot answer now.
            BehindError: some streams are to be read by pages first.
            HistoryLostError, ChainBrokenError, ProblemError, ProtocolError: there is no going on.
        """
        try:
            return self._take(frame(text))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"a frame cannot be read: {error!r}") from error

    def _take(self, row: Row) -> Update | Snapshot | None:
        said = row[0]
        if said["seq"] != self._seq:
            raise DisconnectedError(f"frame {self._seq} is missing, {said['seq']} came")
        self._seq += 1
        match said["type"]:
            case "update":
                return self._update(row)
            case "snapshot":
                return self._snapshot(said)
            case "error":
                _refuse(problem_of(said["error"]))
            case kind if kind in self._quiet:  # others are for later versions
                self._quiet[kind](said)
        return None

    def _welcome(self, said: Mapping[str, Any]) -> None:
        if said["api"] != SUB_PROTOCOL:
            raise ProtocolError(f"the server speaks {said['api']!r}, not {SUB_PROTOCOL}")
        self.patience_s = PATIENCE * said["heartbeat_ms"] / 1_000
        frame_bytes = said["limits"]["frame_bytes"]
        self._requests = self._wanted.requests(self._progress.places, frame_bytes)

    def _reply(self, said: Mapping[str, Any]) -> None:
        asked, self._asked = self._asked, None
        if asked is None or said["id"] != self._number:
            raise ProtocolError(f"a reply to what was not asked: {said['id']!r}")
        for each in said["result"]["rejected"]:
            _refuse(problem_of(each["error"], stream=each["stream"]))
        behind = [each["stream"] for each in said["result"]["streams"] if not self._granted(each)]
        if behind:
            raise BehindError(behind)
        for pattern in filter(is_pattern, asked.streams):
            self._progress.enter(pattern, GRANTED)

    def _granted(self, said: Mapping[str, Any]) -> bool:
        """Take in a stream of a reply; False: its events are to be had by pages alone."""
        stream, recovered = said["stream"], said.get("recovered")
        self._progress.heads[stream] = Head(said["epoch"], said["offset"])
        if recovered is None:  # held already: a pattern takes it in as well
            return True
        if recovered:
            self._catching_up.add(stream)
            self._enter(stream, Position(said["epoch"], said["offset"] - said["replay"]))
        elif self._wanted.snapshots:
            self._catching_up.add(stream)
            self._refused[stream] = said["reason"]
        elif said["reason"] != TOO_FAR:
            raise HistoryLostError(stream, said["reason"])
        elif self._wanted.since == "start" and stream not in self._progress.places:
            self._progress.enter(stream, START)
        return bool(recovered) or self._wanted.snapshots

    def _enter(self, stream: str, begin: Position) -> None:
        place = self._progress.places.get(stream)
        if place is None:
            first = FIRST_HASH if begin.offset == 0 else None
            self._progress.enter(stream, Position(begin.epoch, begin.offset, first))
        elif place.offset != begin.offset:
            raise DisconnectedError(f"{stream} goes on behind {begin.offset}, not {place.offset}")

    def _update(self, row: Row) -> Update | None:
        update = update_of(row)
        place = self._progress.places.get(update.stream)
        if place is None or update.stream in self._refused:
            raise DisconnectedError(f"an event of {update.stream}, which was not granted")
        if place.epoch not in (None, update.epoch):
            raise DisconnectedError(f"the log of {update.stream} began anew")
        if update.offset <= place.offset:
            _compare(update, place)
            return None
        if update.offset != place.offset + 1 and self._latest:
            place = Position(update.epoch, update.offset - 1)  # what it names was not told
        elif update.offset != place.offset + 1:
            missing = f"{place.offset + 1} to {update.offset - 1}"
            raise DisconnectedError(f"{update.stream}: offsets {missing} are missing")
        follow(update, place)
        self._progress.heads[update.stream] = Head(update.epoch, update.offset)
        return update

    def _snapshot(self, said: Mapping[str, Any]) -> Snapshot | None:
        reason = self._refused.pop(said["stream"], None)
        if reason is None:
            return None
        return Snapshot(
            stream=said["stream"],
            epoch=said["epoch"],
            offset=said["offset"],
            reason=reason,
            data=tuple(with_times(one) for one in said["data"]),
        )

    def _live(self, said: Mapping[str, Any]) -> None:
        self._stands(said["stream"], said["epoch"], said["offset"])
        self._catching_up.discard(said["stream"])

    def _joined(self, said: Mapping[str, Any]) -> None:
        self._enter(said["stream"], Position(said["epoch"], said["offset"]))

    def _heartbeat(self, said: Mapping[str, Any]) -> None:
        for stream, (epoch, offset) in said["heads"].items():
            self._stands(stream, epoch, offset)
        caught_up = not (self._asked or self._requests or self._catching_up)
        if self._number and caught_up and not self._latest:
            self._progress.complete_through = parsed(said["ts"])

    def _stands(self, stream: str, epoch: str | None, offset: int) -> None:
        """See that all events of a stream up to its head were received."""
        self._progress.heads[stream] = Head(epoch, offset)
        place = self._progress.places.get(stream)
        if self._latest and place is not None and place.offset < offset:
            return  # a later event stands for those that were left out, and is on its way
        if place is None or place.offset != offset or place.epoch not in (None, epoch):
            at = None if place is None else place.offset
            raise DisconnectedError(f"{stream} stands at {offset}, and {at} was received")


def _compare(update: Update, place: Position) -> None:
    """An event that was received before must be the same."""
    if update.offset == place.offset and place.hash not in (None, update.hash):
        reason = "it was another when it was received before"
        raise ChainBrokenError(update.stream, update.offset, reason)


def _refuse(problem: ProblemError | ChainBrokenError) -> None:
    if isinstance(problem, ProblemError) and problem.temporary:
        raise DisconnectedError(str(problem), problem.retry_after_s)
    raise problem
