"""Whatever is missing of a connection is noticed, and by which frame."""

from __future__ import annotations

import json
from typing import Any

import pytest

from alphapulse_client.conversation import BehindError, Conversation, DisconnectedError
from alphapulse_client.errors import (
    ChainBrokenError,
    HistoryLostError,
    ProblemError,
    ProtocolError,
)
from alphapulse_client.events import Position, Snapshot, Update
from alphapulse_client.progress import Head, Progress
from alphapulse_client.wanted import GRANTED, Wanted
from tests.told_frames import BTC, EPOCH, ETH, FIRST_HASH, Chain, Frames


class Heard:
    """A conversation as the feed has it: what is handed out counts as worked on."""

    def __init__(self, wanted: Wanted | None = None, **kept: Position) -> None:
        self.progress = Progress()
        self.progress.begin({f"signals.1h.simulated.{one}/USDT": at for one, at in kept.items()})
        self.asked: list[Any] = []
        self.told: list[Update | Snapshot] = []
        self.conversation = Conversation(wanted or Wanted(streams=(BTC,)), self.progress)

    def hear(self, *frames: str) -> None:
        for frame in frames:
            told = self.conversation.take(frame)
            if told is not None:
                self.told.append(told)
                self.progress.passed(told)
            request = self.conversation.next_request()
            if request is not None:
                self.asked.append(json.loads(request)["params"])


@pytest.fixture
def frames() -> Frames:
    return Frames()


@pytest.fixture
def chain() -> Chain:
    return Chain()


def test_events_are_handed_out_with_their_place(frames: Frames, chain: Chain) -> None:
    heard = Heard()

    heard.hear(*frames.begun(), frames.update(chain, 1), frames.update(chain, 2, replay=True))

    first, second = heard.told
    assert isinstance(first, Update)
    assert isinstance(second, Update)
    assert (first.data, first.payload) == ({"horizon": 4, "n": 1}, '{"horizon" :4,"n":1}')
    assert (first.replay, second.replay) == (False, True)
    assert second.previous_hash == first.hash
    assert heard.progress.places[BTC] == Position(EPOCH, 2, second.hash)
    assert heard.progress.heads[BTC] == Head(EPOCH, 2)


def test_a_frame_that_is_missing_ends_the_connection(frames: Frames, chain: Chain) -> None:
    heard = Heard()
    heard.hear(*frames.begun())
    frames.seq += 1

    with pytest.raises(DisconnectedError, match="frame 3 is missing, 4 came"):
        heard.hear(frames.heartbeat())


def test_an_event_that_is_missing_ends_the_connection(frames: Frames, chain: Chain) -> None:
    heard = Heard()
    heard.hear(*frames.begun(), frames.update(chain, 1))

    with pytest.raises(DisconnectedError, match="offsets 2 to 3 are missing"):
        heard.hear(frames.update(chain, 4))
    assert len(heard.told) == 1


@pytest.mark.parametrize("offset", [0, 2])
def test_a_heartbeat_tells_that_a_quiet_stream_is_not_complete(
    frames: Frames, chain: Chain, offset: int
) -> None:
    heard = Heard()
    heard.hear(*frames.begun(), frames.update(chain, 1), frames.heartbeat(BTC=1))
    complete = heard.progress.complete_through

    with pytest.raises(DisconnectedError, match=f"stands at {offset}, and 1 was received"):
        heard.hear(frames.heartbeat(BTC=offset))
    assert complete is not None
    assert heard.progress.complete_through == complete


def test_nothing_is_complete_before_all_streams_are_live(frames: Frames) -> None:
    heard = Heard(Wanted(streams=(BTC, ETH)))
    heard.hear(frames.welcome(), frames.heartbeat())
    heard.hear(frames.granted(BTC, ETH), frames.live(BTC), frames.heartbeat(BTC=0))
    assert heard.progress.complete_through is None

    heard.hear(frames.live(ETH), frames.heartbeat(BTC=0, ETH=0))

    assert str(heard.progress.complete_through) == "2024-01-01 01:00:00+00:00"


def test_a_mark_beyond_what_was_replayed_ends_the_connection(frames: Frames, chain: Chain) -> None:
    heard = Heard(BTC=Position(EPOCH, 1))
    heard.hear(frames.welcome(), frames.granted(BTC, offset=3, replay=2), frames.update(chain, 2))

    with pytest.raises(DisconnectedError, match="stands at 3, and 2 was received"):
        heard.hear(frames.live(BTC, 3))


