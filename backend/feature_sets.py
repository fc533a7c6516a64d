"""The sets of features that models are fitted on, without the rooms that make them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from backend.plugins import SwitchedOn, candles_named
from domain.errors import UsageError
from domain.events import FeatureSet
from services.features.kinds import RELEASE, CandleSet
from services.sentiment.feature_set import with_sentiment

WITH_SENTIMENT: Final = with_sentiment(RELEASE.feature_set)


def candle_sets(candidate: str | None, switched_on: SwitchedOn) -> tuple[CandleSet, ...]:
    """The set of the release, then the candidate that settings name.

    Raises:
        UnknownPluginError, PluginError: there is no such set.
    """
    if candidate is None:
        return (RELEASE,)
    return RELEASE, CandleSet.of(candles_named(candidate, switched_on))


def fitted_on(of: CandleSet) -> tuple[str, str]:
    """The names of what models are fitted on that read a candle set."""
    return of.id, with_sentiment(of.feature_set).id


def of_release(name: str) -> FeatureSet | None:
    """What is fitted on the set of the release, by its name; None: it is of another."""
    found = (one for one in (RELEASE.feature_set, WITH_SENTIMENT) if one.id == name)
    return next(found, None)


def feature_set_named(name: str, sets: Iterable[CandleSet]) -> tuple[CandleSet, FeatureSet]:
    """What a version was fitted on: the candle set, and its columns with those of sources.

    Raises:
        UsageError: it is none of `sets`.
    """
    for one in sets:
        for fitted in (one.feature_set, with_sentiment(one.feature_set)):
            if fitted.id == name:
                return one, fitted
    raise UsageError(f"{name} is a feature set that this system does not make")
