"""Whatever a broker takes of a batch, each key's records get there in order, none is missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from aiokafka.errors import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from backend.bus import sender
from backend.bus.envelope import PARTITIONS
from backend.bus.records import Record
from backend.bus.sender import Sender
from backend.clock import VirtualClock
from backend.setting_tables import KafkaSettings
from collectors.pacing import Pace
from tests.doubles import START


@dataclass
class Flaky:
    """Takes only some records of a batch, and then fails: so does a broker that is lost."""

    taken: Iterator[int]  # how many of each batch that fails
    log: list[Record] = field(default_factory=list)

    async def partitions(self, topic: str) -> int:
        return PARTITIONS

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


async def sent(records: list[Record], flaky: Flaky, *, cancelled: int = 0) -> list[Record]:
    """What such a broker has once all that were asked at once are taken; the first ones leave."""

    @asynccontextmanager
    async def producing(*_: object, **__: object) -> AsyncIterator[Flaky]:
        yield flaky

    async def prepare(*_: object) -> str:
        return "cluster"

    clock = VirtualClock(START)
    pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(7))
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
