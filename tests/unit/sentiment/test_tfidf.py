"""Term weights by hand and beside scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from services.sentiment.tfidf import Tfidf, Vocabulary, terms_of

TEXTS = [
    "good coin good team",
    "good team, bad coin",
    "bad bad coin",
    "a team that ships, a coin that works",
]


def test_frequencies_are_those_of_scikit_learn() -> None:
    theirs = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, norm=None)
    table = theirs.fit_transform(TEXTS).toarray()
    vocabulary = Vocabulary.of(TEXTS)

    ours = vocabulary.matrix(TEXTS).toarray()

    assert list(vocabulary.idf) == list(theirs.get_feature_names_out())
    assert list(vocabulary.idf.values()) == pytest.approx(list(theirs.idf_))
    proportions = [row / np.linalg.norm(row) for row in ours]
    assert np.array(proportions) == pytest.approx(
        np.array([row / np.linalg.norm(row) for row in table])
    )


def test_unknown_terms_make_a_row_shorter() -> None:
    vocabulary = Vocabulary({"good": 2.0}, rare=3.0)

    assert vocabulary.row("good") == {"good": 1.0}
    # good, qqq and the pair: 2, 3, 3
    assert vocabulary.row("good qqq") == pytest.approx({"good": 2 / math.sqrt(22)})
    assert vocabulary.row("qqq") == {}


def test_a_term_of_one_text_is_not_learnt() -> None:
    assert "ships" not in Vocabulary.of(TEXTS).idf


def test_names_of_assets_are_no_terms() -> None:
    assert set(terms_of("BTC and Luna are up, SOL is not")) == set(
        terms_of("Doge and ETH are up, ada is not")
    )


def test_the_margin_is_the_weighted_row() -> None:
    tfidf = Tfidf(Vocabulary({"good": 2.0, "bad": 1.0}, rare=3.0), {"good": 4.0, "bad": -2.0}, 0.5)

    length = math.sqrt(4 + 1 + 9)  # good, bad and the pair
    assert tfidf.margin("good bad") == pytest.approx(0.5 + (4 * 2 - 2 * 1) / length)
    assert tfidf.score("good bad").confidence == 1
    assert tfidf.score("good qqq").confidence == 0.5
