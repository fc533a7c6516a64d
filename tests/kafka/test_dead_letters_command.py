"""An operator sees which records could not be taken in, and has them put on their topics again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from domain.topics import CANDLES, panel_of
from tests.factories import BTC, candle_batches
from tests.kafka.buses import bus_on
from tests.kafka.records import ends, read, send_again
from tests.processes import alphapulse

pytestmark = pytest.mark.kafka

(FIRST, SECOND) = candle_batches([BTC], 2)
KEY = panel_of(FIRST)


async def test_dead_letters_are_listed_and_replayed_once(kafka: str, tmp_path: Path) -> None:
    async with bus_on(kafka) as bus:
        prefix, topic = bus.about.prefix, CANDLES.wire_name(bus.about.prefix)
        await bus.publish(CANDLES, FIRST)
        (good,) = await read(kafka, topic, 1)
        await send_again(kafka, good, b"{")
        await bus.publish(CANDLES, SECOND)
        async with bus.subscribe(CANDLES, group=KEY, key=KEY) as events:
            assert [await anext(events) for _ in range(2)]
    over = {"ALPHAPULSE_BUS_URL": f"kafka://{kafka}", "ALPHAPULSE_KAFKA__PREFIX": prefix}

    def said(command: str) -> str:
        done = alphapulse(tmp_path, "dead-letters", command, **over)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    line = rf"\S+Z {topic}:{good.partition}:1 {re.escape(KEY)} %s JSONDecodeError: .*\n"

    def checked() -> str:
        (found,) = re.findall(r"(?m)^.* ticks between rooms: .*$", doctor(tmp_path, **over))
        return str(found)

    assert re.fullmatch(line % "kept", said("list"))
    assert checked() == "WARN ticks between rooms: 1 dead letters: alphapulse dead-letters list"
    assert said("replay") == "1 put on their topics again\n"
    assert await ends(kafka, topic) == 4
    assert said("replay") == "0 put on their topics again\n"
    assert checked() == "ok   ticks between rooms: 0 dead letters"
    assert re.fullmatch(line % "replayed", said("list"))


def test_where_no_broker_is_it_says_so_in_one_line(tmp_path: Path) -> None:
    assert "WARN ticks between rooms: 127.0.0.1:9 does not answer: " in doctor(
        tmp_path, ALPHAPULSE_BUS_URL="kafka://127.0.0.1:9"
    )
    none = alphapulse(tmp_path, "dead-letters", "list")
    away = alphapulse(tmp_path, "dead-letters", "replay", ALPHAPULSE_BUS_URL="kafka://127.0.0.1:9")

    assert (none.returncode, away.returncode) == (2, 2)
    assert none.stderr == (
        "alphapulse: no broker is between rooms: ALPHAPULSE_BUS_URL=kafka://host:9092 names one\n"
    )
    assert away.stderr.startswith("alphapulse: 127.0.0.1:9 does not answer: ")
    assert away.stderr.count("\n") == 1


def doctor(folder: Path, **settings: str) -> str:
    return alphapulse(folder, "doctor", **settings).stdout