def test_a_log_that_began_anew_ends_the_connection(frames: Frames) -> None:
    heard = Heard(BTC=Position("e0", 3))
    heard.hear(frames.welcome(), frames.granted(BTC, offset=3, epoch="e0"))

    with pytest.raises(DisconnectedError, match="began anew"):
        heard.hear(frames.update(Chain(), 4))


def test_an_event_of_another_place_or_stream_ends_the_connection(
    frames: Frames, chain: Chain
) -> None:
    heard = Heard(BTC=Position(EPOCH, 3))
    heard.hear(frames.welcome())

    with pytest.raises(DisconnectedError, match="goes on behind 2, not 3"):
        heard.hear(frames.granted(BTC, offset=2))
    with pytest.raises(DisconnectedError, match="was not granted"):
        heard.hear(frames.update(Chain(ETH), 1))


def test_an_event_that_was_told_is_not_told_again(frames: Frames, chain: Chain) -> None:
    heard = Heard()
    heard.hear(*frames.begun(), *(frames.update(chain, offset) for offset in (1, 2, 1, 2)))

    assert [each.offset for each in heard.told] == [1, 2]
    other = {"data": '{"n":9}', "hash": "f" * 64}
    with pytest.raises(ChainBrokenError, match="offset 2"):
        heard.hear(frames.update(chain, 2, **other))


@pytest.mark.parametrize(
    "changes",
    [
        {"data": '{"horizon":4,"n":2}'},  # the same row, spelt otherwise
        {"ts": "2024-01-01T00:00:01.000Z"},
        {"as_of": "2023-12-31T23:00:00.000Z"},
        {"event": "closed"},
        {"previous_hash": "f" * 64},
    ],
)
def test_an_event_that_is_not_as_it_was_published_is_named(
    frames: Frames, chain: Chain, changes: dict[str, str]
) -> None:
    heard = Heard()
    heard.hear(*frames.begun(), frames.update(chain, 1))

    with pytest.raises(ChainBrokenError) as broken:
        heard.hear(frames.update(chain, 2, **changes))
    assert (broken.value.stream, broken.value.offset) == (BTC, 2)


def test_an_event_behind_another_one_is_named(frames: Frames, chain: Chain) -> None:
    chain.event(2)
    heard = Heard(BTC=Position(EPOCH, 2, "f" * 64))
    heard.hear(frames.welcome(), frames.granted(BTC, offset=3, replay=1))

    with pytest.raises(ChainBrokenError, match="offset 3: it follows on another event"):
        heard.hear(frames.update(chain, 3))


def test_a_stream_begins_where_the_server_says(frames: Frames) -> None:
    heard = Heard(Wanted(streams=("signals.1h.*.*",)))

    heard.hear(frames.welcome(), frames.granted(BTC, offset=9, replay=2))

    assert heard.progress.moved() == {
        BTC: Position(EPOCH, 7),
        "signals.1h.*.*": GRANTED,
    }


def test_streams_are_asked_for_while_nothing_is_replayed(frames: Frames, chain: Chain) -> None:
    wanted = Wanted(streams=(BTC, ETH, "gaps"))
    heard = Heard(wanted, BTC=Position(None, 0, FIRST_HASH), ETH=Position(EPOCH, 4))
    heard.hear(frames.welcome(frame_bytes=700))
    assert [each["streams"] for each in heard.asked] == [[BTC]]

    heard.hear(frames.granted(BTC, offset=1, replay=1), frames.update(chain, 1))
    assert len(heard.asked) == 1

    heard.hear(frames.live(BTC, 1), frames.granted(ETH, offset=4, number=2), frames.live(ETH, 4))
    assert [each["streams"] for each in heard.asked] == [[BTC], [ETH], ["gaps"]]


def test_a_stream_that_joins_begins_where_it_says(frames: Frames) -> None:
    heard = Heard()
    heard.hear(*frames.begun(), frames.of("joined", stream=ETH, epoch=EPOCH, offset=0))

    heard.hear(frames.update(Chain(ETH), 1), frames.heartbeat(BTC=0, ETH=1))

    assert [each.stream for each in heard.told] == [ETH]
    with pytest.raises(DisconnectedError, match="goes on behind 3"):
        heard.hear(frames.of("joined", stream=ETH, epoch=EPOCH, offset=3))


@pytest.mark.parametrize("reason", ["epoch_changed", "offset_expired", "unknown_offset"])
def test_what_is_gone_is_said(frames: Frames, reason: str) -> None:
    heard = Heard(BTC=Position(EPOCH, 3))
    heard.hear(frames.welcome())

    with pytest.raises(HistoryLostError) as lost:
        heard.hear(frames.granted(BTC, recovered=False, reason=reason))
    assert (lost.value.stream, lost.value.reason) == (BTC, reason)


