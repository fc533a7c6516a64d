"""Whatever bytes a source sends: facts that a table can hold, or a refusal, and nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.sources import cryptopanic, fear_greed, gdelt, reddit, rss
from collectors.sources.payloads import LONGEST_KEY, UnreadableError, key
from domain.market import to_ms
from domain.sources import Answer, Dating
from tests.source_subjects import NOON, SUBJECTS

PARSERS: dict[str, Callable[[bytes, int], Answer]] = {
    "fear_greed": fear_greed.parse,
    "coindesk": partial(rss.parse, "coindesk"),
    "blog": partial(rss.parse, "blog"),
    "gdelt": gdelt.parse,
    "cryptopanic": cryptopanic.parse,
    "reddit": reddit.parse,
}
GOOD = {subject.name: subject.good for subject in SUBJECTS if subject.name in PARSERS}
KNOWN_MS = to_ms(NOON)
SPLINTERS = [
    *(
        b"",
        b"null",
        b"[]",
        b"{}",
        b"-1",
        b"1e999",
        b"NaN",
        b"true",
        b"9" * 30,
        b"9" * 400,
        b'"',
        b"\xff",
        b"\0",
    ),
    *(b"\\ud800", b"\\u0000", b"<", b"&", b"]]>", b"]" * 9, b"0001-01-01T00:00:00+14:00"),
]

HOSTILE: tuple[object, ...] = (
    *(10**400, -(10**400), -1, 1e308, 253_370_764_801, True, None, [], {}),
    *("", "9" * 5000, "-9", "\ud800", "\0", "0001-01-01T00:00:00+14:00", "99991231T235959Z"),
)

every_parser = pytest.mark.parametrize("name", PARSERS)


def holds(answer: Answer, source: str) -> bool:
    """Whether the tables can take every fact, and nothing may be used before it was known."""
    texts = [part for one in answer.items for part in (one.title, one.body, one.url, one.item_id)]
    assert all("\0" not in text and text.encode() is not None for text in texts)
    for item in answer.items:
        assert item.source == source
        assert item.title
        assert 0 < len(item.item_id.encode()) <= LONGEST_KEY
        assert item.published_ms <= item.known_ms == KNOWN_MS
        assert item.dating is Dating.TOLD or item.published_ms == KNOWN_MS
        assert math.isnan(item.engagement) or item.engagement >= 0
    for one in answer.measurements:
        assert 0 <= one.event_ms <= one.known_ms == KNOWN_MS
        assert math.isfinite(one.value)
    identities = [item.item_id for item in answer.items]
    assert len(set(identities)) == len(identities)
    return True


def read(name: str, body: bytes) -> bool:
    try:
        answer = PARSERS[name](body, KNOWN_MS)
    except UnreadableError as error:
        return bool(str(error)) and "\n" not in str(error)
    return holds(answer, name)


@every_parser
@given(body=st.binary(max_size=200))
def test_noise_is_refused(name: str, body: bytes) -> None:
    assert read(name, body)


@every_parser
@given(data=st.data())
def test_a_damaged_payload_is_read_or_refused(name: str, data: st.DataObject) -> None:
    body = GOOD[name]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(start + 40, len(body))))
        body = body[:start] + data.draw(st.sampled_from(SPLINTERS)) + body[end:]

    assert read(name, body)


def altered(value: object, hostile: object) -> Iterator[object]:
    """The document with each of its parts in turn replaced."""
    yield hostile
    if isinstance(value, dict):
        for name, part in value.items():
            yield from ({**value, name: other} for other in altered(part, hostile))
    if isinstance(value, list):
        for place, part in enumerate(value):
            others = altered(part, hostile)
            yield from ([*value[:place], other, *value[place + 1 :]] for other in others)


@pytest.mark.parametrize("name", ["fear_greed", "gdelt", "cryptopanic", "reddit"])
@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda value: repr(value)[:20])
def test_any_value_in_any_place_is_read_or_refused(name: str, hostile: object) -> None:
    for document in altered(json.loads(GOOD[name]), hostile):
        assert read(name, json.dumps(document).encode())


@every_parser
@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"data":' * 50_000, b"1" * 100_000])
def test_a_deep_or_long_document_is_refused(name: str, body: bytes) -> None:
    with pytest.raises(UnreadableError):
        PARSERS[name](body, KNOWN_MS)


def test_a_long_identity_is_told_apart_by_its_hash() -> None:
    one, other = (
        key("https://news.example/" + "a" * 3000),
        key("https://news.example/" + "b" * 3000),
    )

    assert one != other
    assert one == key("https://news.example/" + "a" * 3000)
    assert len(one) <= LONGEST_KEY
