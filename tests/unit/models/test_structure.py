"""River's objects as text: the same web again, and nothing but classes of River's built from it."""

from __future__ import annotations

import base64
import json
import random
import zlib
from collections import Counter, defaultdict
from typing import Any

import pytest
from river import drift, stats

from domain.errors import ArtifactError
from services.models.structure import pack_objects, unpack_objects


def text_of(written: Any) -> str:
    return base64.b64encode(zlib.compress(json.dumps(written).encode())).decode()


def test_a_web_of_objects_comes_back_with_what_it_shares() -> None:
    mean = stats.Mean()
    detector: Any = drift.ADWIN()  # type: ignore[no-untyped-call]
    for number in range(300):
        mean.update(number / 7)
        detector.update(number % 2)
    web: dict[Any, Any] = {
        "first": mean,
        "again": mean,
        "numbers": [1, 0.1 + 0.2, float("inf"), None, True, (2, "x")],
        "seen": {3, 1, 2},
        "counts": Counter("abca"),
        "by default": defaultdict(float, {-1: 0.5}),
        "drawn": random.Random(3),  # noqa: S311
        "detector": detector,
        0: b"\x00\xff",
    }
    web["itself"] = web

    back = unpack_objects(pack_objects(web))

    assert back["itself"] is back
    assert back["first"] is back["again"]
    assert back["first"].get() == mean.get()
    assert back["by default"]["new"] == 0.0
    for name in ("numbers", "seen", "counts", 0):
        assert back[name] == web[name]
    assert back["drawn"].random() == web["drawn"].random()
    for number in range(300):
        detector.update(number % 3)
        back["detector"].update(number % 3)
    assert back["detector"].estimation == detector.estimation
    assert pack_objects(back["detector"]) == pack_objects(detector)


@pytest.mark.parametrize(
    "written",
    [
        ["object", "os:system", ["true"], None, [], []],
        ["object", "builtins:eval", ["1"], None, [], []],
        ["object", "subprocess:Popen", [["tuple", ["true"]]], None, [], []],
        ["class", "river.utils.random:poisson"],
        ["class", "river.utils.random:math.exp"],
        ["class", "river.utils.random:random.Random"],
        ["object", "river.utils.random:random.seed", [], None, [], []],
        ["same", 4],
        ["unheard of"],
        ["object", "river.stats.mean:Meen", [], None, [], []],
    ],
)
def test_what_is_no_class_of_rivers_is_not_built(written: Any) -> None:
    with pytest.raises(ArtifactError):
        unpack_objects(text_of(written))


@pytest.mark.parametrize("text", ["", "no base64", base64.b64encode(b"x").decode()])
def test_a_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        unpack_objects(text)


def test_what_could_not_be_read_back_is_not_written() -> None:
    with pytest.raises(ArtifactError, match="may be built"):
        pack_objects([json.JSONDecoder()])
