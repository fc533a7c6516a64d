"""What is said of each asset at a close, from the items that were known by then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from domain.events import Bools, Floats, Ints
from services.sentiment.coded import CodedItems, codes

HOUR_MS: Final = 3_600_000
EQUAL: Final = 1e-12  # a variance of polarity below it is rounding: all items say the same


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateSettings:
    """How items are weighed."""

    half_life_hours: float = 6.0
    longest_hours: float = 48.0  # eight half-lives; older items are out
    source_cap: float = 10.0  # a source weighs no more than so many fresh items without votes


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetSentiment:
    """Sentiment by asset at one close; arrays have shape (assets,)."""

    assets: tuple[str, ...]
    as_of_ms: int
    value: Floats  # −1 … 1, shrunk to the market's; NaN where nothing was said
    mean: Floats  # before shrinking
    count: Ints  # stories
    age_s: Floats  # of the newest story; NaN where there is none
    market: float  # of all items, those without an asset too; NaN where nothing was said
    market_count: int
    market_age_s: float


def aggregate(
    items: CodedItems,
    assets: Sequence[str],
    as_of_ms: int,
    settings: AggregateSettings | None = None,
) -> AssetSentiment:
    """Weighted means of polarity by asset, over items with `known_ms` ≤ `as_of_ms`.

    An item weighs 2^(−age / half-life) × (1 + ln(1 + engagement)) × relevance × confidence. A
    story counts once, as its first teller told it; a source is held to `source_cap`. Rows may come
    repeated: a later version of an item replaces the one before.
    """
    settings = settings or AggregateSettings()
    rows = _first_of_story(_newest_versions(_known(items, as_of_ms, settings)))
    weight = _decayed(rows, as_of_ms, settings)
    centre, in_market = _market(rows, weight, settings)
    groups = _Groups.of(rows, assets)
    in_asset = groups.capped(_numbered(rows.source), weight, settings.source_cap)
    mean, evidence = groups.means(rows.polarity, in_asset)
    age_s = _age_ms(rows, as_of_ms) / 1000
    return AssetSentiment(
        assets=tuple(assets),
        as_of_ms=as_of_ms,
        value=shrunk(mean, evidence, centre, _variance(rows.polarity, in_market)),
        mean=mean,
        count=groups.count(),  # of a story each asset has one row
        age_s=groups.least(age_s),
        market=centre,
        market_count=len(np.unique(rows.cluster)),
        market_age_s=float(age_s.min()) if len(rows) else np.nan,
    )


def market_polarity(
    items: CodedItems, as_of_ms: int, settings: AggregateSettings | None = None
) -> float:
    """`market` of `aggregate` alone."""
    settings = settings or AggregateSettings()
    rows = _first_of_story(_newest_versions(_known(items, as_of_ms, settings)))
    return _market(rows, _decayed(rows, as_of_ms, settings), settings)[0]


def shrunk(mean: Floats, evidence: Floats, market: float, variance: float) -> Floats:
    """Means drawn to the market's, the more so the less they rest on.

    The positive part of James and Stein's estimator in its empirical Bayes form for unequal
    variances (Efron & Morris, JASA 68, 1973): market + B (mean − market) with
    B = τ² / (τ² + σ²), σ² = variance / evidence, and τ² ≥ 0 such that the squared distances from
    the market have their expectation.

    Args:
        mean: shape (assets,), NaN = nothing said.
        evidence: effective number of items behind each.
        market: where they are drawn to.
        variance: of one item's polarity.
    """
    known = np.isfinite(mean)
    if variance < EQUAL or not known.any():
        return mean.copy()
    precision = evidence[known] / variance
    distance = mean[known] - market
    excess = np.sum(precision * distance**2) - known.sum()
    between = max(0.0, float(excess / precision.sum()))
    value = np.full_like(mean, np.nan)
    value[known] = market + between / (between + 1 / precision) * distance
    return value


@dataclass(frozen=True, slots=True)
class _Groups:
    """Rows by asset: position of each row's asset, −1 for those asked for by nobody."""

    number: int
    group: Ints

    @classmethod
    def of(cls, rows: CodedItems, assets: Sequence[str]) -> _Groups:
        wanted = _asset_codes(tuple(assets))
        order = np.argsort(wanted)
        if not len(assets):
            return cls(0, np.full(len(rows), -1))
        place = order[np.searchsorted(wanted, rows.asset, sorter=order).clip(max=len(wanted) - 1)]
        return cls(len(assets), np.where(wanted[place] == rows.asset, place, -1))

    def capped(self, source: Ints, weight: Floats, cap: float) -> Floats:
        """The weights, those of a source scaled to add up to `cap` in a group at most."""
        pair = _numbered(self.group * (len(source) + 1) + source)
        total = np.bincount(pair, weights=weight)
        return weight * (cap / np.maximum(total, cap))[pair]

    def means(self, values: Floats, weight: Floats) -> tuple[Floats, Floats]:
        """Weighted mean and effective number of items (Kish) of each group; NaN if empty."""
        total = self._sum(weight)
        with np.errstate(invalid="ignore"):
            return self._sum(weight * values) / total, total**2 / self._sum(weight**2)

    def count(self) -> Ints:
        """The number of rows in each group."""
        return np.bincount(self.group[self.group >= 0], minlength=self.number)

    def _sum(self, values: Floats) -> Floats:
        inside = self.group >= 0
        total = np.bincount(self.group[inside], weights=values[inside], minlength=self.number)
        return total.astype(np.float64)

    def least(self, values: Floats) -> Floats:
        """The least value of each group; NaN for an empty one."""
        least = np.full(self.number, np.inf)
        inside = self.group >= 0
        np.minimum.at(least, self.group[inside], values[inside])
        return np.where(np.isfinite(least), least, np.nan)


