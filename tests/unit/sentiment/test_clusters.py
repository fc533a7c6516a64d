"""Near duplicates share a cluster, others do not, and memory has a bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.codec import pack, unpack
from services.sentiment.clusters import REMEMBERED_MS, Clusters, similarity, sketch

HEADLINE = "MetaMask warns Apple users over iCloud phishing attacks"


@pytest.mark.parametrize(
    "text",
    [
        HEADLINE,
        HEADLINE.upper(),
        f"BREAKING: {HEADLINE}",
        f"{HEADLINE} - CoinDesk",
        HEADLINE.replace("over", "of"),
        HEADLINE.replace("Apple ", ""),
    ],
)
def test_the_same_story_in_almost_the_same_words_is_one_cluster(text: str) -> None:
    clusters = Clusters()

    assert clusters.on_text("a", HEADLINE, 0) == "a"
    assert clusters.on_text("b", text, 1) == "a"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Bitcoin rises above $40,000", "Bitcoin falls below $40,000"),
        ("Bitcoin hits 33k on the 33rd", "Bitcoin hits 34k on the 34th"),
        ("Ethereum and Solana gain as traders return", "Ethereum and Solana fall on profit taking"),
        ("", "moon"),
    ],
)
def test_another_story_is_another_cluster(one: str, other: str) -> None:
    clusters = Clusters()
    clusters.on_text("a", one, 0)

    assert clusters.on_text("b", other, 1) == "b"


def test_the_most_similar_story_is_joined() -> None:
    clusters = Clusters()
    clusters.on_text("far", "one two three four five six x y z w", 0)
    clusters.on_text("near", "one two three four five six seven eight", 0)

    assert clusters.on_text("c", "one two three four five six seven", 1) == "near"


def test_an_item_that_comes_again_keeps_its_cluster() -> None:
    clusters = Clusters()
    clusters.on_text("a", HEADLINE, 0)
    clusters.on_text("b", HEADLINE, 1)

    assert clusters.on_text("b", "something else entirely, edited since", 2) == "a"


def test_a_story_is_forgotten_after_two_days() -> None:
    clusters = Clusters()
    clusters.on_text("a", HEADLINE, 0)

    assert clusters.on_text("b", HEADLINE, REMEMBERED_MS) == "a"
    assert clusters.on_text("c", HEADLINE, 2 * REMEMBERED_MS + 1) == "c"


def test_memory_holds_no_more_than_its_capacity() -> None:
    clusters = Clusters(capacity=3)
    for number in range(50):
        clusters.on_text(str(number), f"story number {number} of many", number)

    state = clusters.snapshot()

    assert [key for key, _, _ in state["items"]] == ["47", "48", "49"]
    assert set(state["leaders"]) <= {"47", "48", "49"}
    assert len(clusters._holders) <= sum(map(len, state["leaders"].values()))


TEXTS = st.lists(
    st.lists(st.sampled_from(["bitcoin", "ether", "rises", "falls", "again"]), max_size=5).map(
        " ".join
    ),
    max_size=20,
)


@given(TEXTS, st.integers(0, 20))
def test_a_restored_memory_answers_as_the_one_that_was_never_stopped(
    texts: list[str], cut: int
) -> None:
    whole, stopped = Clusters(capacity=6), Clusters(capacity=6)
    answers = [whole.on_text(str(number), text, number) for number, text in enumerate(texts)]

    said = [stopped.on_text(str(n), text, n) for n, text in enumerate(texts[:cut])]
    again = Clusters.restore(unpack(pack(stopped.snapshot())), capacity=6)
    said += [again.on_text(str(n), text, n) for n, text in enumerate(texts[cut:], start=cut)]

    assert said == answers
    assert pack(again.snapshot()) == pack(whole.snapshot())


def test_the_similarity_of_long_texts_is_near_that_of_all_their_pairs() -> None:
    words = [f"word{number}" for number in range(400)]
    one, other = " ".join(words[:300]), " ".join(words[100:])

    assert similarity(sketch(one), sketch(other)) == pytest.approx(199 / 399, abs=0.2)
    assert similarity(sketch(one), sketch(one)) == 1