def test_what_is_too_far_is_read_elsewhere(frames: Frames) -> None:
    heard = Heard(Wanted(streams=(BTC,), since="start"))
    heard.hear(frames.welcome())

    with pytest.raises(BehindError) as behind:
        heard.hear(frames.granted(BTC, recovered=False, reason="too_far"))
    assert behind.value.streams == [BTC]
    assert heard.progress.places == {BTC: Position(None, 0, FIRST_HASH)}


def test_a_snapshot_comes_marked_where_it_was_asked_for(frames: Frames, chain: Chain) -> None:
    chain.event(8)
    heard = Heard(Wanted(streams=(BTC,), snapshots=True), BTC=Position("e0", 3))
    heard.hear(frames.welcome(), frames.granted(BTC, recovered=False, reason="epoch_changed"))

    rows = [{"horizon": 4, "as_of": "2024-01-01T00:00:00.000Z"}]
    heard.hear(frames.of("snapshot", stream=BTC, epoch=EPOCH, offset=7, data=rows))
    heard.hear(frames.live(BTC, 7), frames.update(chain, 8))

    snapshot, update = heard.told
    assert isinstance(snapshot, Snapshot)
    assert (snapshot.reason, snapshot.offset) == ("epoch_changed", 7)
    assert str(snapshot.data[0]["as_of"]) == "2024-01-01 00:00:00+00:00"
    assert update.offset == 8


def test_a_stream_that_is_none_is_a_problem_with_the_nearest_names(frames: Frames) -> None:
    heard = Heard()
    heard.hear(frames.welcome())
    error = {"code": "unknown_stream", "detail": "no stream", "temporary": False}

    with pytest.raises(ProblemError, match=f"did you mean {ETH}") as problem:
        heard.hear(frames.rejected(BTC, **error, suggestions=[ETH]))
    assert problem.value.code == "unknown_stream"
    assert BTC in problem.value.detail


def test_only_a_lasting_error_is_raised(frames: Frames) -> None:
    heard = Heard()
    heard.hear(frames.welcome())
    error = {"code": "starting", "detail": "later", "temporary": True, "retry_after_ms": 1_500}

    with pytest.raises(DisconnectedError, match="starting: later") as later:
        heard.hear(frames.of("error", id=1, error=error))
    assert later.value.retry_s == 1.5
    with pytest.raises(ProblemError, match="forbidden: never"):
        heard.hear(frames.of("error", id=1, error={"code": "forbidden", "detail": "never"}))


def test_what_a_later_server_says_is_passed_over(frames: Frames) -> None:
    heard = Heard()

    heard.hear(*frames.begun(), frames.of("status", news=True), frames.of("shutdown", grace_ms=1))

    assert heard.told == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"seq":0}', '{"seq":0,"type":"welcome"}'])
def test_what_is_no_frame_is_an_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        Heard().hear(text)


def test_another_protocol_is_an_error(frames: Frames) -> None:
    with pytest.raises(ProtocolError, match=r"alphapulse\.v9"):
        Heard().hear(frames.of("welcome", api="alphapulse.v9.json"))


def test_the_newest_stands_for_those_that_were_left_out(frames: Frames, chain: Chain) -> None:
    heard = Heard(Wanted(streams=(BTC,), deliver="latest"))
    heard.hear(*frames.begun(), frames.update(chain, 1), frames.heartbeat(BTC=4))

    heard.hear(frames.update(chain, 5, conflated=3), frames.update(chain, 6), frames.heartbeat())

    assert heard.asked[0]["deliver"] == "latest"
    counts = [(each.offset, each.conflated) for each in heard.told if isinstance(each, Update)]
    assert counts == [(1, 0), (5, 3), (6, 0)]
    assert heard.progress.complete_through is None  # that nothing is missing it cannot prove


def test_an_event_behind_those_left_out_is_checked_all_the_same(
    frames: Frames, chain: Chain
) -> None:
    heard = Heard(Wanted(streams=(BTC,), deliver="latest"))
    heard.hear(*frames.begun(), frames.update(chain, 1), frames.update(chain, 5))

    with pytest.raises(ChainBrokenError, match="offset 6"):
        heard.hear(frames.update(chain, 6, previous_hash=FIRST_HASH))
    again = Heard(Wanted(streams=(BTC,), deliver="latest"))
    fresh = Frames()
    with pytest.raises(ChainBrokenError, match="its content does not give its hash"):
        again.hear(*fresh.begun(), fresh.update(chain, 5, data='{"horizon":4,"n":9}'))
