"""VADER with the crypto overlay: a lexicon and rules for negation, degree and emphasis."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Final

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from services.sentiment.overlay import OVERLAY
from services.sentiment.scorers import UNKNOWN, Score

NAME: Final = "lexicon@1"


class Lexicon:
    """Hutto & Gilbert, VADER (ICWSM 2014), through the library vaderSentiment."""

    name = NAME

    def __init__(self) -> None:
        self._analyzer = SentimentIntensityAnalyzer()
        self._analyzer.lexicon.update(OVERLAY)

    def score(self, text: str) -> Score:
        """VADER's compound; confidence is the share of the text that bears sentiment."""
        found = self._analyzer.polarity_scores(text)
        bearing = min(1.0, found["pos"] + found["neg"])
        return Score(found["compound"], bearing) if bearing else UNKNOWN

    @cached_property
    def sha256(self) -> str:
        """Of all words and their valences: another lexicon is another version."""
        content = json.dumps(self._analyzer.lexicon, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()
