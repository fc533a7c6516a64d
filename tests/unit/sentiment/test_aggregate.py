"""What is said of an asset at a close, by hand."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from domain.sources import TextItem
from services.sentiment.aggregate import AggregateSettings, aggregate, shrunk
from services.sentiment.blend import shipped
from services.sentiment.coded import CodedItems
from services.sentiment.reader import Reader
from tests.scored_items import HOUR, rows, scored

ASSETS = ("BTC", "ETH")


def at(hour: int, minute: int = 0) -> int:
    return int(datetime(2024, 3, 1, hour, minute, tzinfo=UTC).timestamp() * 1000)


def test_an_article_published_before_a_close_and_fetched_after_it_is_not_in_that_row() -> None:
    early = TextItem(
        source="news", item_id="1", published_ms=at(9, 40), known_ms=at(9, 50),
        title="Bitcoin soars to a record on great demand",
    )  # fmt: skip
    late = TextItem(
        source="news", item_id="2", published_ms=at(9, 55), known_ms=at(10, 7),
        title="Exchange hacked, all of its bitcoin is stolen",
    )  # fmt: skip
    reader = Reader(shipped())
    table = rows(reader.on_texts([early]), reader.on_texts([late]))

    ten = aggregate(CodedItems.of(table), ASSETS, at(10))
    eleven = aggregate(CodedItems.of(table), ASSETS, at(11))

    assert ten.count[0] == 1
    assert ten.mean[0] > 0.3
    assert eleven.count[0] == 2
    assert eleven.mean[0] < ten.mean[0] - 0.3


def test_an_item_counts_half_after_a_half_life() -> None:
    table = rows(
        scored("old", polarity=1.0),
        scored("new", polarity=-1.0, published_ms=6 * HOUR, known_ms=6 * HOUR),
    )

    said = aggregate(CodedItems.of(table), ASSETS, 6 * HOUR)

    assert said.mean[0] == pytest.approx((0.5 - 1) / 1.5)
    assert said.age_s[0] == 0
    assert aggregate(CodedItems.of(table), ASSETS, 7 * HOUR).age_s[0] == 3600


def test_engagement_weighs_by_its_logarithm_and_none_told_is_none_counted() -> None:
    table = rows(
        scored("loud", polarity=1.0, engagement=math.e - 1),
        scored("still", polarity=-1.0, engagement=0.0),
        scored("untold", polarity=-1.0),
    )

    assert aggregate(CodedItems.of(table), ASSETS, 0).mean[0] == pytest.approx((2 - 1 - 1) / 4)


def test_relevance_and_confidence_weigh() -> None:
    table = rows(
        scored("a", polarity=1.0, relevance=0.5, confidence=0.5),
        scored("b", polarity=-1.0),
    )

    assert aggregate(CodedItems.of(table), ASSETS, 0).mean[0] == pytest.approx((0.25 - 1) / 1.25)


def test_a_source_weighs_no_more_than_its_cap() -> None:
    crowd = [scored(f"c{n}", source="forum", polarity=1.0) for n in range(100)]
    table = rows(*crowd, *(scored(f"n{n}", polarity=-1.0) for n in range(5)))

    said = aggregate(CodedItems.of(table), ASSETS, 0, AggregateSettings(source_cap=10))

    assert said.mean[0] == pytest.approx((10 - 5) / 15)
    assert said.market == pytest.approx((10 - 5) / 15)
    assert said.count[0] == 105


def test_a_story_counts_once_as_its_first_teller_told_it() -> None:
    table = rows(
        scored("a", polarity=-1.0, cluster="news:b", known_ms=5, engagement=1e6),
        scored("b", polarity=1.0, cluster="news:b", known_ms=2),
        scored("c", polarity=-1.0, cluster="news:b", known_ms=1),
    )

    said = aggregate(CodedItems.of(table), ASSETS, 10)

    assert (said.count[0], said.mean[0], said.market_count) == (1, 1.0, 1)


def test_a_later_version_of_an_item_replaces_the_one_before_from_then_on() -> None:
    table = rows(scored("a", polarity=1.0), scored("a", polarity=-1.0, known_ms=HOUR))

    assert aggregate(CodedItems.of(table), ASSETS, HOUR - 1).mean[0] == 1
    assert aggregate(CodedItems.of(table), ASSETS, HOUR).mean[0] == -1
    assert aggregate(CodedItems.of(table), ASSETS, HOUR).count[0] == 1


def test_where_nothing_is_known_there_is_no_value() -> None:
    table = rows(
        scored("unscored", asset="ETH", polarity=np.nan, confidence=0.0),
        scored("expired", known_ms=-49 * HOUR, published_ms=-49 * HOUR),
    )

    said = aggregate(CodedItems.of(table), ASSETS, 0)

    assert np.isnan([*said.value, *said.mean, *said.age_s, said.market, said.market_age_s]).all()
    assert list(said.count) == [0, 0]
    assert said.market_count == 0


def test_an_empty_table_has_no_value() -> None:
    said = aggregate(CodedItems.none(), ASSETS, 0)

    assert np.isnan(said.value).all()
    assert list(said.count) == [0, 0]


def test_the_market_hears_what_names_no_asset() -> None:
    said = aggregate(CodedItems.of(rows(scored("a", asset="", polarity=-0.5))), ASSETS, HOUR)

    assert np.isnan(said.value).all()
    assert (said.market, said.market_count, said.market_age_s) == (-0.5, 1, 3600)


def test_a_source_whose_clock_is_ahead_gains_nothing_by_it() -> None:
    ahead = scored("a", published_ms=100 * HOUR, known_ms=HOUR)

    said = aggregate(CodedItems.of(rows(ahead)), ASSETS, 7 * HOUR)

    assert said.age_s[0] == 6 * 3600


def test_shrinking_is_james_and_steins_where_all_rest_on_the_same() -> None:
    mean = np.array([0.6, 0.2, -0.1, -0.3, np.nan])
    variance, evidence = 0.4, 8.0

    value = shrunk(mean, np.full(5, evidence), 0.1, variance)

    distances = mean[:4] - 0.1
    kept = 1 - 4 * (variance / evidence) / np.sum(distances**2)
    assert value[:4] == pytest.approx(0.1 + kept * distances)
    assert np.isnan(value[4])


def test_what_rests_on_little_is_drawn_to_the_market_more() -> None:
    value = shrunk(np.array([0.5, 0.5, -0.5]), np.array([100.0, 1.0, 50.0]), 0.0, 0.2)

    assert 0 < value[1] < value[0] < 0.5


def test_items_that_say_the_same_but_for_rounding_are_left_as_they_are() -> None:
    table = rows(scored("a", asset="", polarity=1.12e-157), scored("b", polarity=0.0))

    assert aggregate(CodedItems.of(table), ASSETS, 0).value[0] == 0


def test_means_that_differ_by_chance_only_become_the_markets() -> None:
    value = shrunk(np.array([0.11, 0.09]), np.array([2.0, 2.0]), 0.1, 0.5)

    assert value == pytest.approx([0.1, 0.1])
