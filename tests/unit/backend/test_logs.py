"""What is told of a library that tries again and again, and what is never told."""

from __future__ import annotations

import logging

import pytest

from backend.logs import LASTING_S, QUIET_S, Brief, JsonFormatter, LineFormatter, Seldom
from domain.keys import ApiKey

FLOOR = "Failed to restore the pool connection floor; retrying"


def failure(message: str, at: float) -> logging.LogRecord:
    told = (ConnectionRefusedError, ConnectionRefusedError("no\ndatabase"), None)
    record = logging.LogRecord("asyncpg.pool", logging.WARNING, "", 0, message, None, told)
    record.created = at
    return record


def test_a_retry_that_fails_is_one_line_once_in_a_while() -> None:
    brief = Brief()
    record = failure(FLOOR, at=1_000.0)

    assert brief.filter(record)
    assert (
        LineFormatter()
        .format(record)
        .endswith(f"{FLOOR}  reason=ConnectionRefusedError: no database")
    )
    assert not brief.filter(failure(FLOOR, at=999.0 + QUIET_S))
    assert brief.filter(failure("something else", at=1_001.0))
    assert brief.filter(failure(FLOOR, at=1_000.0 + QUIET_S))


def test_what_is_said_without_an_error_is_told_each_time() -> None:
    brief = Brief()
    record = logging.LogRecord("asyncpg.pool", logging.WARNING, "", 0, "slow", None, None)

    assert brief.filter(record)
    assert brief.filter(record)


def test_errors_of_a_library_that_tries_for_ever_are_a_line_once_in_a_while() -> None:
    seldom = Seldom("aiokafka")

    def told(name: str, level: int, text: str, at: float) -> bool:
        record = failure(text, at)
        record.name, record.levelno = name, level
        return bool(seldom.filter(record)) and (name[0] != "a" or record.exc_info is None)

    assert told("aiokafka", logging.ERROR, "no connection", 1_000.0)
    assert not told("aiokafka.conn", logging.ERROR, "no connection", 999.0 + QUIET_S)
    assert told("aiokafka.conn", logging.ERROR, "another", 1_001.0)
    assert told("aiokafka", logging.ERROR, "no connection", 1_000.0 + QUIET_S)
    assert not told("aiokafka", logging.WARNING, "again", 1_000.0)
    assert told("backend.bus.relay", logging.INFO, "ours", 1_000.0)
    assert told("backend.bus.relay", logging.INFO, "ours", 1_000.0)


def test_an_answer_that_a_library_tries_again_after_is_told_when_it_lasts() -> None:
    seldom = Seldom("aiokafka")

    def told(text: str, at: float) -> bool:
        record = logging.LogRecord("aiokafka.cluster", logging.ERROR, "", 0, text, None, None)
        record.created = at
        return bool(seldom.filter(record))

    text = "Topic candles not found in cluster metadata"
    assert not told(text, 1_000.0)
    assert not told("another", 999.0 + LASTING_S)
    assert not told(text, 999.0 + LASTING_S)
    assert told(text, 1_000.0 + LASTING_S)
    assert not told(text, 999.0 + LASTING_S + QUIET_S)
    assert told(text, 999.0 + 2 * LASTING_S + QUIET_S)


@pytest.mark.parametrize("formatter", [LineFormatter(), JsonFormatter()])
def test_no_line_tells_the_secret_of_a_key(formatter: logging.Formatter) -> None:
    key = ApiKey.fresh()
    record = failure(f"asked for /?key={key.spelt()}", at=1_000.0)
    error = ValueError(f"no such thing: {key.spelt()}")
    record.exc_info = (ValueError, error, None)
    record.sent = key.spelt()

    line = formatter.format(record)

    assert line.count(f"ap_{key.id}_***") == 3
    assert key.secret not in line
