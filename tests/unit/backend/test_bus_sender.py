"""Whatever a broker takes of a batch, each key's records get there in order, none is missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import pytest
from aiokafka.errors import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from backend.bus import sender
from backend.bus.records import Record
from backend.bus.sender import Sender
from backend.bus.troubles import STUCK
from backend.clock import VirtualClock
from backend.setting_tables import KafkaSettings
from collectors.pacing import Pace
from tests.doubles import START
from tests.ports import free_port

RANDOM = np.random.default_rng(7)


@dataclass
class Flaky:
    """Takes only some records of a batch, and then fails: so does a broker that is lost."""

    taken: Iterator[int]  # how many of each batch that fails
    log: list[Record] = field(default_factory=list)

    async def send(self, records: Iterable[Record], **_: object) -> None:
        batch = list(records)
        await asyncio.sleep(0)
        kept = next(self.taken, len(batch))
        self.log += batch[:kept]
        if kept < len(batch):
            raise KafkaError("lost")


@given(
    keys=st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=30),
    taken=st.lists(st.integers(0, 2), max_size=10),
)
def test_each_key_is_in_order_and_nothing_is_missing(keys: list[bytes], taken: list[int]) -> None:
    records = [Record("t", key, b"%d" % number, []) for number, key in enumerate(keys)]
    log = asyncio.run(sent(records, Flaky(iter(taken))))

    for key in set(keys):
        values = [one.value for one in log if one.key == key]
        assert [*dict.fromkeys(values)] == [one.value for one in records if one.key == key]
        assert values == sorted(values, key=int)  # a repetition comes before what is behind it


async def test_who_no_longer_waits_keeps_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    gone, here = (Record("t", b"a", value, []) for value in (b"1", b"2"))
    log = await sent([gone, here], Flaky(iter([])), cancelled=1)

    assert log == [gone, here]
    assert caplog.text == ""


async def test_a_broker_that_was_never_there_is_told_before_a_tick_waits() -> None:
    clock, held = VirtualClock(START), asyncio.Event()

    class Held(VirtualClock):
        async def sleep(self, duration: timedelta) -> None:
            held.set()
            await asyncio.Event().wait()

    pace = Pace(clock=clock, wall=Held(START), random=RANDOM)
    ours = Sender(about=KafkaSettings(brokers=(f"127.0.0.1:{free_port()}",)), pace=pace)
    running = asyncio.create_task(ours.run())
    await held.wait()
    (trouble,) = ours.troubles()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert (trouble.about, trouble.since, trouble.grave) == ("broker", START, True)
    assert trouble.reason.startswith("it takes no ticks (KafkaConnectionError: ")


async def test_a_broker_that_does_not_answer_is_told_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = asyncio.Event()

    async def prepare(*_: object) -> str:
        asked.set()
        return await asyncio.Future()

    monkeypatch.setattr(sender, "prepare", prepare)
    clock = VirtualClock(START)
    ours = Sender(about=KafkaSettings(), pace=Pace(clock=clock, wall=clock, random=RANDOM))
    running = asyncio.create_task(ours.run())
    await asked.wait()
    before = ours.troubles()
    clock.set(START + STUCK)
    (trouble,) = ours.troubles()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert before == []
    assert (trouble.since, trouble.reason) == (START, "it takes no ticks (no answer)")


async def sent(records: list[Record], flaky: Flaky, *, cancelled: int = 0) -> list[Record]:
    """What such a broker has once all that were asked at once are taken; the first ones leave."""

    @asynccontextmanager
    async def producing(*_: object, **__: object) -> AsyncIterator[Flaky]:
        yield flaky

    async def prepare(*_: object) -> str:
        return "cluster"

    clock = VirtualClock(START)
    pace = Pace(clock=clock, wall=clock, random=RANDOM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender, "producing", producing)
        patch.setattr(sender, "prepare", prepare)
        ours = Sender(about=KafkaSettings(), pace=pace)
        asking = [asyncio.create_task(ours.send(one)) for one in records]
        await asyncio.sleep(0)
        for one in asking[:cancelled]:
            one.cancel()
        running = asyncio.create_task(ours.run())
        await asyncio.gather(*asking[cancelled:])
        running.cancel()
        await asyncio.gather(running, *asking, return_exceptions=True)
    return flaky.log