def _market(rows: CodedItems, weight: Floats, settings: AggregateSettings) -> tuple[float, Floats]:
    """The mean polarity of all rows, NaN of none; and their weights, sources capped."""
    market = _Groups(1, np.zeros(len(rows), dtype=np.int64))
    capped = market.capped(_numbered(rows.source), weight, settings.source_cap)
    return float(market.means(rows.polarity, capped)[0][0]), capped


@lru_cache(maxsize=64)
def _asset_codes(assets: tuple[str, ...]) -> Ints:
    return codes(assets)


def _known(items: CodedItems, as_of_ms: int, settings: AggregateSettings) -> CodedItems:
    young = _age_ms(items, as_of_ms) <= settings.longest_hours * HOUR_MS
    return items.take((items.known_ms <= as_of_ms) & young)


def _age_ms(rows: CodedItems, as_of_ms: int) -> Floats:
    """Since publication; a source whose clock is ahead of ours published when we knew."""
    return (as_of_ms - np.minimum(rows.published_ms, rows.known_ms)).astype(np.float64)


def _newest_versions(rows: CodedItems) -> CodedItems:
    """Of each (item, asset) the version that was known last; rows with a score only."""
    last = np.ones(len(rows), dtype=bool)
    last[:-1] = _differs(rows.item) | _differs(rows.asset)
    return rows.take(last & np.isfinite(rows.polarity) & (rows.weight > 0))


def _numbered(values: Ints) -> Ints:
    """A small number for each different value, in their order."""
    return np.unique(values, return_inverse=True)[1]


def _differs(values: Ints) -> Bools:
    """Whether the next row has another value."""
    return np.asarray(values[1:] != values[:-1], dtype=bool)


def _first_of_story(rows: CodedItems) -> CodedItems:
    """Of each (asset, cluster) the item that began the story, else the row that was known first."""
    follows = rows.item != rows.cluster
    order = np.lexsort((rows.known_ms, follows, rows.cluster, rows.asset))
    first = np.ones(len(rows), dtype=bool)
    first[1:] = _differs(rows.asset[order]) | _differs(rows.cluster[order])
    return rows.take(order[first])


def _decayed(rows: CodedItems, as_of_ms: int, settings: AggregateSettings) -> Floats:
    decay: Floats = np.exp2(-_age_ms(rows, as_of_ms) / (settings.half_life_hours * HOUR_MS))
    return decay * rows.weight


def _variance(values: Floats, weight: Floats) -> float:
    """Weighted variance; 0 of nothing."""
    total = weight.sum()
    if not total:
        return 0.0
    mean = np.sum(weight * values) / total
    return float(np.sum(weight * (values - mean) ** 2) / total)
