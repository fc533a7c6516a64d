"""The scorer that is used: a fixed logistic blend of the lexicon and of the trained terms."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from domain.errors import ArtifactError
from services.sentiment.lexicon import Lexicon
from services.sentiment.scorers import UNKNOWN, Score
from services.sentiment.tfidf import Tfidf, Vocabulary

NAME: Final = "blend@1"
SHIPPED: Final = "artifacts/blend@1.json"
DIGITS: Final = 6  # significant, of the numbers in an artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Log odds = bias + terms × margin of the terms + lexicon × VADER's compound."""

    bias: float
    terms: float
    lexicon: float


class Blend:
    """Both scorers in one; what one of them does not know counts as 0 in the log odds."""

    name = NAME

    def __init__(self, lexicon: Lexicon, tfidf: Tfidf, weights: Weights) -> None:
        self._lexicon = lexicon
        self.tfidf = tfidf
        self._weights = weights

    def score(self, text: str) -> Score:
        """Polarity 2p − 1; confidence from ½, for known terms, to 1, the more bears sentiment.

        Of cross-validated comments the lexicon's share tells how often the sign is right, the
        share of known terms does not; `alphapulse sentiment evaluate` prints it.
        """
        said = self._lexicon.score(text)
        margin = self.tfidf.margin(text)
        if math.isnan(said.polarity) and math.isnan(margin):
            return UNKNOWN
        odds = self._weights.bias
        odds += 0.0 if math.isnan(margin) else self._weights.terms * margin
        odds += 0.0 if math.isnan(said.polarity) else self._weights.lexicon * said.polarity
        return Score(math.tanh(odds / 2), (1 + said.confidence) / 2)

    def write(self, about: Mapping[str, Any]) -> bytes:
        """The artifact: JSON for people too, one term a line with its idf and weight."""
        head = {
            "name": NAME,
            **about,
            "lexicon_sha256": self._lexicon.sha256,
            "blend": {
                "bias": _short(self._weights.bias),
                "terms": _short(self._weights.terms),
                "lexicon": _short(self._weights.lexicon),
            },
            "intercept": _short(self.tfidf.intercept),
            "rare_idf": _short(self.tfidf.vocabulary.rare),
        }
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        terms = [
            f"{json.dumps(term)}: [{_short(idf)}, {_short(self.tfidf.weights[term])}]"
            for term, idf in sorted(self.tfidf.vocabulary.idf.items())
        ]
        body = ",\n  ".join(lines) + ',\n  "terms": {\n    ' + ",\n    ".join(terms) + "\n  }"
        return ("{\n  " + body + "\n}\n").encode()


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def read_blend(artifact: bytes, lexicon: Lexicon) -> Blend:
    """The scorer that an artifact describes.

    Raises:
        ArtifactError: it cannot be read, is another scorer's, or was fitted with another lexicon.
    """
    try:
        content = json.loads(artifact)
        weights = Weights(**content["blend"])
        vocabulary = Vocabulary(
            {term: float(idf) for term, (idf, _) in content["terms"].items()},
            float(content["rare_idf"]),
        )
        term_weights = {term: float(weight) for term, (_, weight) in content["terms"].items()}
        tfidf = Tfidf(vocabulary, term_weights, float(content["intercept"]))
        name, sha256 = content["name"], content["lexicon_sha256"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"the text scorer's artifact cannot be read: {error!r}") from error
    if name != NAME:
        raise ArtifactError(f"the artifact holds the text scorer {name!r}, not {NAME}")
    if sha256 != lexicon.sha256:
        raise ArtifactError(f"{NAME} was fitted with another lexicon; install the locked packages")
    return Blend(lexicon, tfidf, weights)


def shipped() -> Blend:
    """The scorer that comes with this release."""
    artifact = resources.files("services.sentiment").joinpath(SHIPPED).read_bytes()
    return read_blend(artifact, Lexicon())
