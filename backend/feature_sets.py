"""The sets of features that models are fitted on, without the rooms that make them."""

from __future__ import annotations

from typing import Final

from services.features.feature_set import OHLCV
from services.sentiment.feature_set import with_sentiment

WITH_SENTIMENT: Final = with_sentiment(OHLCV)
FEATURE_SETS: Final = {one.id: one for one in (OHLCV, WITH_SENTIMENT)}
