"""The port of all scorers: text in, polarity and confidence out."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np


class Score(NamedTuple):
    """What a scorer says of a text."""

    polarity: float  # −1 (bad for holders) … 1 (good); NaN where the scorer knows no word of it
    confidence: float  # 0 … 1: how much of the text the score rests on; 0 where polarity is NaN


UNKNOWN: Final = Score(np.nan, 0.0)


class Scorer(Protocol):
    """Pure: a text has the same score for ever. What would change a score is another version."""

    @property
    def name(self) -> str:
        """`name@version`, stored beside each score."""
        ...

    def score(self, text: str) -> Score:
        """Score a normalised English text."""
        ...
