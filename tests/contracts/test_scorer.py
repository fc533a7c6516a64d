"""Scorer: what each scorer of texts promises."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sentiment.blend import shipped
from services.sentiment.lexicon import Lexicon
from services.sentiment.scorers import Scorer
from services.sentiment.words import normalise

BLEND = shipped()
SCORERS: dict[str, Callable[[], Scorer]] = {
    "lexicon": Lexicon,
    "tfidf": lambda: BLEND.tfidf,
    "blend": lambda: BLEND,
}

every_scorer = pytest.mark.parametrize("scorer", [make() for make in SCORERS.values()], ids=SCORERS)


@every_scorer
def test_a_name_carries_its_version(scorer: Scorer) -> None:
    assert re.fullmatch(r"[a-z]+@\d+", scorer.name)


@every_scorer
@given(text=st.one_of(st.text(max_size=80), st.from_regex(r"(bitcoin|scam|love|not|!| ){1,9}")))
def test_any_text_has_a_score_within_bounds_or_none(scorer: Scorer, text: str) -> None:
    polarity, confidence = scorer.score(normalise(text))

    assert math.isnan(polarity) == (confidence == 0)
    assert math.isnan(polarity) or -1 <= polarity <= 1
    assert 0 <= confidence <= 1


@every_scorer
def test_a_text_has_the_same_score_for_ever(scorer: Scorer) -> None:
    first = [scorer.score(text) for text in ("I love this coin", "what a scam")]
    scorer.score("not a scam, BUT crashing!!! " * 50)

    assert [scorer.score(text) for text in ("I love this coin", "what a scam")] == first


@every_scorer
@pytest.mark.parametrize("text", ["", "?", "12345", "qqqzzzx", "比特币"])
def test_what_a_scorer_does_not_know_has_no_score(scorer: Scorer, text: str) -> None:
    polarity, confidence = scorer.score(text)

    assert math.isnan(polarity)
    assert confidence == 0


@every_scorer
def test_praise_scores_above_blame(scorer: Scorer) -> None:
    praise = scorer.score("I love this project, great team, still buying more")
    blame = scorer.score("This is a scam, a worthless ponzi scheme")

    assert praise.polarity > 0.3
    assert blame.polarity < -0.3
