"""A feed over connections that a test makes up: pauses, patience, and when a position moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse_client import Backoff, MemoryPositions, Position, ProblemError, StoppedError
from alphapulse_client.address import Address
from alphapulse_client.connection import Socket
from alphapulse_client.conversation import FIRST_FRAME_S, DisconnectedError
from alphapulse_client.events import Snapshot, Update
from alphapulse_client.feed import Feed, Follower
from alphapulse_client.rest import Rest
from alphapulse_client.wanted import Wanted
from tests.told_frames import BTC, EPOCH, Chain, Frames

SILENCE = DisconnectedError("nothing was heard")


@dataclass
class Script:
    """Connections, each with the frames that come by it and the error that ends it."""

    connections: list[tuple[list[str], Exception]]
    sent: list[str] = field(default_factory=list)
    patience_s: list[float] = field(default_factory=list)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Socket]:
        frames, end = self.connections.pop(0)
        yield _Scripted(self, list(frames), end)


@dataclass
class _Scripted:
    script: Script
    frames: list[str]
    end: Exception

    async def send(self, text: str) -> None:
        self.script.sent.append(text)

    async def receive(self, within_s: float) -> str:
        self.script.patience_s.append(within_s)
        if not self.frames:
            raise self.end
        return self.frames.pop(0)


@dataclass
class Pauses:
    """Sleeps that take no time, drawn to their bound."""

    slept: list[float] = field(default_factory=list)

    def backoff(self) -> Backoff:
        return Backoff(first_s=1.0, cap_s=5.0, draw=lambda: 1.0, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Noted(MemoryPositions):
    """Remembers what was saved, one call after another."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: list[Mapping[str, Position]] = []

    async def save(self, moved: Mapping[str, Position]) -> None:
        self.saved.append(moved)
        await super().save(moved)


END = StoppedError(4400, "the script ends")


def feed_of(
    script: Script, pauses: Pauses | None = None, positions: MemoryPositions | None = None
) -> Feed[Update | Snapshot]:
    backoff = (pauses or Pauses()).backoff()
    rest = Rest(Address("http://127.0.0.1:9"), backoff)
    kept = positions or MemoryPositions()
    follower = Follower(Wanted(streams=(BTC,)), kept, script.opened, rest, backoff)
    return Feed(follower, lambda told: told)


async def offsets(feed: Feed[Update | Snapshot]) -> list[int]:
    """What the feed tells until its script ends."""
    told: list[int] = []
    with pytest.raises(StoppedError, match="the script ends"):
        await _into(told, feed)
    return told


async def _into(told: list[int], feed: Feed[Update | Snapshot]) -> None:
    async for each in feed:
        told.append(each.offset)  # noqa: PERF401 - the feed ends with an error


def resumed(chain: Chain, at: int, *offsets: int) -> list[str]:
    """A connection that goes on behind `at` and tells some events."""
    frames = Frames()
    return [
        *frames.begun(BTC, offset=at),
        *(frames.update(chain, offset) for offset in offsets),
    ]


async def test_a_stream_goes_on_over_connections() -> None:
    chain = Chain()
    script = Script([
        (resumed(chain, 0, 1, 2), SILENCE),
        (resumed(chain, 2, 3), DisconnectedError("cut")),
        (resumed(chain, 3, 4, 6), END),  # 5 is lost on its way
        (resumed(chain, 4, 5, 6), END),
    ])  # fmt: skip

    assert await offsets(feed_of(script)) == [1, 2, 3, 4, 5, 6]
    place = f'{{"epoch": "{EPOCH}", "offset": 4, "hash": "{chain.hash(4)}"}}'
    assert f'"{BTC}": {place}' in script.sent[-1]


async def test_pauses_grow_until_an_event_comes() -> None:
    chain, pauses = Chain(), Pauses()
    nothing = (resumed(chain, 0), SILENCE)
    script = Script([*[nothing] * 5, (resumed(chain, 0, 1), SILENCE), (resumed(chain, 1, 2), END)])

    await offsets(feed_of(script, pauses))

    assert pauses.slept == [1.0, 2.0, 4.0, 5.0, 5.0, 1.0]


async def test_what_the_server_asks_for_comes_before_the_pause() -> None:
    pauses = Pauses()
    script = Script([([], DisconnectedError("draining", 2.5)), ([], END)])

    await offsets(feed_of(script, pauses))

    assert pauses.slept == [3.5]


async def test_two_and_a_half_heartbeats_of_silence_are_too_many() -> None:
    script = Script([(resumed(Chain(), 0), SILENCE), ([], END)])

    await offsets(feed_of(script))

    assert script.patience_s == [FIRST_FRAME_S, 10.0, 10.0, 10.0, FIRST_FRAME_S]


async def test_a_position_moves_once_the_body_has_run() -> None:
    positions, chain = Noted(), Chain()
    script = Script([(resumed(chain, 0, 1, 2), END)])

    async with aclosing(feed_of(script, positions=positions)) as feed:
        await anext(feed)
        before = positions.saved.copy()
        second = await anext(feed)

    assert isinstance(second, Update)
    assert before == [{BTC: Position(EPOCH, 0, "0" * 64)}]
    assert positions.saved[1:] == [{BTC: Position(EPOCH, 1, second.previous_hash)}]
    again = Script([(resumed(chain, 1, 2), END)])
    assert await offsets(feed_of(again, positions=positions)) == [2]


async def test_a_refusal_ends_the_feed() -> None:
    frames = Frames()
    refused = [frames.welcome(), frames.rejected(BTC, code="unknown_stream", detail="none")]
    script = Script([(refused, SILENCE)])

    with pytest.raises(ProblemError, match="unknown_stream"):
        await anext(feed_of(script))


async def test_a_feed_says_how_far_it_is_complete() -> None:
    frames, chain = Frames(), Chain()
    told = [*frames.begun(), frames.heartbeat(BTC=0), frames.update(chain, 1)]
    script = Script([(told, END)])
    feed = feed_of(script)
    assert feed.complete_through() is None

    await anext(feed)

    assert str(feed.complete_through()) == "2024-01-01 01:00:00+00:00"
    assert feed.heads[BTC].offset == 1


@given(failures=st.integers(0, 10_000), draw=st.floats(0, 1), asked=st.none() | st.floats(0, 60))
def test_a_pause_is_within_its_bounds(failures: int, draw: float, asked: float | None) -> None:
    delay = Backoff(draw=lambda: draw).delay_s(failures, asked)

    assert (asked or 0.0) <= delay <= (asked or 0.0) + 30.0
