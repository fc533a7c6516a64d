"""What the room says of recorded headlines: the figures of docs/benchmarks.md."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from services.sentiment.blend import shipped
from services.sentiment.clusters import ALIKE, Clusters, similarity, sketch
from services.sentiment.language import FOREIGN, language
from services.sentiment.linking import AssetLinker
from services.sentiment.words import normalise

Change = Callable[[str, np.random.Generator], str]


@pytest.fixture(scope="module")
def headlines(shared_data: Path) -> list[tuple[int, str]]:
    """(time in ms, title), eldest first."""
    path = shared_data / "sentiment" / "news_2021_2022.parquet"
    if not path.exists():
        pytest.skip(f"no {path.name}")
    table = pq.read_table(path, columns=["timestamp", "title"]).to_pydict()
    rows = zip(table["timestamp"], table["title"], strict=True)
    return sorted((time, normalise(title)) for time, title in rows if title)


def without_a_word(text: str, rng: np.random.Generator) -> str:
    words = text.split()
    del words[rng.integers(len(words))]
    return " ".join(words)


def with_words_replaced(count: int) -> Change:
    def change(text: str, rng: np.random.Generator) -> str:
        words = text.split()
        for position in rng.choice(len(words), min(count, len(words)), replace=False):
            words[position] = "another"
        return " ".join(words)

    return change


def simhash(text: str) -> int:
    """Charikar's, of words and pairs; 64 bits."""
    words = re.findall(r"\w+", text.lower())
    pairs = [f"{one} {other}" for one, other in pairwise(words)]
    digests = [hashlib.blake2b(one.encode(), digest_size=8).digest() for one in [*words, *pairs]]
    bits = np.unpackbits(np.array([list(digest) for digest in digests], dtype=np.uint8), axis=1)
    return int.from_bytes(np.packbits(bits.mean(axis=0) > 0.5).tobytes(), "big")


@pytest.mark.parametrize(
    ("change", "recognised", "by_simhash"),
    [
        (lambda text, _: f"{text} - CoinDesk", 1.0, 0.21),
        (lambda text, _: f"BREAKING: {text}", 1.0, 0.232),
        (without_a_word, 0.997, 0.057),
        (with_words_replaced(1), 0.988, 0.01),
        (with_words_replaced(2), 0.567, 0.0),
    ],
    ids=["source", "breaking", "one_less", "one_replaced", "two_replaced"],
)
def test_a_changed_headline_is_recognised_more_often_than_by_a_simhash(
    headlines: list[tuple[int, str]], change: Change, recognised: float, by_simhash: float
) -> None:
    rng = np.random.default_rng(0)
    chosen = [headlines[row][1] for row in rng.choice(len(headlines), 600, replace=False)]
    pairs = [(text, change(text, rng)) for text in chosen]

    ours = np.mean([similarity(sketch(one), sketch(other)) >= ALIKE for one, other in pairs])
    theirs = np.mean([(simhash(one) ^ simhash(other)).bit_count() <= 3 for one, other in pairs])

    assert (ours, theirs) == pytest.approx((recognised, by_simhash), abs=0.005)


def test_few_headlines_join_another(headlines: list[tuple[int, str]]) -> None:
    clusters = Clusters()
    joined = [
        text
        for row, (time, text) in enumerate(headlines)
        if clusters.on_text(str(row), text, time) != str(row)
    ]

    assert len(headlines) == 5995
    assert len(joined) == 28
    assert sum(text.startswith("Price analysis") for text in joined) == 17


def test_headlines_are_english_name_assets_and_lean_to_neither_side(
    headlines: list[tuple[int, str]],
) -> None:
    scorer, linker = shipped(), AssetLinker()
    texts = [text for _, text in headlines]
    polarity = np.array([scorer.score(text).polarity for text in texts])

    assert sum(language(text) == FOREIGN for text in texts) == 0
    assert np.mean([bool(linker.links(text)) for text in texts]) == pytest.approx(0.45, abs=0.01)
    assert np.isnan(polarity).mean() == pytest.approx(0.003, abs=0.001)
    assert np.nanmedian(polarity) == pytest.approx(0.01, abs=0.01)
