"""What is said of each asset at a close, from the items that were known by then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domain.events import Bools, Floats, Ints
from services.sentiment.items import ScoredItems

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
    scored: ScoredItems,
    assets: Sequence[str],
    as_of_ms: int,
    settings: AggregateSettings | None = None,
) -> AssetSentiment:
    """Weighted means of polarity by asset, over items with `known_ms` ≤ `as_of_ms`.

    An item weighs 2^(−age / half-life) × (1 + ln(1 + engagement)) × relevance × confidence. A
    story counts once, as its first teller told it; a source is held to `source_cap`. Rows may come
    in any order, and repeated: a later version of an item replaces the one before.
    """
    settings = settings or AggregateSettings()
    rows = _first_of_story(_newest_versions(_known(scored, as_of_ms, settings)))
    weight = _weights(rows, as_of_ms, settings)
    market, groups = _Groups.one(rows), _Groups.of(rows, tuple(assets))
    in_market = market.capped(rows.source, weight, settings.source_cap)
    (centre,), _ = market.means(rows.polarity, in_market)
    in_asset = groups.capped(rows.source, weight, settings.source_cap)
    mean, evidence = groups.means(rows.polarity, in_asset)
    age_s = _age_ms(rows, as_of_ms) / 1000
    return AssetSentiment(
        assets=tuple(assets),
        as_of_ms=as_of_ms,
        value=shrunk(mean, evidence, float(centre), _variance(rows.polarity, in_market)),
        mean=mean,
        count=groups.stories(rows.cluster),
        age_s=groups.least(age_s),
        market=float(centre),
        market_count=int(market.stories(rows.cluster)[0]),
        market_age_s=float(market.least(age_s)[0]),
    )


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
    def of(cls, rows: ScoredItems, assets: tuple[str, ...]) -> _Groups:
        where = {asset: position for position, asset in enumerate(assets)}
        found = [where.get(str(asset), -1) for asset in rows.asset]
        return cls(len(assets), np.array(found, dtype=np.int64))

    @classmethod
    def one(cls, rows: ScoredItems) -> _Groups:
        """All rows in one group."""
        return cls(1, np.zeros(len(rows), dtype=np.int64))

    def capped(self, source: NDArray[np.str_], weight: Floats, cap: float) -> Floats:
        """The weights, those of a source scaled to add up to `cap` in a group at most."""
        code = _codes(source)
        _, pair = np.unique(self.group * (len(source) + 1) + code, return_inverse=True)
        total = np.bincount(pair, weights=weight)
        return weight * (cap / np.maximum(total, cap))[pair]

    def means(self, values: Floats, weight: Floats) -> tuple[Floats, Floats]:
        """Weighted mean and effective number of items (Kish) of each group; NaN if empty."""
        total = self._sum(weight)
        with np.errstate(invalid="ignore"):
            return self._sum(weight * values) / total, total**2 / self._sum(weight**2)

    def stories(self, cluster: NDArray[np.str_]) -> Ints:
        """The number of different clusters in each group."""
        size = len(cluster) + 1
        different = np.unique(self.group * size + _codes(cluster)) // size
        return np.bincount(different[different >= 0], minlength=self.number)

    def _sum(self, values: Floats) -> Floats:
        total = np.zeros(self.number)
        inside = self.group >= 0
        np.add.at(total, self.group[inside], values[inside])
        return total

    def least(self, values: Floats) -> Floats:
        """The least value of each group; NaN for an empty one."""
        least = np.full(self.number, np.inf)
        inside = self.group >= 0
        np.minimum.at(least, self.group[inside], values[inside])
        return np.where(np.isfinite(least), least, np.nan)


def _known(scored: ScoredItems, as_of_ms: int, settings: AggregateSettings) -> ScoredItems:
    young = _age_ms(scored, as_of_ms) <= settings.longest_hours * HOUR_MS
    return scored.take((scored.known_ms <= as_of_ms) & young)


def _age_ms(rows: ScoredItems, as_of_ms: int) -> Floats:
    """Since publication; a source whose clock is ahead of ours published when we knew."""
    return (as_of_ms - np.minimum(rows.published_ms, rows.known_ms)).astype(np.float64)


def _newest_versions(rows: ScoredItems) -> ScoredItems:
    """Of each (source, item, asset) the version that was known last; rows with a score only.

    The order of the result depends on the rows alone, so that sums are the same to the bit.
    """
    columns = {
        name: _codes(values) if values.dtype.kind == "U" else values
        for name, values in rows.columns().items()
    }
    identity = (columns.pop("source"), columns.pop("item_id"), columns.pop("asset"))
    known_ms = columns.pop("known_ms")
    order = np.lexsort((*columns.values(), known_ms, *reversed(identity)))
    last = np.ones(len(rows), dtype=bool)
    last[:-1] = np.any([_differs(codes[order]) for codes in identity], axis=0)
    newest = rows.take(order[last])
    return newest.take(np.isfinite(newest.polarity) & (newest.confidence > 0))


def _codes(values: NDArray[np.str_]) -> Ints:
    """A number for each text, in their order."""
    listed = values.tolist()
    where = {text: number for number, text in enumerate(sorted(set(listed)))}
    return np.array([where[text] for text in listed], dtype=np.int64)


def _differs(values: Ints) -> Bools:
    """Whether the next row has another value."""
    return np.asarray(values[1:] != values[:-1], dtype=bool)


def _first_of_story(rows: ScoredItems) -> ScoredItems:
    """Of each (asset, cluster) the item that began the story, else the row that was known first."""
    follows = np.char.add(np.char.add(rows.source, ":"), rows.item_id) != rows.cluster
    cluster, asset = _codes(rows.cluster), _codes(rows.asset)  # the rest is in order already
    order = np.lexsort((rows.known_ms, follows, cluster, asset))
    first = np.ones(len(rows), dtype=bool)
    first[1:] = _differs(asset[order]) | _differs(cluster[order])
    return rows.take(order[first])


def _weights(rows: ScoredItems, as_of_ms: int, settings: AggregateSettings) -> Floats:
    decay: Floats = np.exp2(-_age_ms(rows, as_of_ms) / (settings.half_life_hours * HOUR_MS))
    engagement: Floats = np.log1p(np.maximum(np.nan_to_num(rows.engagement), 0.0))
    return decay * (1 + engagement) * rows.relevance * rows.confidence


def _variance(values: Floats, weight: Floats) -> float:
    """Weighted variance; 0 of nothing."""
    total = weight.sum()
    if not total:
        return 0.0
    mean = np.sum(weight * values) / total
    return float(np.sum(weight * (values - mean) ** 2) / total)
