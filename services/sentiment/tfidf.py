"""Logistic regression of tf-idf weighted words and word pairs, as plain numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from scipy.sparse import csr_array

from services.sentiment.assets import AMBIGUOUS_NAMES, NAMES, PLAIN_TICKERS
from services.sentiment.scorers import UNKNOWN, Score
from services.sentiment.words import words

NAME: Final = "tfidf@1"
LEAST_TEXTS: Final = 2  # a term of one text only tells who wrote it

_ASSETS = (
    {name for names in NAMES.values() for name in names}
    | {ticker.lower() for ticker in PLAIN_TICKERS}
    | set(AMBIGUOUS_NAMES)
)


def terms_of(text: str) -> Counter[str]:
    """Words and pairs of neighbouring words of a normalised text, each with its count.

    Names of assets are left out: the past of a coin must not judge what is said of it today.

    >>> sorted(terms_of("Sell BTC now"))
    ['now', 'sell', 'sell now']
    """
    found = [word for word in words(text) if word not in _ASSETS]
    pairs = (f"{one} {other}" for one, other in pairwise(found))
    return Counter([*found, *pairs])


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The known terms and how rare each is: idf = 1 + ln((1 + n) / (1 + texts that hold it))."""

    idf: Mapping[str, float]
    rare: float  # idf of all other terms: that of a term in one text

    @classmethod
    def of(cls, texts: Iterable[str]) -> Vocabulary:
        """Terms that are in `LEAST_TEXTS` texts or more."""
        held = [terms_of(text).keys() for text in texts]
        frequency = Counter(term for terms in held for term in terms)

        def idf(count: int) -> float:
            return 1 + math.log((1 + len(held)) / (1 + count))

        known = {term: idf(n) for term, n in sorted(frequency.items()) if n >= LEAST_TEXTS}
        return cls(known, idf(1))

    def row(self, text: str) -> dict[str, float]:
        """Known term → (1 + ln count) × idf, in proportion to the length over all terms.

        What is not known makes a row shorter, so that it does not leave the verdict to the rest.
        """
        terms = terms_of(text)
        raw = {
            term: (1 + math.log(count)) * self.idf.get(term, self.rare)
            for term, count in terms.items()
        }
        length = math.sqrt(math.fsum(value * value for value in raw.values()))
        return {term: value / length for term, value in raw.items() if term in self.idf}

    def matrix(self, texts: Sequence[str]) -> csr_array:
        """One row per text, one column per known term in the order of `idf`."""
        column = {term: number for number, term in enumerate(self.idf)}
        rows = [self.row(text) for text in texts]
        values = [value for row in rows for value in row.values()]
        columns = [column[term] for row in rows for term in row]
        starts = np.cumsum([0, *(len(row) for row in rows)])
        return csr_array((values, columns, starts), shape=(len(texts), len(self.idf)))


@dataclass(frozen=True, slots=True)
class Tfidf:
    """Log odds = intercept + Σ weight × row."""

    vocabulary: Vocabulary
    weights: Mapping[str, float]
    intercept: float

    @property
    def name(self) -> str:
        return NAME

    def margin(self, text: str) -> float:
        """Log odds that the text is positive; NaN where no term of it is known."""
        row = self.vocabulary.row(text)
        if not row:
            return math.nan
        return self.intercept + math.fsum(value * self.weights[term] for term, value in row.items())

    def score(self, text: str) -> Score:
        """Polarity 2p − 1; confidence is the share of the text's words that are known."""
        margin = self.margin(text)
        if math.isnan(margin):
            return UNKNOWN
        single = [term for term in terms_of(text) if " " not in term]
        known = sum(term in self.weights for term in single)
        return Score(math.tanh(margin / 2), known / len(single))
