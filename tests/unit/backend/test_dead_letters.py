"""Records beside the topics of dead letters that somebody else put there."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
from aiokafka import ConsumerRecord

from backend.bus.dead import dead_letter, known
from domain.market import EPOCH


def record(headers: Sequence[tuple[str, bytes]], *, topic: str = "candles") -> ConsumerRecord:
    return ConsumerRecord(
        topic=topic, partition=3, offset=7, timestamp=0, timestamp_type=0, key=b"k", value=b"{",
        checksum=None, serialized_key_size=1, serialized_value_size=1, headers=headers,
    )  # fmt: skip


def test_a_dead_letter_says_what_was_kept_of_it() -> None:
    kept = dead_letter(record([]), group="g", reason="why", prefix="p", at=EPOCH)

    letter = known(record(kept.headers, topic="dead"), 0)

    assert letter is not None
    assert (letter.topic, letter.partition, letter.offset) == ("candles", 3, 7)
    assert (letter.group, letter.reason) == ("g", "why")


@pytest.mark.parametrize("lacks", ["x-error", "x-group", "x-origin-topic", "x-failed-at", ""])
def test_what_is_no_dead_letter_is_named_and_passed_over(
    lacks: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept = dead_letter(record([]), group="g", reason="why", prefix="p", at=EPOCH)
    headers = [(name, one) for name, one in kept.headers if name != lacks]
    if not lacks:
        headers.append(("x-origin-offset", b"none"))

    with caplog.at_level(logging.WARNING):
        assert known(record(headers, topic="dead"), 0) is None

    assert "a record is no dead letter: dead, offset 7" in caplog.text
