"""The columns of `sentiment@1`: what sources told of an instrument at a close.

Every value rests on facts with `known_at` ≤ the close. It is NaN where none is, where the fact is
older than `max_age`, and where the source is neither ok nor stale: nothing stands in for it. Ages
count from when it was so (published, measured), by seconds.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple

from domain.events import FeatureSet
from domain.sources import Metric


class Column(NamedTuple):
    """One column and its formula."""

    name: str
    formula: str


COLUMNS: Final = (
    Column("fear_greed", "Fear & Greed index of the market, 0 … 100"),
    Column("fear_greed_age_s", "since the day that it is of began"),
    Column("news_score", "polarity of the asset's news by `aggregate`: −1 … 1"),
    Column("news_count", "its stories within 48 h; 0 where sources were up and told none"),
    Column("news_age_s", "of its newest story"),
    Column("social_score", "as news_score, of posts"),
    Column("social_count", "as news_count, of posts"),
    Column("social_age_s", "as news_age_s, of posts"),
    Column("market_score", "polarity of all texts of all assets by `aggregate`"),
    Column("divergence", "polarity of all texts of the asset - market_score"),
    Column("momentum", "market_score - market_score as it was 24 h ago"),
    Column("funding_rate", "of the asset's perpetual, per funding interval"),
    Column("funding_rate_age_s", "since it was measured"),
    Column("open_interest_change", "ln(open interest / what was known of it 24 h ago)"),
    Column("open_interest_age_s", "since it was measured"),
    Column("long_short_ratio", "accounts that are long / accounts that are short"),
    Column("long_short_ratio_age_s", "since it was measured"),
    Column("large_trade_imbalance", "signed share of large trades in a candle: -1 … 1"),
    Column("large_trade_imbalance_age_s", "since that candle"),
)
MAX_AGE: Final = {
    Metric.FEAR_GREED: timedelta(days=3),  # a value a day
    Metric.FUNDING_RATE: timedelta(hours=24),  # every 8 h at most exchanges
    Metric.OPEN_INTEREST: timedelta(hours=6),
    Metric.LONG_SHORT_RATIO: timedelta(hours=6),  # told by the hour
    Metric.LARGE_TRADE_IMBALANCE: timedelta(hours=6),
}
LOOK_BACK: Final = timedelta(hours=24)  # of momentum and of changes
REMEMBERED: Final = timedelta(days=4)  # before a close nothing older enters its row

SENTIMENT: Final = FeatureSet(
    name="sentiment",
    version=1,
    columns=tuple(column.name for column in COLUMNS),
    model_columns=tuple(column.name for column in COLUMNS),
    warmup_bars=0,
)


def with_sentiment(feature_set: FeatureSet) -> FeatureSet:
    """The columns of a feature set, then those of `sentiment@1`."""
    return FeatureSet(
        name=f"{feature_set.name}_sentiment",
        version=feature_set.version,
        columns=feature_set.columns + SENTIMENT.columns,
        model_columns=feature_set.model_columns + SENTIMENT.model_columns,
        warmup_bars=feature_set.warmup_bars,
    )
